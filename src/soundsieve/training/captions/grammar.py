"""Captions written by a grammar: word lists and rules, no language model.

`words/sounds.csv` lists what makes sounds and what it does, by scene, with the classes of AudioSet, VGGSound, FSD50K
and ESC-50 that it stands for; `words/grammar.toml` says how and where, and how clauses are joined. A sentence tells of
one to three sounds of one scene: "A dog barks as traffic passes by", "Rain falling with a man speaking in the
background". It says nothing that a person heard: a grammar knows what may be said, not what is likely.
"""

from __future__ import annotations

import csv
import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from itertools import islice
from pathlib import Path

from soundsieve.errors import ConfigError
from soundsieve.files import replacing
from soundsieve.training.captions.texts import distinct, write_lines
from soundsieve.training.text_corpus import inflect, with_article

_WORDS = files("soundsieve.training.captions") / "words"

_PLURALS = {"man": "men", "woman": "women", "child": "children", "person": "people", "goose": "geese"}
_PLURALS |= {
    "mouse": "mice",
    "sheep": "sheep",
    "wolf": "wolves",
    "calf": "calves",
    "aircraft": "aircraft",
    "elk": "elk",
}
_IRREGULAR = {"be": ("is", "being", "are"), "have": ("has", "having", "have"), "go": ("goes", "going", "go")}
_IRREGULAR |= {"occur": ("occurs", "occurring", "occur"), "echo": ("echoes", "echoing", "echo")}
_PREPOSITIONS = {"on", "in", "into", "at", "to", "by", "past", "across", "through", "against", "over", "from", "up"}
_PREPOSITIONS |= {"down", "along", "out", "overhead", "around", "overboard", "onto", "with", "under"}


@dataclass(frozen=True)
class Sound:
    """One row of sounds.csv.

    Attributes:
        scenes: where it may be heard; ``any`` fits all.
        manner: which of the grammar's manners fit it.
        who: what makes it: ``dog``; with ``~`` in front it has no article and no plural (``~rain``), with ``=`` no
            plural, with ``+`` it is one (``+footsteps``).
        does: verb phrases in their base form; several verbs are joined by "and".
        classes: names of the class lists that it stands for.
    """

    scenes: tuple[str, ...]
    manner: str
    who: tuple[str, ...]
    does: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Clause:
    """Who does what: ``a dog``, singular, ``bark``, ``loudly``."""

    who: str
    plural: bool
    does: str
    how: str = ""

    def write(self, form: str) -> str:
        """As ``f`` "a dog barks", ``p`` "a dog is barking", ``i`` "a dog barking"."""
        third, ing, plain = conjugate(self.does)
        be = "are" if self.plural else "is"
        verb = {"f": plain if self.plural else third, "p": f"{be} {ing}", "i": ing}[form]
        return " ".join(filter(None, (self.who, verb.replace("{their}", self._their), self.how)))

    @property
    def _their(self) -> str:
        head = self.who.split()[-1]
        if self.plural:
            return "their"
        return {"man": "his", "boy": "his", "woman": "her", "girl": "her", "snake": "its"}.get(head, "their")


