"""Where answers go and what they are called: safe names from a template, nothing replaced unasked."""

from __future__ import annotations

import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from soundsieve.cli.inputs import STDIN, Input
from soundsieve.errors import AudioError, ConfigError
from soundsieve.naming import cut_bytes, slug

if TYPE_CHECKING:
    from soundsieve.audio import AudioInfo

STDOUT = Path("-")
DEFAULT_FOLDER = Path("sieved")
DEFAULT_TEMPLATE = "{stem}.{query}.{ext}"

_FIELDS = ("stem", "query", "part", "model", "ext")
_PART_BYTES = 100
_NAME_BYTES = 255  # what file systems take
_SUBTYPES = {
    "INT8": "PCM_S8",
    "INT16": "PCM_16",
    "INT24": "PCM_24",
    "INT32": "PCM_32",
    "FLOAT32": "FLOAT",
    "FLOAT64": "DOUBLE",
}


def model_slug(model: str) -> str:
    """A model's name, or its file's, as a safe part of a file name."""
    return slug(Path(model).stem)


def subtype_named(name: str | None) -> str | None:
    """libsndfile's name of a sample format that may be called int16, int24, int32, float or double.

    Raises:
        ConfigError: there is no such format.
    """
    from soundsieve.audio import CONTAINERS
    from soundsieve.audio.formats import holds

    if name is None:
        return None
    subtype = _SUBTYPES.get(name.upper(), name.upper())
    if not any(holds(container, subtype) for container, _ in CONTAINERS.values()):
        raise ConfigError(f"no sample format '{name}': there are int16, int24, int32, float, double, VORBIS, OPUS, ...")
    return subtype


def suffix_for(item: Input, info: AudioInfo | None, format: str | None) -> str:
    """The suffix of an answer: of the kind asked for, else of the recording's own, else .wav.

    Args:
        item: the recording.
        info: what its header says; only needed where `needs_header`.
        format: the kind asked for, as a suffix without its dot.
    """
    from soundsieve.audio import CONTAINERS

    if format is not None:
        return f".{format}"
    if item.suffix in CONTAINERS:
        return item.suffix
    if info is not None:
        kind = "WAV" if info.format == "WAVEX" else info.format
        fitting = [suffix for suffix, own in CONTAINERS.items() if own[0] == kind]
        exact = [suffix for suffix in fitting if CONTAINERS[suffix][1] == info.subtype]
        for suffix in (*exact, *fitting):
            return suffix
    return ".wav"


def needs_header(item: Input, format: str | None) -> bool:
    """Whether the name alone does not tell what kind of file the answer will be."""
    from soundsieve.audio import CONTAINERS
    from soundsieve.audio.ffmpeg import SUFFIXES

    return format is None and item.suffix not in CONTAINERS and item.suffix not in SUFFIXES


