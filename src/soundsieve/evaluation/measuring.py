"""From an answer to the columns of a row: every metric that is asked for, and what was gained over the mixture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from soundsieve import audio
from soundsieve.errors import ConfigError
from soundsieve.metrics import absent_energy_db, applicable, filtered_sdr, pesq, sdr, segmental_snr, si_sdr, si_snr
from soundsieve.metrics.table import Answering

if TYPE_CHECKING:
    from soundsieve.evaluation.judge import Judge

BOUND_DB = 100.0
PESQ_RATE = 16000

Row: TypeAlias = dict[str, Any]

RATIOS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sdr": sdr,
    "si_sdr": si_sdr,
    "filtered_sdr": filtered_sdr,
    "si_snr": si_snr,
}
"""Ratios of energies; each has a second column, with an ``i`` behind its name, for what was gained over the mixture."""
SPEECH = ("pesq", "ssnr")
BASIC = ("sdr", "si_sdr")


def choose(names: Sequence[str], system: Answering | None = None) -> tuple[str, ...]:
    """Those metrics, in the order of the columns, that say something of a system's answers.

    Args:
        names: some of `RATIOS` and `SPEECH`.
        system: whose answers are measured; None for answers that line up with the target.

    Raises:
        ConfigError: a name is not known.
    """
    known = (*RATIOS, *SPEECH)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"there is no metric '{unknown[0]}' to choose; there are {', '.join(known)}")
    return tuple(name for name in known if name in names and (system is None or applicable(name, system)))


class Target:
    """A mixture, and what is to be found in it: measures answers.

    Args:
        mixture: shape ``(T,)``.
        reference: the sound that is asked for, as it is in the mixture, shape ``(T,)``; None for one that is not there.
        sample_rate: of both, in Hz.
        metrics: as `choose` gives them.
        judge: what hears the answers too; None for nobody.
    """

    def __init__(
        self,
        mixture: Tensor,
        reference: Tensor | None,
        *,
        sample_rate: int,
        metrics: Sequence[str] = BASIC,
        judge: Judge | None = None,
    ) -> None:
        self.mixture, self.reference, self.sample_rate = mixture, reference, sample_rate
        self.metrics, self.judge = tuple(metrics), judge

    @cached_property
    def _before(self) -> dict[str, Tensor]:
        """What the unprocessed mixture scores."""
        if self.reference is None:
            return {}
        found = {name: RATIOS[name](self.mixture, self.reference) for name in self.metrics if name in RATIOS}
        if any(bool(value.isinf()) for value in found.values()):
            raise ValueError("the mixture is the reference itself, or has nothing of it: nothing can be gained")
        return found

    @cached_property
    def _heard(self) -> Tensor | None:
        """What the judge hears in the reference."""
        return None if self.judge is None or self.reference is None else self._hear(self.judge, self.reference)

    def _hear(self, judge: Judge, waveform: Tensor) -> Tensor:
        return judge.hear(waveform, sample_rate=self.sample_rate)

    def measure(self, answer: Tensor, *, text: str = "") -> Row:
        """The columns for an answer of shape ``(T,)``: ``energy_db``, and the metrics' if there is a reference.

        Ratios beyond 100 dB are given as 100 dB: a silent answer has an SI-SDR of -100, not of minus infinity.

        Args:
            answer: what is measured.
            text: words for the sound that is asked for, for the judge.

        Raises:
            ConfigError: the answer is not a number somewhere, a metric has no value for it, or needs a package that is
                not installed.
        """
        try:
            return self._columns(answer, text)
        except ValueError as error:
            raise ConfigError(f"an answer cannot be measured: {error}") from error

    def _columns(self, answer: Tensor, text: str) -> Row:
        row: Row = {"energy_db": number(absent_energy_db(answer, mixture=self.mixture))}
        if self.judge is not None and (text or self.reference is not None):
            row |= self.judge.judge(self._hear(self.judge, answer), reference=self._heard, text=text)
        if self.reference is None:
            return row
        for name, before in self._before.items():
            after = RATIOS[name](answer, self.reference)
            row |= {name: number(after), f"{name}i": number(after - before)}
        if "pesq" in self.metrics:
            both = torch.stack([answer, self.reference])
            if self.sample_rate != PESQ_RATE:
                both = torch.from_numpy(audio.resample(both.numpy(), self.sample_rate, PESQ_RATE))
            row["pesq"] = number(pesq(both[0], both[1]))
        if "ssnr" in self.metrics:
            row["ssnr"] = number(segmental_snr(answer, self.reference, sample_rate=self.sample_rate))
        return row


def number(value: Tensor) -> float:
    """A measured value for a row, bounded and rounded.

    Raises:
        ConfigError: it is not a number.
    """
    found = float(value)
    if math.isnan(found):
        raise ConfigError("a system's answer is not a number (NaN): there is nothing to measure")
    return round(min(max(found, -BOUND_DB), BOUND_DB), 5)
