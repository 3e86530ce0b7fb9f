"""How good a separated sound is: pure functions of ``(estimate, reference)``, one idea a file.

All are computed in float64 whatever comes in, one value per signal: shape ``(..., T)`` to ``(...)``. What they decide
alike, each documented and tested where it stands:

- signals of different shapes are refused (ValueError): nothing is cut or padded in silence;
- a silent reference is refused: a ratio to it is undefined. What a system answers to a query for a sound that is not
  there is measured by `absent_energy_db`;
- a silent estimate has a value, the worst of the scale or what the definition gives (0 dB of SDR);
- a perfect estimate has ``+inf`` dB where the definition has no ceiling;
- a signal with a sample that is not finite has NaN, its neighbours in the batch keep their values.

`METRICS` lists them all with their units and what they need; `applicable` says which of them mean something for a
system. docs/metrics.md explains them, with who uses which.
"""

from soundsieve.metrics.clapscore import clap_score, clap_score_audio
from soundsieve.metrics.filtered import filtered_sdr, filtered_sdr_improvement
from soundsieve.metrics.frechet import frechet_audio_distance, frechet_distance
from soundsieve.metrics.presence import absent_energy_db, roc_auc
from soundsieve.metrics.ratios import (
    sdr,
    sdr_improvement,
    si_sdr,
    si_sdr_improvement,
    si_snr,
    si_snr_improvement,
    snr,
    snr_improvement,
)
from soundsieve.metrics.speech import pesq, segmental_snr
from soundsieve.metrics.table import METRICS, Metric, applicable, why_not

__all__ = [
    "METRICS",
    "Metric",
    "absent_energy_db",
    "applicable",
    "clap_score",
    "clap_score_audio",
    "filtered_sdr",
    "filtered_sdr_improvement",
    "frechet_audio_distance",
    "frechet_distance",
    "pesq",
    "roc_auc",
    "sdr",
    "sdr_improvement",
    "segmental_snr",
    "si_sdr",
    "si_sdr_improvement",
    "si_snr",
    "si_snr_improvement",
    "snr",
    "snr_improvement",
    "why_not",
]
