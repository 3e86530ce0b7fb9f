"""AudioSet's classes by name and by level (Gemmeke et al., 2017, "Audio Set: An ontology and human-labeled dataset").

The ontology has 632 nodes on six levels; 527 of them are classes of AudioSet, which taggers are trained on. A name asks
for that class alone, a name with its level for everything beneath it as well:

    Dog               the class "Dog"
    level 3: Dog      "Dog" with "Bark", "Howl" and so on
    Human voice       no class of its own: everything beneath it
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from soundsieve.errors import QueryError


@dataclass(frozen=True)
class Node:
    """One kind of sound.

    Attributes:
        name: as AudioSet has it.
        level: 1 for the seven kinds that all others are of, up to 6.
        index: of its class; None where it is none.
        indices: of the classes beneath it and its own.
    """

    name: str
    level: int
    index: int | None
    indices: frozenset[int]


@lru_cache(maxsize=1)
def nodes() -> tuple[Node, ...]:
    """All nodes, each before what is beneath it."""
    text = (files("soundsieve.encoders") / "audioset.csv").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows = [
        (int(row["level"]), int(row["class"]) if row["class"] else None, row["name"]) for row in csv.DictReader(lines)
    ]
    found = []
    for start, (level, index, name) in enumerate(rows):
        stop = start + 1
        while stop < len(rows) and rows[stop][0] > level:
            stop += 1
        indices = frozenset(other for _, other, _ in rows[start:stop] if other is not None)
        found.append(Node(name, level, index, indices))
    return tuple(found)


@lru_cache(maxsize=1)
def classes() -> tuple[str, ...]:
    """The names of the 527 classes, by index."""
    named = {node.index: node.name for node in nodes() if node.index is not None}
    return tuple(named[index] for index in range(len(named)))


def at_level(level: int) -> tuple[Node, ...]:
    """The nodes of a level that have classes.

    Raises:
        QueryError: there is no such level.
    """
    found = tuple(node for node in nodes() if node.level == level and node.indices)
    if not found:
        raise QueryError(f"AudioSet has no level {level}: its levels are 1 to {max(node.level for node in nodes())}")
    return found


def find(text: str) -> frozenset[int]:
    """Indices of the classes that a text asks for, upper and lower case alike; see the top of this file.

    Raises:
        QueryError: there is no such name; the message lists some that are close, or those of the level.
    """
    asked = " ".join(text.split()).casefold()
    match = re.fullmatch(r"level (\d+)(?:: ?(.+))?", asked)
    if match:
        level, name = int(match[1]), match[2]
        among = {node.name.casefold(): node for node in at_level(level)}
        if name not in among:
            close = get_close_matches(name or "", among, 8, 0.5) or list(among)[:12]
            raise QueryError(f"'{text}' is none of AudioSet's level {level}; there are: {_listed(close, among)}")
        return among[name].indices
    by_name = {node.name.casefold(): node for node in nodes() if node.indices}
    # Names such as "Male speech, man speaking" hold two: each half will do where it stands for one name only.
    halves: dict[str, list[Node]] = {}
    for node in by_name.values():
        for half in node.name.casefold().split(", "):
            halves.setdefault(half, []).append(node)
    candidates = [by_name[asked]] if asked in by_name else halves.get(asked, [])
    if len(candidates) == 1:
        node = candidates[0]
        return node.indices if node.index is None else frozenset({node.index})
    close = [node.name.casefold() for node in candidates] or get_close_matches(asked, by_name, 5, 0.5)
    close = close or [name for name in by_name if asked in name][:5] or ["speech", "dog", "music"]
    raise QueryError(
        f"'{text}' is not a class of AudioSet; there are {_listed(close, by_name)}, or all of a kind, 'level 1: Animal'"
    )


def _listed(names: list[str], among: dict[str, Node]) -> str:
    return ", ".join(f"'{among[name].name}'" for name in names)
