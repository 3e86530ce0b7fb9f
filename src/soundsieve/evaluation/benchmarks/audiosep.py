"""AudioSep's lists (``evaluation/metadata`` of its repository). Their columns differ, and so does what they name.

- AudioCaps, Clotho, MUSIC, ESC-50: idx, caption, src_wav and noise_wav; Clotho has two interferers, both in columns
  called noise_wav1, and AudioCaps has labels. What is measured are ready-made files, ``segment-IDX.wav`` and
  ``mixture-IDX.wav``; the recordings that they were made of are named too, so they can also be mixed anew.
- AudioSet: the same columns, but idx is the number of the class, and src_wav and noise_wav name the ready-made target
  and the ready-made *mixture*, below ``evaluation/data/audioset/``.
- VGGSound: file_id, mix_wav, s0_wav, s0_text, s1_wav and s1_text: mixture, target and interferer, all ready-made, and
  the words for both sounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from soundsieve.errors import ConfigError
from soundsieve.evaluation.benchmarks.example import Example, check_names
from soundsieve.evaluation.benchmarks.tables import read_rows, recording

_AUDIOSET = "evaluation/data/audioset/"


def read_segments(path: str | Path, *, label: Literal["labels", "caption", ""] = "") -> list[Example]:
    """Read the list of AudioCaps, Clotho, MUSIC or ESC-50.

    Args:
        path: the list.
        label: the column that says which class the target is of; none by default.

    Raises:
        ConfigError: it cannot be read, or is no such list.
    """
    examples = []
    for row in read_rows(path, required=("idx", "caption", "src_wav", *((label,) if label else ()))):
        interferers = [recording(value) for name, value in row.items() if name.startswith("noise_wav") and value]
        if not interferers:
            raise ConfigError(f"{path} names no interferer (noise_wav) for {row['idx']}")
        examples.append(
            Example(
                row["idx"],
                row["caption"],
                label=row[label] if label else "",
                target=recording(row["src_wav"]),
                interferers=tuple(interferers),
                mixture=f"mixture-{row['idx']}.wav",
                reference=f"segment-{row['idx']}.wav",
            )
        )
    return check_names(examples, path)


def read_audioset(path: str | Path) -> list[Example]:
    """Read the list of AudioSet.

    Raises:
        ConfigError: it cannot be read, or is no such list.
    """
    examples = []
    for index, row in enumerate(read_rows(path, required=("idx", "caption", "src_wav", "noise_wav"))):
        reference, mixture = (recording(row[name]).removeprefix(_AUDIOSET) for name in ("src_wav", "noise_wav"))
        if "mixture" not in Path(mixture).name:
            raise ConfigError(f"{path}: noise_wav names {mixture}: in AudioSep's list of AudioSet it is the mixture")
        examples.append(Example(str(index), row["caption"], label=row["caption"], mixture=mixture, reference=reference))
    return check_names(examples, path)


def read_vggsound(path: str | Path) -> list[Example]:
    """Read the list of VGGSound. Both sounds can be mixed anew too, at another ratio than the list's.

    Raises:
        ConfigError: it cannot be read, or is no such list.
    """
    names = ("file_id", "mix_wav", "s0_wav", "s0_text", "s1_wav", "s1_text")
    examples = []
    for row in read_rows(path, required=names):
        target, interferer = recording(row["s0_wav"]), recording(row["s1_wav"])
        examples.append(
            Example(
                row["file_id"],
                row["s0_text"],
                row["s1_text"],
                row["s0_text"],
                target,
                (interferer,),
                recording(row["mix_wav"]),
                target,
            )
        )
    return check_names(examples, path)
