"""Mixtures of a list as files, the same bytes for everybody, so that they can be given to others.

A folder of mixtures holds ``mixtures/NNNNN.wav``, the targets in them as ``targets/NNNNN.wav``, and ``mixtures.csv``: a
list as `benchmarks.plain` reads it, with the SHA-256 of every file. The files are WAV of 24 bits, which hold a mixture
to 144 dB below full scale and nothing that depends on the day (the float kind of WAV is written with the time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from soundsieve import audio
from soundsieve.errors import AudioError
from soundsieve.evaluation.benchmarks import plain
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixture, within
from soundsieve.evaluation.benchmarks.tables import read_rows
from soundsieve.evaluation.report import sha256

LIST = "mixtures.csv"
_DIGITS = 5
_LEVEL_DIGITS = 4


def make(
    examples: Iterable[tuple[int, Example]],
    mixed_of: Callable[[Example], Mixture],
    folder: str | Path,
    *,
    sample_rate: int,
    peak: float = 0.9,
    leave_out: bool = False,
) -> Iterator[tuple[Example, str]]:
    """Write the mixtures and targets of a list, and at the end their list.

    Args:
        examples: of a list, each with its place there, by which its files are numbered.
        mixed_of: mixes one.
        folder: where the files go; what is there under their names is replaced.
        sample_rate: of the mixtures, in Hz.
        peak: to which a mixture past full scale is turned down, target and all.
        leave_out: go on with the others where an example cannot be mixed.

    Yields:
        Every example when its files are there, and an empty text; or one that cannot be mixed, and why.

    Raises:
        AudioError: an example, or every one, cannot be mixed, or a file cannot be written.
    """
    folder = Path(folder)
    made, checks = [], {}
    for index, example in examples:
        try:
            mixed = within(mixed_of(example), peak)
        except AudioError as error:
            if not leave_out:
                raise AudioError(f"{error}; --allow-missing makes the rest without it") from error
            yield example, str(error)
            continue
        written, sums = _write(mixed, folder, f"{index:0{_DIGITS}d}.wav", sample_rate)
        seconds = f"{len(mixed.mixture) / sample_rate:g}"
        checks[example.example_id] = {"sample_rate": str(sample_rate), "seconds": seconds, **sums}
        made.append(_as_ready(example, mixed, written))
        yield example, ""
    if not made:
        raise AudioError("none of the examples could be mixed")
    plain.write(folder / LIST, made, checks)


def check(folder: str | Path) -> tuple[int, list[str]]:
    """Compare a folder of mixtures with its list.

    Returns:
        How many files there should be, and a line for each that is missing or another.

    Raises:
        ConfigError: the folder has no such list.
    """
    folder = Path(folder)
    count, wrong = 0, []
    for row in read_rows(folder / LIST, required=("example_id", "mixture", "reference", *plain.CHECKS)):
        for part in ("mixture", "reference"):
            name, wanted = row[part], row[f"{part}_sha256"]
            if not name:
                continue
            count += 1
            path = folder / name
            if not path.is_file():
                wrong.append(f"{path} is missing")
            elif sha256(path) != wanted:
                wrong.append(f"{path} is not what the list says: its SHA-256 is another")
    return count, wrong


def _write(mixed: Mixture, folder: Path, name: str, sample_rate: int) -> tuple[dict[str, str], dict[str, str]]:
    """The names of the files of a mixture, and their checksums; empty for a target that nobody knows."""
    names, sums = {}, {}
    parts: dict[str, Tensor | None] = {"mixture": mixed.mixture, "reference": mixed.reference}
    for (part, samples), place in zip(parts.items(), ("mixtures", "targets"), strict=True):
        names[part] = "" if samples is None else f"{place}/{name}"
        if samples is not None:
            audio.encode(folder / names[part], samples.numpy(), sample_rate, subtype="PCM_24", clip_mode="clamp")
        sums[f"{part}_sha256"] = "" if samples is None else sha256(folder / names[part])
    return names, sums


def _as_ready(example: Example, mixed: Mixture, names: dict[str, str]) -> Example:
    """The example as it is in the folder: nothing is left to be mixed, and example clips stay where they were.

    They are still named where there are no words to ask with.
    """
    snr_db = None if mixed.snr_db is None else round(mixed.snr_db, _LEVEL_DIGITS) + 0.0  # never -0.0
    bare = replace(example, mixture=names["mixture"], reference=names["reference"], snr_db=snr_db)
    bare = replace(bare, target="", interferers=(), start_s=0.0)
    return replace(bare, like=(), unlike=()) if example.text or example.exclude else bare
