"""Every metric: what it is called, which way is better, and what it needs to mean anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Need: TypeAlias = Literal["alignment", "reference", "mixture", "text", "embedding", "speech", "set"]

NEEDS: dict[Need, str] = {
    "alignment": "answers that line up with the target, sample by sample",
    "reference": "the clean target",
    "mixture": "the mixture, to compare with",
    "text": "the words for the target",
    "embedding": "a model that embeds sounds",
    "speech": "speech",
    "set": "many answers, for one number",
}
"""What a metric may need, in words."""


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes:
        name: the column of a row file; see `soundsieve.evaluation.run`.
        title: what reports call it.
        unit: of its values; empty for a number without one.
        better: ``higher`` or ``lower``.
        needs: some of `NEEDS`.
        used_by: who reports it.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    needs: frozenset[Need]
    used_by: str = ""


def _aligned(*more: Need) -> frozenset[Need]:
    return frozenset({"alignment", "reference", *more})


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("sdr", "SDR", "dB", "higher", _aligned(), "DCASE 2024 Task 9"),
        Metric("sdri", "SDRi", "dB", "higher", _aligned("mixture"), "AudioSep, DCASE 2024 Task 9"),
        Metric("si_sdr", "SI-SDR", "dB", "higher", _aligned(), "AudioSep, DCASE 2024 Task 9"),
        Metric("si_sdri", "SI-SDRi", "dB", "higher", _aligned("mixture"), "CLAPSep"),
        Metric("filtered_sdr", "SDR, 512 taps", "dB", "higher", _aligned(), "BSS Eval"),
        Metric("filtered_sdri", "SDRi, 512 taps", "dB", "higher", _aligned("mixture"), "CLAPSep (its SDRi)"),
        Metric("si_snr", "SI-SNR", "dB", "higher", _aligned(), "TasNet"),
        Metric("si_snri", "SI-SNRi", "dB", "higher", _aligned("mixture"), "Waveformer"),
        Metric("pesq", "PESQ", "", "higher", _aligned("speech"), "VoiceBank-DEMAND"),
        Metric("ssnr", "SSNR", "dB", "higher", _aligned("speech"), "VoiceBank-DEMAND"),
        Metric("fad", "FAD", "", "lower", frozenset({"reference", "embedding", "set"}), "FlowSep"),
        Metric("clap_score", "CLAPScore", "", "higher", frozenset({"text", "embedding"}), "FlowSep"),
        Metric("clap_score_audio", "CLAPScore_A", "", "higher", frozenset({"reference", "embedding"}), "FlowSep"),
        Metric("energy_db", "energy", "dB", "lower", frozenset({"mixture"}), "here, where the sound is absent"),
    )
}
"""Column -> metric. ``energy_db`` is better lower for sounds that are absent; of a present one it is no judgement."""


class Answering(Protocol):
    """What a system must say of itself, as `soundsieve.systems.base.System` does."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def aligned(self) -> bool: ...  # noqa: D102


def applicable(metric: str, system: Answering) -> bool:
    """Whether a metric means something for a system's answers.

    Raises:
        KeyError: there is no such metric.
    """
    return "alignment" not in METRICS[metric].needs or system.aligned


def why_not(metric: str, system: Answering) -> str:
    """The reason for a metric that is not `applicable`, in one line; empty for one that is.

    Raises:
        KeyError: there is no such metric.
    """
    if applicable(metric, system):
        return ""
    return (
        f"{METRICS[metric].title} needs {NEEDS['alignment']}; {system.name} makes its sound anew, so a good answer "
        f"can score as badly as a wrong one"
    )
