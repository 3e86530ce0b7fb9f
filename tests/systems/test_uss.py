from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import uss_entries
from signals import tone_and_noise
from torch import Tensor

from soundsieve.encoders import audioset
from soundsieve.encoders.pann import Cnn14, Cnn14Config
from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.query import Query
from soundsieve.separator import Separator
from soundsieve.systems.uss import USS, USSConfig
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.layouts.uss import is_uss, uss_state

RATE = 32000
DOG = audioset.classes().index("Dog")


@pytest.fixture
def system() -> USS:
    torch.manual_seed(0)
    return USS(USSConfig.debug()).eval()


def mixture(seconds: float = 0.5, batch: int = 1) -> Tensor:
    return torch.from_numpy(np.concatenate([tone_and_noise(seconds, RATE, seed=k) for k in range(batch)]))


def tagged(system: USS, monkeypatch: pytest.MonkeyPatch, *rows: dict[str, float]) -> None:
    """The tagger hears these classes in the mixtures of a batch, whatever they are."""
    tags = torch.full((len(rows), 527), 0.01)
    for row, classes in zip(tags, rows, strict=True):
        for name, probability in classes.items():
            row[audioset.classes().index(name)] = probability
    monkeypatch.setattr(system, "tag", lambda waveform: tags)


def test_base_is_the_published_size() -> None:
    with torch.device("meta"):
        system = USS(USSConfig.base())
    # Their 39.18 M and 81.84 M count transforms (12.59 M, 1.08 M) and what nothing reads of the decoders (0.85 M).
    assert sum(p.numel() for p in system.network.parameters()) == 25_747_781
    assert sum(p.numel() for p in system.tagger.parameters()) == 80_753_615


@pytest.mark.parametrize("samples", [1, 100, 5000, 16001, 40000])
@pytest.mark.parametrize("by_class", [False, True])
def test_mixtures_of_any_length(system: USS, samples: int, by_class: bool) -> None:
    query = Query("Dog") if by_class else Query(like=[(tone_and_noise(0.6, RATE)[0], RATE)])
    with torch.inference_mode():
        estimate = system.estimate(mixture(2.0, 2)[:, :samples], system.encode_query(query))
    assert estimate.target.shape == (2, samples)
    assert torch.isfinite(estimate.target).all()
    assert (estimate.presence is not None) == by_class


def test_a_class_is_asked_with_its_own_probability_alone(system: USS, monkeypatch: pytest.MonkeyPatch) -> None:
    tagged(system, monkeypatch, {"Dog": 0.7, "Speech": 0.9})
    with torch.inference_mode():
        estimate = system.estimate(mixture(), system.encode_query(Query("Dog")))
        condition = torch.zeros(1, 527)
        condition[0, DOG] = 0.7
        assert torch.equal(estimate.target, system.network(mixture(), condition))
    assert estimate.presence.item() == pytest.approx(0.7)


def test_a_level_keeps_the_probabilities_of_all_beneath_it(system: USS, monkeypatch: pytest.MonkeyPatch) -> None:
    tagged(system, monkeypatch, {"Dog": 0.1, "Bark": 0.6, "Speech": 0.9})
    condition = torch.full((1, 527), 0.01)
    condition[0, DOG], condition[0, audioset.classes().index("Bark")] = 0.1, 0.6
    kept = torch.zeros(527)
    kept[sorted(audioset.find("level 3: Dog"))] = 1
    with torch.inference_mode():
        estimate = system.estimate(mixture(), system.encode_query(Query("level 3: Dog")))
        assert torch.equal(estimate.target, system.network(mixture(), condition * kept))
    assert estimate.presence.item() == pytest.approx(0.6)


def test_where_no_wanted_class_is_likely_there_is_silence(system: USS, monkeypatch: pytest.MonkeyPatch) -> None:
    tagged(system, monkeypatch, {"Dog": 0.19, "Speech": 0.9}, {"Dog": 0.2})
    with torch.inference_mode():
        estimate = system.estimate(mixture(batch=2), system.encode_query(Query("Dog")))
    assert (estimate.target[0] == 0).all()
    assert estimate.target[1].abs().max() > 0
    assert estimate.presence.tolist() == pytest.approx([0.19, 0.2])
    assert system.presence_threshold == 0.2


def test_several_classes_are_asked_together(system: USS) -> None:
    wanted = system.encode_query(Query(["Dog", "speech"])).positive.chunk(2, dim=1)[1]
    assert set(wanted[0].nonzero().flatten().tolist()) == {DOG, 0}


def test_clips_are_heard_in_pieces_and_averaged(system: USS) -> None:
    length = system.config.segment_samples
    clips = [tone_and_noise(1.0, RATE, seed=seed)[0] for seed in range(2)]
    with torch.inference_mode():
        found = system.encode_query(Query(like=[(clip, RATE) for clip in clips])).positive
        pieces = torch.from_numpy(np.stack([clip[start : start + length] for clip in clips for start in (0, length)]))
        expected = system.tagger(pieces).mean(0)
    assert torch.allclose(found[0, :527], expected, atol=1e-6)
    assert not found[0, 527:].any()


