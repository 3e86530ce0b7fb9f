"""CLAPSep's lists (``metadata/evaluation`` of its repository): target, its words, the other sound, and its words.

``*_eval.csv`` has the columns source_file, positive_caption, noise_file and negative_caption. Beside the lists of three
sets stands ``*_eval_samples.csv`` with the columns class and file: for each caption, ten recordings that are in no
mixture, written as a Python list, to ask by example with.
"""

from __future__ import annotations

import ast
from pathlib import Path

from soundsieve.errors import ConfigError
from soundsieve.evaluation.benchmarks.example import Example, check_names
from soundsieve.evaluation.benchmarks.tables import read_rows, recording

_COLUMNS = ("source_file", "positive_caption", "noise_file", "negative_caption")
_BEFORE_LABEL = "the sound of "


def read(path: str | Path) -> list[Example]:
    """Read a list, and the one of its example clips where that lies beside it.

    With example clips the captions are classes ("the sound of a violin"), and the label is what follows "the sound of".

    Raises:
        ConfigError: a file cannot be read, or is no such list.
    """
    path = Path(path)
    beside = path.with_name(f"{path.stem}_samples.csv")
    clips = _read_samples(beside) if beside.exists() else {}
    examples = []
    for index, row in enumerate(read_rows(path, required=_COLUMNS)):
        target, text, interferer, exclude = (row[name] for name in _COLUMNS)
        for caption in (text, exclude) if clips else ():
            if caption not in clips:
                raise ConfigError(f"{beside} has no clips for '{caption}', which {path.name} asks for")
        examples.append(
            Example(
                str(index),
                text,
                exclude,
                _label(text) if clips else "",
                recording(target),
                (recording(interferer),),
                like=clips.get(text, ()),
                unlike=clips.get(exclude, ()),
            )
        )
    return check_names(examples, path)


def _label(caption: str) -> str:
    return caption[len(_BEFORE_LABEL) :] if caption.lower().startswith(_BEFORE_LABEL) else caption


def _read_samples(path: Path) -> dict[str, tuple[str, ...]]:
    clips = {}
    for row in read_rows(path, required=("class", "file")):
        try:
            names = ast.literal_eval(row["file"])
        except (ValueError, SyntaxError):
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{path}: the clips of '{row['class']}' are not a list such as ['a.wav', 'b.wav']")
        clips[row["class"]] = tuple(recording(name) for name in names)
    return clips
