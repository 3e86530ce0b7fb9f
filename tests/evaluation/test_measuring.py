import math
import sys
import types

import pytest
import torch

from soundsieve.errors import ConfigError
from soundsieve.evaluation.measuring import Target, choose
from soundsieve.metrics import filtered_sdr, sdr, segmental_snr, si_sdr, si_snr

REFERENCE = torch.randn(16000, generator=torch.Generator().manual_seed(0))
MIXTURE = REFERENCE + torch.randn(16000, generator=torch.Generator().manual_seed(1))
ANSWER = 0.8 * REFERENCE + 0.2 * MIXTURE


def test_every_ratio_and_its_gain():
    row = Target(MIXTURE, REFERENCE, sample_rate=16000, metrics=choose(["sdr", "si_sdr", "filtered_sdr", "si_snr"]))
    found = row.measure(ANSWER)
    for name, metric in (("sdr", sdr), ("si_sdr", si_sdr), ("filtered_sdr", filtered_sdr), ("si_snr", si_snr)):
        after, before = metric(ANSWER, REFERENCE).item(), metric(MIXTURE, REFERENCE).item()
        assert found[name] == pytest.approx(after, abs=1e-4)
        assert found[f"{name}i"] == pytest.approx(after - before, abs=1e-4)
    assert set(Target(MIXTURE, REFERENCE, sample_rate=16000).measure(ANSWER)) == {
        *("energy_db", "sdr", "sdri", "si_sdr", "si_sdri")
    }


def test_an_absent_sound_has_its_energy_alone():
    assert Target(MIXTURE, None, sample_rate=16000).measure(MIXTURE / 10) == {"energy_db": pytest.approx(-20, abs=1e-4)}


def test_values_are_bounded_and_not_nan():
    target = Target(MIXTURE, REFERENCE, sample_rate=16000, metrics=["sdr", "si_sdr"])
    assert target.measure(REFERENCE)["sdr"] == 100
    assert target.measure(0 * ANSWER)["si_sdr"] == target.measure(0 * ANSWER)["energy_db"] == -100
    for broken in (math.nan, math.inf):
        with pytest.raises(ConfigError, match="not a number"):
            target.measure(ANSWER.index_fill(0, torch.tensor([5]), broken))


def test_what_has_no_value_is_told():
    with pytest.raises(ConfigError, match="cannot be measured: a reference is silent"):
        Target(MIXTURE, 0 * REFERENCE, sample_rate=16000).measure(ANSWER)
    with pytest.raises(ConfigError, match="nothing can be gained"):
        Target(REFERENCE, REFERENCE, sample_rate=16000).measure(ANSWER)
    with pytest.raises(ConfigError, match="too short for a frame"):
        Target(MIXTURE[:99], REFERENCE[:99], sample_rate=16000, metrics=["ssnr"]).measure(ANSWER[:99])


def test_speech_is_brought_to_the_rate_of_its_metric(monkeypatch: pytest.MonkeyPatch):
    asked = []
    package = types.SimpleNamespace(
        pesq=lambda rate, clean, answer, mode: asked.append((rate, len(clean), mode)) or 3.0
    )
    monkeypatch.setitem(sys.modules, "pesq", package)
    for rate in (16000, 32000):
        row = Target(MIXTURE, REFERENCE, sample_rate=rate, metrics=choose(["pesq", "ssnr"])).measure(ANSWER)
        assert row["pesq"] == 3
        assert row["ssnr"] == pytest.approx(segmental_snr(ANSWER, REFERENCE, sample_rate=rate).item(), abs=1e-4)
        assert set(row) == {"energy_db", "pesq", "ssnr"}
    assert asked == [(16000, 16000, "wb"), (16000, 8000, "wb")]


def test_only_what_applies_is_chosen():
    anew = types.SimpleNamespace(name="anew", aligned=False)
    assert choose(["ssnr", "sdr"]) == ("sdr", "ssnr")
    assert choose(["sdr", "pesq"], anew) == ()
    with pytest.raises(ConfigError, match="no metric 'fad' to choose; there are sdr, si_sdr"):
        choose(["sdr", "fad"])
