"""FlowSep's lists (``metadata-master/processed`` of its repository): lines of JSON with wav, label and caption.

They name targets alone. The released code draws an interferer for each from the same list, any but the target itself;
here it is drawn with a seed, once for every example.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from soundsieve.errors import ConfigError, reason
from soundsieve.evaluation.benchmarks.example import Example, check_names
from soundsieve.evaluation.benchmarks.tables import recording


def read(path: str | Path, *, seed: int = 0) -> list[Example]:
    """Read a list, and draw the interferers.

    Recordings are named by their file alone, without the folders that they lay in.

    Raises:
        ConfigError: it cannot be read, or is no such list.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
                rows.append((Path(recording(row["wav"])).name, str(row["caption"])))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ConfigError(f"{path}, line {number}: not a line of JSON with wav and caption") from None
    if len({name for name, _ in rows}) < 2:
        raise ConfigError(f"{path} names fewer than two recordings: nothing can be mixed")
    examples = []
    for index, (target, text) in enumerate(rows):
        rng = random.Random(f"{seed}:{index}:{target}")
        interferer, exclude = target, ""
        while interferer == target:
            interferer, exclude = rows[rng.randrange(len(rows))]
        examples.append(Example(str(index), text, exclude, target=target, interferers=(interferer,)))
    return check_names(examples, path)
