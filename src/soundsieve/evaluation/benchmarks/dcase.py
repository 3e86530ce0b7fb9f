"""The lists of DCASE 2024, Task 9 (language-queried audio source separation).

Like the challenge's own evaluator these readers go by position, not by the names in the header.
"""

from __future__ import annotations

from pathlib import Path

from soundsieve.evaluation.benchmarks.example import Example, check_names
from soundsieve.evaluation.benchmarks.tables import number, read_rows, recording


def read_validation(path: str | Path) -> list[Example]:
    """Read ``lass_synthetic_validation.csv``: target, interferer (both without ``.wav``), ratio in dB, caption.

    Raises:
        ConfigError: it cannot be read, or is no such list.
    """
    examples = []
    for index, row in enumerate(read_rows(path, columns=4)):
        target, interferer, snr_db, text = row.values()
        examples.append(
            Example(
                str(index),
                text,
                target=recording(target),
                interferers=(recording(interferer),),
                snr_db=number(snr_db, f"{path}: the ratio of {target} and {interferer}"),
            )
        )
    return check_names(examples, path)


def read_evaluation(path: str | Path) -> list[Example]:
    """Read ``lass_synthetic_evaluation.csv`` or ``lass_real_evaluation.csv``: mixture, query.

    Neither gives the target away, so answers have no SDR.

    Raises:
        ConfigError: it cannot be read, or is no such list.
    """
    rows = read_rows(path, columns=2)
    examples = [
        Example(str(index), text, mixture=recording(mixture))
        for index, (mixture, text) in enumerate(tuple(row.values()) for row in rows)
    ]
    return check_names(examples, path)
