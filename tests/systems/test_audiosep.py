from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import audiosep_entries
from signals import tone_and_noise

from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.nn.resunet import ResUNetConfig
from soundsieve.query import Condition, Query
from soundsieve.separator import Separator
from soundsieve.systems.audiosep import AudioSep, AudioSepConfig
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.layouts.audiosep import audiosep_state, is_audiosep

RATE = 32000


@pytest.fixture
def system() -> AudioSep:
    torch.manual_seed(0)
    return AudioSep(AudioSepConfig.debug()).eval()


def mixture(seconds: float, batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([tone_and_noise(seconds, RATE, seed=k) for k in range(batch)]))


def test_base_is_the_published_size() -> None:
    config = AudioSepConfig.base()
    with torch.device("meta"):
        system = AudioSep(config)
    assert sum(p.numel() for p in system.network.parameters()) == 25_623_941
    assert config.clap.text.max_tokens == 512
    assert {p.requires_grad for p in system.clap.parameters()} == {False}
    assert sum(p.numel() for p in system.trainable_parameters()) == 25_623_941


@pytest.mark.parametrize("samples", [1, 100, 5000, 16001, 40000])
def test_mixtures_of_any_length(system: AudioSep, samples: int) -> None:
    condition = system.encode_query(Query("a dog"))
    with torch.inference_mode():
        target = system(mixture(2.0, 2)[:, :samples], condition)
    assert target.shape == (2, samples)
    assert torch.isfinite(target).all()


def test_a_clip_of_four_seconds_gives_sound() -> None:
    """The published code answers 5 s or less with silence where it cuts to chunks."""
    torch.manual_seed(0)
    config = replace(AudioSepConfig.debug(), segment_s=10.0)
    separator = Separator(AudioSep(config))
    answer = separator.separate(tone_and_noise(4.0, RATE), "a dog", sample_rate=RATE)
    assert np.abs(answer.target).max() > 0.01
    np.testing.assert_allclose(answer.target + answer.residual, tone_and_noise(4.0, RATE), atol=1e-7)


def test_long_recordings_are_cut(system: AudioSep) -> None:
    samples = tone_and_noise(3.3, 44100, channels=2)
    answer = Separator(system).separate(samples, "a dog", sample_rate=44100)
    assert answer.target.shape == samples.shape
    assert np.abs(answer.target[:, -4410:]).max() > 0


def test_text_and_clips_make_different_unit_vectors(system: AudioSep) -> None:
    clip = (tone_and_noise(0.7, RATE)[0], RATE)
    conditions = [
        system.encode_query(query) for query in (Query("a dog"), Query(like=[clip]), Query("a dog", like=[clip]))
    ]
    for condition in conditions:
        assert condition.positive.shape == (1, system.config.clap.dim)
        assert condition.positive.norm() == pytest.approx(1, abs=1e-5)
        assert not condition.negative.any()
    text, audio, both = (condition.positive for condition in conditions)
    assert not torch.allclose(text, audio, atol=1e-3)
    assert torch.allclose(both, torch.nn.functional.normalize(text + audio, dim=1), atol=1e-5)


def test_agreement_is_the_cosine_of_claps_embedding(system: AudioSep) -> None:
    samples = tone_and_noise(0.8, RATE)
    wanted = system.encode_query(Query(like=[(samples[0], RATE)]))
    found = system.agreement(torch.from_numpy(samples), wanted)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(1, abs=1e-4)
    assert system.agreement(mixture(0.8, 3), wanted).shape == (3,)


def test_exclusion_is_refused_by_name(system: AudioSep) -> None:
    with pytest.raises(QueryError, match=r"audiosep does not take exclusion.*takes example clips.*, text"):
        system.encode_query(Query("a dog", exclude="rain"))


def test_only_the_network_is_trained(system: AudioSep) -> None:
    system.train()
    assert system.network.training
    assert not any(module.training for module in system.clap.modules())
    embedding = torch.randn(2, system.config.clap.dim)
    system(mixture(0.5, 2), Condition(embedding, torch.zeros_like(embedding))).square().mean().backward()
    assert all(p.grad is None for p in system.clap.parameters())
    assert sum(p.grad is not None for p in system.trainable_parameters()) == len(list(system.network.parameters()))


def test_a_file_rebuilds_it(system: AudioSep, tmp_path: Path) -> None:
    save_system(tmp_path / "a.safetensors", system)
    again = load_system(tmp_path / "a.safetensors")
    assert isinstance(again, AudioSep)
    assert again.config == system.config
    query = Query("a dog")
    with torch.inference_mode():
        one, other = (each(mixture(0.5), each.encode_query(query)) for each in (system, again))
    assert torch.allclose(one, other, atol=1e-5)  # mapped weights lie elsewhere, so sums go in another order


def test_configs(system: AudioSep) -> None:
    for config in (AudioSepConfig.base(), AudioSepConfig.debug()):
        assert from_dict(AudioSepConfig, to_dict(config)) == config
    with pytest.raises(ConfigError, match="condition is as wide as CLAP's space, 16"):
        AudioSepConfig(CLAPConfig.debug())
    with pytest.raises(ConfigError, match="style resunet30"):
        replace(system.config, resunet=ResUNetConfig.debug("lassnet"))
    with pytest.raises(ConfigError, match="hop_length 300 must be at most half"):
        replace(system.config, hop_length=300)
    with pytest.raises(ConfigError, match="n_fft 516 must be a multiple of 8"):
        replace(system.config, n_fft=516)
    with pytest.raises(ConfigError, match="segment_s"):
        replace(system.config, segment_s=0.0)
    with pytest.raises(ConfigError, match="other sizes"):
        AudioSep(system.config, clap=CLAP(replace(CLAPConfig.debug(), dim=8)))


# --- the published layout ---


def test_the_published_layout_is_read(system: AudioSep) -> None:
    entries = audiosep_entries(system)
    assert is_audiosep(entries)
    assert "ss_model.film.decoder_block2->conv_block2->beta1.weight" in entries
    state = audiosep_state(entries, system.config)
    assert state.keys() == system.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in system.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ss_model.base.pre_conv.bias", None, "missing ss_model.base.pre_conv.bias; unexpected none"),
        ("query_encoder.model.logit_scale_a", None, "its CLAP does not fit: missing logit_scale_a"),
        ("ss_model.base.decoder_block3.bn2.weight", torch.ones(2), "unexpected ss_model.base.decoder_block3.bn2"),
        ("extra", torch.ones(2), "missing none; unexpected extra"),
        ("ss_model.base.pre_conv.bias", torch.ones(7), r"pre_conv.bias has shape \(7,\), not \(4,\)"),
        ("ss_model.base.pre_conv.bias", torch.full((4,), torch.nan), "not finite"),
        ("ss_model.base.stft.conv_real.weight", torch.ones(257, 1, 512), "conv_real.weight is not what this system"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    system: AudioSep, key: str, value: torch.Tensor | None, message: str
) -> None:
    entries = audiosep_entries(system)
    if value is None:
        del entries[key]
    else:
        entries[key] = value
    with pytest.raises(WeightsError, match=message):
        audiosep_state(entries, system.config)