def test_short_clips_are_repeated_and_silent_windows_left_out(system: USS) -> None:
    clip = tone_and_noise(0.2, RATE)[0]
    silence = np.full(RATE // 10, 0.02, np.float32)
    with torch.inference_mode():
        plain = system.encode_query(Query(like=[(clip, RATE)])).positive
        gaps = np.concatenate([silence, clip[: RATE // 10], silence, clip[RATE // 10 :], silence[:77]])
        assert torch.allclose(system.encode_query(Query(like=[(gaps, RATE)])).positive, plain, atol=1e-6)
        repeated = torch.from_numpy(np.tile(clip, 3)[: system.config.segment_samples])[None]
        assert torch.allclose(plain[:, :527], system.tagger(repeated), atol=1e-6)


@pytest.mark.parametrize(
    "clip", [np.zeros(RATE, np.float32), np.full(RATE, 0.02, np.float32), np.ones(100, np.float32)]
)
def test_clips_that_say_nothing_are_refused(system: USS, clip: np.ndarray) -> None:
    with pytest.raises(QueryError, match=r"lasts at least 0.1 s and its level passes 0.02"):
        system.encode_query(Query(like=[(clip, RATE)]))


def test_what_it_does_not_take_is_refused_by_name(system: USS) -> None:
    with pytest.raises(QueryError, match="uss does not take exclusion"):
        system.encode_query(Query("Dog", exclude="Speech"))
    with pytest.raises(QueryError, match="'a dog barking in the yard' is not a class of AudioSet"):
        system.encode_query(Query("a dog barking in the yard"))
    with pytest.raises(QueryError, match="not both at once"):
        system.encode_query(Query("Dog", like=[(np.ones(RATE, np.float32), RATE)]))


def test_four_seconds_give_sound_by_clip_and_by_class() -> None:
    torch.manual_seed(0)
    separator = Separator(USS(replace(USSConfig.debug(), segment_s=2.0, threshold=0.0)))
    recording = tone_and_noise(4.0, RATE)
    for asked in ({"text": "Dog"}, {"like": (recording[0], RATE)}):
        answer = separator.separate(recording, sample_rate=RATE, **asked)
        assert np.abs(answer.target).max() > 0.01
        assert np.abs(answer.target[:, -RATE:]).max() > 0.01


def test_only_the_network_is_trained(system: USS) -> None:
    system.train()
    assert system.network.training
    assert not any(module.training for module in system.tagger.modules())
    assert not any(p.requires_grad for p in system.tagger.parameters())


def test_the_tagger_hears_a_batch_as_it_hears_each(system: USS) -> None:
    both = mixture(batch=2)
    with torch.inference_mode():
        assert torch.allclose(system.tagger(both), torch.cat([system.tagger(row[None]) for row in both]), atol=1e-6)
    tagger = Cnn14(Cnn14Config.debug()).eval()
    with torch.inference_mode():
        assert tagger(torch.randn(1, tagger.min_samples)).shape == (1, 527)


def test_a_file_rebuilds_it(system: USS, tmp_path: Path) -> None:
    save_system(tmp_path / "a.safetensors", system)
    again = load_system(tmp_path / "a.safetensors")
    assert isinstance(again, USS)
    query = Query(like=[(tone_and_noise(0.3, RATE)[0], RATE)])
    with torch.inference_mode():
        one, other = (each(mixture(), each.encode_query(query)) for each in (system, again))
    assert torch.allclose(one, other, atol=1e-5)  # mapped weights lie elsewhere, so sums go in another order


def test_configs(system: USS) -> None:
    for config in (USSConfig.base(), USSConfig.debug()):
        assert from_dict(USSConfig, to_dict(config)) == config
    with pytest.raises(ConfigError, match="AudioSet's 527 classes"):
        replace(system.config, tagger=replace(system.config.tagger, classes=10))
    with pytest.raises(ConfigError, match="sample rate of the mixtures"):
        replace(system.config, sample_rate=16000)
    with pytest.raises(ConfigError, match="threshold from 0 to 1"):
        replace(system.config, threshold=2.0)
    with pytest.raises(ConfigError, match="n_mels is at least 4"):
        replace(system.config.tagger, n_mels=2)


# --- the published layout ---


@pytest.mark.parametrize("detector", [False, True])
def test_the_published_layout_is_read(system: USS, detector: bool) -> None:
    entries = uss_entries(system, detector=detector)
    assert is_uss(entries)
    state = uss_state(entries, system.config)
    assert state.keys() == system.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in system.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("query_net.base.fc1.bias", None, "missing query_net.base.fc1.bias; unexpected none"),
        ("ss_model.base.after_conv.bias", None, "missing ss_model.base.after_conv.bias"),
        ("query_net.extra", torch.ones(2), "missing none; unexpected query_net.extra"),
        ("query_net.base.fc1.bias", torch.ones(7), r"has shape \(7,\), not \(8,\)"),
        ("query_net.base.logmel_extractor.melW", torch.ones(257, 16), "melW is not what this system computes"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(system: USS, key: str, value: Tensor | None, message: str) -> None:
    entries = uss_entries(system)
    if value is None:
        del entries[key]
    else:
        entries[key] = value
    with pytest.raises(WeightsError, match=message):
        uss_state(entries, system.config)
