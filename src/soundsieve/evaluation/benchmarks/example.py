"""What every list of mixtures comes down to: one example, one question about one mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass

from soundsieve.errors import ConfigError


@dataclass(frozen=True)
class Example:
    """One row of a list. Recordings are named by their paths below the folder with the audio, with ``/`` between parts.

    An example is to be mixed from recordings (``target`` and ``interferers``), or it is a ``mixture`` that somebody
    mixed already, with the ``reference`` in it where that is given away; some lists tell both.

    Attributes:
        example_id: its name, which no other example of the list has.
        text: what to extract, in words.
        exclude: what is not wanted, in words; empty where the list does not say.
        label: which class the target is of; empty where the list has none.
        target: recording of the sound that is asked for, to be mixed.
        interferers: recordings to mix it with.
        mixture: recording of the mixture, ready-made.
        reference: recording of the target as it is in ``mixture``.
        like: example clips of what is asked for, in the order in which more are taken.
        unlike: likewise of what is not wanted.
        snr_db: at which ratio this example is mixed; None where the benchmark has one rule for all.
        start_s: where the piece that is taken starts in each recording, in seconds.

    Raises:
        ConfigError: there is nothing to ask or nothing to mix, or a number is out of range.
    """

    example_id: str
    text: str = ""
    exclude: str = ""
    label: str = ""
    target: str = ""
    interferers: tuple[str, ...] = ()
    mixture: str = ""
    reference: str = ""
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    snr_db: float | None = None
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.example_id:
            raise ConfigError("an example has no name (example_id)")
        if not any((self.text, self.exclude, self.like, self.unlike)):
            raise ConfigError(f"example {self.example_id} asks for nothing: it has no text and no example clips")
        if bool(self.target) != bool(self.interferers):
            lacking = "interferers" if self.target else "target"
            raise ConfigError(f"example {self.example_id} has no {lacking} to mix")
        if not self.target and not self.mixture:
            raise ConfigError(f"example {self.example_id} has neither recordings to mix nor a mixture")
        if self.reference and not self.mixture:
            raise ConfigError(f"example {self.example_id} has a reference, but no mixture that it is in")
        if self.snr_db is not None and not math.isfinite(self.snr_db):
            raise ConfigError(f"example {self.example_id}: snr_db is {self.snr_db}: it is a number of dB")
        if not 0 <= self.start_s < math.inf:
            raise ConfigError(
                f"example {self.example_id}: start_s is {self.start_s}: it is a number of seconds, from 0"
            )


def check_names(examples: list[Example], where: object) -> list[Example]:
    """The same examples, once it is sure that there are any and that no two have one name.

    Raises:
        ConfigError: there is none, or a name is there twice.
    """
    if not examples:
        raise ConfigError(f"{where} lists no mixture")
    seen: set[str] = set()
    for example in examples:
        if example.example_id in seen:
            raise ConfigError(f"{where} has two examples named {example.example_id}")
        seen.add(example.example_id)
    return examples