@dataclass
class Outputs:
    """Names for the answers of one command, none of them given twice.

    Args:
        place: a folder, ``-`` for standard output, or the one file to write.
        template: names in the folder.
        model: for {model}.
        format: suffix without dot, where one kind of file is asked for.
        force: replace what is there.
        skip_existing: leave out what is there.
        inputs: recordings, which are never replaced.
        clips: examples, which are not either.

    Raises:
        ConfigError: the template or the place cannot be meant.
    """

    place: Path
    template: str
    model: str
    format: str | None
    force: bool
    skip_existing: bool
    inputs: list[Input]
    clips: Sequence[Path] = ()
    given: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from soundsieve.audio import CONTAINERS

        if self.force and self.skip_existing:
            raise ConfigError("--force replaces what is there and --skip-existing leaves it: give one of them")
        self.is_one_file = self.place != STDOUT and self.place.suffix.lower() in CONTAINERS and not self.place.is_dir()
        if (self.to_stdout or self.is_one_file) and len(self.inputs) > 1:
            where = "standard output takes" if self.to_stdout else f"{self.place} is one file and takes"
            raise ConfigError(f"{where} the answer to one recording, not to {len(self.inputs)}: name a folder with -o")
        if not self.is_one_file:
            _check_template(self.template)
        self._check_suffix()
        self._sources = {os.path.realpath(item.name) for item in self.inputs if item.name != STDIN}
        self._clips = {os.path.realpath(clip) for clip in self.clips}

    @property
    def to_stdout(self) -> bool:
        """Whether the one answer goes to standard output."""
        return self.place == STDOUT

    @property
    def tells_parts(self) -> bool:
        """Whether the names say which part of the recording a file is, apart from its {query}."""
        return "{part}" in self.template

    def _check_suffix(self) -> None:
        from soundsieve.audio import CONTAINERS

        suffixes = {self._name(Input("stem"), ext, "query", "part").suffix.lower() for ext in (".wav", ".flac")}
        if suffixes == {".wav", ".flac"}:
            return
        suffix = suffixes.pop()
        if suffix not in CONTAINERS:
            raise ConfigError(f"the template '{self.template}' names no kind of file: end it in .{{ext}}")
        if self.format is not None and CONTAINERS[suffix] != CONTAINERS[f".{self.format}"]:
            raise ConfigError(f"--format is {self.format}, and the name asked for ends in {suffix}: leave one out")
        self.format = suffix[1:]

    def recordings(self, words: Mapping[str, str]) -> list[Input]:
        """The inputs, without answers to others of them that an earlier run left in the folder that is searched.

        Those that were named stay, and so does all that --force might replace: it never replaces a recording.

        Args:
            words: part -> its {query}.
        """
        from soundsieve.audio import CONTAINERS

        if self.to_stdout or self.is_one_file or not any(item.searched for item in self.inputs):
            return self.inputs
        answers = set()
        for item in self.inputs:
            several = needs_header(item, self.format)
            for suffix in CONTAINERS if several else [suffix_for(item, None, self.format)]:
                names = {os.path.realpath(self._name(item, suffix, query, part)) for part, query in words.items()}
                answers |= names - {os.path.realpath(item.name)}
        left_out = {os.path.realpath(item.name) for item in self.inputs if item.searched} & answers
        if not self.force:
            self._sources -= left_out
        return [item for item in self.inputs if not (item.searched and os.path.realpath(item.name) in left_out)]

    def claim(self, item: Input, suffix: str, words: Mapping[str, str]) -> tuple[dict[str, Path], dict[str, Path]]:
        """Names for the parts of one recording: all of them, and those that are to be written.

        Args:
            item: the recording.
            suffix: of the answers.
            words: part -> its {query}.

        Raises:
            AudioError: a name is taken: by a recording, by another answer, or by a file that may not be replaced.
        """
        if self.to_stdout:
            return (paths := dict.fromkeys(words, STDOUT)), paths
        paths = {part: self._name(item, suffix, query, part) for part, query in words.items()}
        if len(set(paths.values())) < len(paths):
            instead = "name a folder" if self.is_one_file else "put {part} or {query} into the template"
            raise ConfigError(f"{next(iter(paths.values()))} would hold both {' and '.join(paths)}: {instead}")
        for path in paths.values():
            self._check_free(path, item)
        self.given.update((os.path.realpath(path), item.name) for path in paths.values())
        missing = {part: path for part, path in paths.items() if self.force or not os.path.lexists(path)}
        return paths, missing

    def _name(self, item: Input, suffix: str, query: str, part: str) -> Path:
        if self.is_one_file:
            return self.place
        values = {
            "stem": cut_bytes(item.stem, _PART_BYTES),
            "query": query,
            "part": part,
            "model": self.model,
            "ext": suffix[1:],
        }
        return self.place / item.folder / self.template.format(**values)

    def _check_free(self, path: Path, item: Input) -> None:
        if len(os.fsencode(path.name)) > _NAME_BYTES:
            raise AudioError(f"the name for the answer to {item.name} is too long: give a shorter --template")
        place = os.path.realpath(path)
        if place in self._sources:
            elsewhere = "choose another folder with -o"
            raise AudioError(f"the answer to {item.name} would replace the recording {path}: {elsewhere}")
        if place in self._clips:
            raise AudioError(f"the answer to {item.name} would replace the example {path}: choose another name with -o")
        if place in self.given:
            other = self.given[place]
            raise AudioError(
                f"the answer to {item.name} would replace that to {other} at {path}: do them in two folders"
            )
        if os.path.lexists(path) and not (self.force or self.skip_existing):
            raise AudioError(f"{path} exists: --force replaces it, --skip-existing leaves it, -o writes elsewhere")


def _check_template(template: str) -> None:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"the template '{template}' cannot be read: {error}") from error
    for _, name, spec, conversion in parsed:
        if name is not None and (name not in _FIELDS or spec or conversion):
            known = ", ".join(f"{{{one}}}" for one in _FIELDS)
            raise ConfigError(f"the template has {{{name}}}, which is unknown: there are {known}")