class Grammar:
    """The packaged word lists and rules.

    Raises:
        ConfigError: a row of sounds.csv names a scene or manner that grammar.toml does not have.
    """

    def __init__(self) -> None:
        rules = tomllib.loads((_WORDS / "grammar.toml").read_text("utf-8"))
        self.manners: dict[str, list[str]] = rules["manners"]
        self.places: dict[str, list[str]] = rules["places"]
        self.distances: list[str] = rules["distances"]["all"]
        self.sentences = {kind: _repeated(weights) for kind, weights in rules["sentences"].items()}
        rows = csv.DictReader((_WORDS / "sounds.csv").read_text("utf-8").splitlines())
        self.sounds = [
            Sound(
                tuple(row["scenes"].split()),
                row["manner"],
                *(tuple(row[column].split("|")) for column in ("who", "does", "classes")),
            )
            for row in rows
        ]
        for sound in self.sounds:
            if sound.manner not in self.manners or not set(sound.scenes) <= set(self.places):
                raise ConfigError(f"grammar: the row of '{sound.who[0]}' names an unknown scene or manner")

    @cached_property
    def classes(self) -> set[str]:
        """The class names that some sound stands for."""
        return {name for sound in self.sounds for name in sound.classes}

    @cached_property
    def _of_scene(self) -> dict[str, list[Sound]]:
        return {scene: [sound for sound in self.sounds if scene in sound.scenes] for scene in self.places}

    def write(self, seed: int = 0) -> Iterator[str]:
        """Captions without end, some of them more than once; the same for the same seed."""
        rng = random.Random(f"grammar {seed}")
        while True:
            text = self._sentence(rng)
            yield text[0].upper() + text[1:]

    def _sentence(self, rng: random.Random) -> str:
        scene = rng.choice([name for name in self.places if name != "any"])
        kind = rng.choices(("one", "two", "three", "same"), (25, 50, 15, 10))[0]
        if kind == "same" and (text := self._same(rng, scene)):
            return text
        count = {"one": 1, "three": 3}.get(kind, 2)
        template = rng.choice(self.sentences[("one", "two", "three")[count - 1]])
        clauses = self._clauses(rng, scene, count)
        if "background" in template:
            clauses = [replace(one, how="") if one.how in self.distances else one for one in clauses]
        written = iter(clauses)
        text = re.sub(r"\{([fpi])\}", lambda match: next(written).write(match[1]), template)
        if template.endswith("}") and rng.random() < (0.3 if count == 1 else 0.12):
            text += self._place(rng, scene, clauses)
        if "{f}" not in template and "{p}" not in template and rng.random() < 0.15:
            text = re.sub(r"\b(a|an) (?!few\b|steady\b|fast\b)", "", text)  # as in a list of key words
        return text

    def _clauses(self, rng: random.Random, scene: str, count: int) -> list[_Clause]:
        """Different sounds with different makers."""
        chosen: list[_Clause] = []
        used: set[str] = set()
        while len(chosen) < count:
            general = rng.random() < (0.3 if chosen else 0.12)
            sound = rng.choice(self._of_scene["any" if general else scene])
            who = rng.choice(sound.who)
            heads = {
                word for word in re.findall(r"\w+", who) if word not in ("a", "of", "and", "the", "small", "large")
            }
            if used & (heads | set(sound.classes)):
                continue
            used |= heads | set(sound.classes)
            chosen.append(self._clause(rng, sound, who, likely=0.35 if not chosen else 0.15))
        return chosen

    def _clause(self, rng: random.Random, sound: Sound, who: str, *, likely: float) -> _Clause:
        does = rng.choice(sound.does)
        phrase, plural = _noun_phrase(rng, who)
        how = ""
        free = not _PREPOSITIONS & set(does.split())
        if rng.random() < likely:
            how = rng.choice(self.manners[sound.manner])
            if not free and not how.endswith("ly"):
                how = ""
        elif free and rng.random() < 0.08:
            how = rng.choice(self.distances)
        return _Clause(phrase, plural, does, how)

    def _place(self, rng: random.Random, scene: str, clauses: list[_Clause]) -> str:
        last = clauses[-1]
        if _PREPOSITIONS & set(last.does.split()) or any(one.how in self.distances for one in clauses):
            return ""
        return f" {rng.choice(self.places[scene])}"

    def _same(self, rng: random.Random, scene: str) -> str:
        """Two sounds of one maker; empty where the one that is drawn makes no other here."""
        first = rng.choice(self._of_scene[scene] + self._of_scene["any"])
        who = rng.choice(first.who)
        others = [one for one in self._of_scene[scene] + self._of_scene["any"] if who in one.who and one is not first]
        if not others:
            return ""
        phrase, plural = _noun_phrase(rng, who)
        done = [_Clause("", plural, rng.choice(sound.does)) for sound in (first, rng.choice(others))]
        template = rng.choice(self.sentences["same"])
        verbs = iter(done)

        def fill(match: re.Match[str]) -> str:
            if match[1] == "n":
                return phrase
            clause = next(verbs)
            clause = _Clause(phrase, plural, clause.does)
            return clause.write("f" if match[1] == "s" else "i").removeprefix(f"{phrase} ")

        return re.sub(r"\{([nsg])\}", fill, template)


def write_grammar_captions(count: int, output: str | Path, *, seed: int = 0) -> None:
    """Write the first ``count`` different captions of the grammar, one a line; the same file for the same seed.

    Raises:
        ConfigError: the file cannot be written, or fewer than one caption is asked for.
    """
    if count < 1:
        raise ConfigError(f"at least one caption is asked for, not {count}")
    try:
        with replacing(output) as temporary:
            write_lines(temporary, islice(distinct(Grammar().write(seed)), count))
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror or error}") from error


def _repeated(weights: Mapping[str, int]) -> list[str]:
    return [template for template, weight in weights.items() for _ in range(weight)]


def _noun_phrase(rng: random.Random, who: str) -> tuple[str, bool]:
    """``dog`` -> ``a dog``, ``dogs`` or ``several dogs``; and whether it is a plural."""
    mark, name = (who[0], who[1:]) if who[0] in "~=+" else ("", who)
    if mark == "~":
        return name, False
    if mark == "+":
        return name, True
    chance = rng.random()
    if mark == "=" or " of " in name or chance < 0.84:
        return with_article(name), False
    plural = plural_of(name)
    return (plural if chance < 0.93 else f"{rng.choice(('several', 'two', 'multiple', 'some'))} {plural}"), True


def plural_of(name: str) -> str:
    """The plural of a noun phrase: of its last word.

    >>> plural_of("young woman"), plural_of("fire truck"), plural_of("wrench")
    ('young women', 'fire trucks', 'wrenches')
    """
    *front, last = name.split()
    if last in _PLURALS:
        last = _PLURALS[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join((*front, last))


def conjugate(does: str) -> tuple[str, str, str]:
    """Third person, -ing form and plural of a verb phrase; of each verb in "bark and growl", of one in "be torn"."""
    parts = [does] if does.startswith("be ") else does.split(" and ")
    bent = []
    for part in parts:
        verb, *rest = part.split(" ", 1)
        third, ing, plain = _IRREGULAR.get(verb) or (*inflect(verb)[:2], verb)
        bent.append([" ".join((form, *rest)) for form in (third, ing, plain)])
    third, ing, plain = (" and ".join(forms) for forms in zip(*bent, strict=True))
    return third, ing, plain
