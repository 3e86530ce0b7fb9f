"""What a language model is asked for: the templates of `words/prompts.toml`, filled by label, events, scene, style."""

from __future__ import annotations

import csv
import hashlib
import random
import tomllib
from importlib.resources import files
from pathlib import Path

from soundsieve.errors import ConfigError
from soundsieve.training.captions.texts import read_lines

PROMPTS = files("soundsieve.training.captions") / "words" / "prompts.toml"
CAPTIONS_EACH = 10
"""Captions that one request asks for."""


class Prompts:
    """Requests without end: request ``i`` is a pure function of labels, seed and ``i``.

    Every label is asked for once before any is asked for again, in an order of its own each time.

    Args:
        labels: names of sounds.
        seed: of what is drawn.

    Attributes:
        system: what the model is told to be.
        digest: SHA-256 of all that the requests follow from.
    """

    def __init__(self, labels: list[str], seed: int = 0) -> None:
        if not labels:
            raise ConfigError("there is no label to write captions of")
        text = PROMPTS.read_text("utf-8")
        parts = tomllib.loads(text)
        self.system: str = parts["system"]
        self._templates, self._events = parts["templates"], parts["events"]
        self._scenes, self._styles = parts["scenes"], parts["styles"]
        self.labels, self.seed = labels, seed
        self.digest = hashlib.sha256("\0".join([text, str(seed), str(CAPTIONS_EACH), *labels]).encode()).hexdigest()

    def __getitem__(self, index: int) -> str:
        """The request of this number, from 0."""
        turn, place = divmod(index, len(self.labels))
        order = random.Random(f"order {self.seed} {turn}").sample(range(len(self.labels)), len(self.labels))
        rng = random.Random(f"request {self.seed} {index}")
        return str(rng.choice(self._templates)).format(
            captions=CAPTIONS_EACH,
            label=self.labels[order[place]],
            events=rng.choice(self._events),
            scene=rng.choice(self._scenes),
            style=rng.choice(self._styles),
        )


def read_labels(path: str | Path) -> list[str]:
    """Labels out of a CSV file (its column ``label``, ``name`` or ``display_name``) or a text file with one a line.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, has no such column, or no label.
    """
    lines = list(read_lines(path))
    if Path(path).suffix.lower() == ".csv":
        rows = csv.DictReader(lines)
        columns = [name for name in ("label", "name", "display_name") if name in (rows.fieldnames or ())]
        if not columns:
            found = ", ".join(rows.fieldnames or ("none",))
            raise ConfigError(f"{path} has no column 'label', 'name' or 'display_name'; it has {found}")
        lines = [" ".join((row[columns[0]] or "").split()) for row in rows]
    labels = list(dict.fromkeys(line.replace("_", " ") for line in lines if line))
    if not labels:
        raise ConfigError(f"there is no label in {path}")
    return labels
