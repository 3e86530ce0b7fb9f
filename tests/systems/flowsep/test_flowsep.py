"""FlowSep as a system: what it is asked, how it is told to answer, and what stays the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_flowsep import RATE, noise, tiny, tiny_config

from soundsieve.errors import AudioError, ConfigError, QueryError
from soundsieve.nn.precision import to_precision
from soundsieve.query import Condition, Query
from soundsieve.separator import Separator
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.flowsep import FlowSep, pack, unpack
from soundsieve.systems.flowsep.sampling import Sampling
from soundsieve.weights.checkpoint import load_system, save_system

SOUND = noise(12000)


@pytest.fixture(scope="module")
def separator() -> Separator:
    return Separator(tiny())


def target(separator: Separator, **options: object) -> np.ndarray:
    return separator.separate(SOUND, "a dog", sample_rate=RATE, **options).target  # type: ignore[arg-type]


# --- what it is ---


def test_what_it_says_of_itself() -> None:
    system = tiny()
    assert (system.name, system.queries, system.sample_rate) == ("flowsep", {"text"}, 16000)
    assert not system.aligned
    assert system.with_settings({"project": True}).aligned
    assert FlowSepConfig.base().segment_s == 10.24
    assert (FlowSepConfig.base().latent_hop, FlowSepConfig.base().grain) == (640, 5120)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"segment_s": 0.0}, "segment_s is above 0"),
        ({"level": "loud"}, "level is matched or kept"),
        ({"objective": "guess"}, "objective is flow or diffusion"),
        ({"mel": replace(FlowSepConfig.debug().mel, n_mels=20)}, "n_mels 20 is a multiple of 8"),
        ({"mel": replace(FlowSepConfig.debug().mel, n_mels=32)}, "vocoder takes the spectrogram's 32 bands"),
        ({"unet": replace(FlowSepConfig.debug().unet, context_width=7)}, "context_width is as wide as a token"),
        ({"vae": replace(FlowSepConfig.debug().vae, latent_channels=4)}, "have the same latent_channels"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        tiny_config(**changes)


def test_a_file_brings_back_the_same_system(tmp_path: Path, separator: Separator) -> None:
    path = tmp_path / "one.safetensors"
    save_system(path, separator.system)
    again = load_system(path)
    assert isinstance(again, FlowSep)
    assert again.config == separator.system.config
    assert np.abs(target(Separator(again)) - target(separator)).max() < 1e-5  # its memory is aligned otherwise


def test_the_debug_preset_asks_t5() -> None:
    system = tiny(FlowSepConfig.debug())
    one, two = (system.encode_query(Query(text)) for text in ("a dog", "rain"))
    tokens, mask = unpack(one.positive, system.config.text_width)
    assert tokens.shape == (1, system.config.text.tokens, 16)
    assert mask.sum() == len("a dog") + 1
    assert not torch.equal(one.positive, two.positive)
    nothing, there = system.no_text()
    assert nothing.shape == tokens.shape
    assert there.sum() == 1  # the end alone


# --- what stays the same ---


def test_the_same_seed_gives_the_same_answer(separator: Separator) -> None:
    first = target(separator)
    assert np.array_equal(first, target(separator))
    assert np.array_equal(first, target(separator, batch=1))
    assert not np.allclose(first, target(separator, settings={"seed": 1}), atol=0.01)
    assert np.array_equal(first, target(separator))  # settings of one answer are no others'


def test_channels_are_as_if_they_were_alone(separator: Separator) -> None:
    both = torch.cat([SOUND, noise(12000, seed=5)])
    found = separator.separate(both, "a dog", sample_rate=RATE).target
    assert np.array_equal(found[:1], target(separator))


def test_twice_as_loud_is_answered_twice_as_loud(separator: Separator) -> None:
    loud = separator.separate(2 * SOUND, "a dog", sample_rate=RATE).target
    assert np.array_equal(loud, 2 * target(separator))


def test_a_batch_is_answered_as_one_by_one() -> None:
    system = tiny()
    conditions = [system.encode_query(Query(text)).positive for text in ("a dog", "rain")]
    sounds = torch.cat([noise(9000), noise(9000, seed=1)])
    together = system(sounds, Condition(torch.cat(conditions), torch.zeros_like(torch.cat(conditions))))
    for row, wanted in enumerate(conditions):
        alone = system(sounds[row : row + 1], Condition(wanted, torch.zeros_like(wanted)))
        assert torch.equal(together[row], alone[0])


def test_texts_matter(separator: Separator) -> None:
    other = separator.separate(SOUND, "heavy rain", sample_rate=RATE).target
    assert np.abs(other - target(separator)).max() > 1e-3 * np.abs(other).max()


def test_silence_gives_silence(separator: Separator) -> None:
    for project in (False, True):
        found = separator.separate(0 * SOUND, "a dog", sample_rate=RATE, settings={"project": project})
        assert not found.target.any()
        assert found.presence == 0


def test_other_rates_come_back_at_their_own(separator: Separator) -> None:
    found = separator.separate(noise(44100)[0].numpy(), "a dog", sample_rate=44100)
    assert (found.target.shape, found.sample_rate) == ((44100,), 44100)
    assert np.abs(found.target).max() > 0


def test_levels_are_matched_where_training_lost_them() -> None:
    """The made-up network answers loudly whatever it hears; matched, its answer is no louder than the mixture."""
    sound = SOUND[:, :9000]
    loud = Separator(tiny()).separate(sound, "a dog", sample_rate=RATE).target
    matched = Separator(tiny(tiny_config(level="matched"))).separate(sound, "a dog", sample_rate=RATE).target
    assert np.sqrt(np.mean(matched**2)) < 1.5 * float(SOUND.square().mean().sqrt())
    ratio = matched / loud
    assert np.ptp(ratio[np.abs(loud) > 0.01]) < 1e-3 * np.abs(ratio).max()


# --- how it is told to answer ---


def test_projected_answers_add_up(separator: Separator) -> None:
    sound = (SOUND * 2**15).round() / 2**15  # as a file of 16 bits holds it
    found = separator.separate(sound, "a dog", sample_rate=RATE, settings={"project": True})
    assert np.array_equal(found.target + found.residual, sound.numpy())
    generated = separator.separate(sound, "a dog", sample_rate=RATE)
    assert np.sum(found.target**2) <= 1.01 * float(sound.square().sum())
    assert np.sum(generated.target**2) > 2 * float(sound.square().sum())


def test_guidance() -> None:
    """One is the network's own answer with the text, zero its answer without; beyond, the line goes on."""
    system = tiny()
    mixture, x = torch.randn(1, 2, 16, 4), torch.randn(1, 2, 16, 4)
    tokens, mask = system.tokens(["a dog"])
    v0, v1, v3 = (system.velocity(mixture, tokens, mask, g)(x, 0.3) for g in (0.0, 1.0, 3.0))
    nothing, there = system.no_text()
    assert torch.equal(v1, system.unet(x, mixture, torch.tensor([0.3]), tokens, mask))
    assert torch.equal(v0, system.unet(x, mixture, torch.tensor([0.3]), nothing, there))
    assert torch.allclose(v3, v0 + 3 * (v1 - v0), atol=1e-6)
    assert not torch.allclose(v1, v0)


def test_guidance_of_a_batch_is_that_of_each() -> None:
    system = tiny()
    mixture, x = torch.randn(2, 2, 2, 16, 4)
    tokens, mask = system.tokens(["a dog", "rain"])
    together = system.velocity(mixture, tokens, mask, 3.0)(x, 0.3)
    for i in range(2):
        part = slice(i, i + 1)
        alone = system.velocity(mixture[part], tokens[part], mask[part], 3.0)(x[part], 0.3)
        assert torch.allclose(together[part], alone, atol=1e-5)


def test_the_network_is_asked_as_often_as_is_said() -> None:
    system = tiny()
    calls: list[int] = []
    system.unet.time.register_forward_hook(lambda *_: calls.append(1))
    for given in ({"steps": 3}, {"steps": 2, "sampler": "heun"}, {"steps": 2, "guidance": 2.0}):
        calls.clear()
        other = system.with_settings(given)
        target(Separator(other), overlap=0.0, segment_s=1.0)
        assert len(calls) == other.sampling.evaluations


def test_settings_leave_the_system_as_it_was() -> None:
    system = tiny()
    other = system.with_settings({"steps": 7, "guidance": 2, "project": True})
    assert other.sampling == Sampling(steps=7, guidance=2)
    assert (system.sampling.steps, system.projected, system.aligned) == (2, False, False)
    assert other.unet.stem.weight is system.unet.stem.weight
    assert system.with_settings({}).sampling == system.sampling


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"step": 3}, "flowsep has no setting 'step': it has steps, sampler, guidance, seed and project"),
        ({"project": "yes"}, "project is 'yes': it is True or False"),
        ([("steps", 3)], "settings is a dict"),
    ],
)
def test_wrong_settings_are_named(separator: Separator, settings: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        target(separator, settings=settings)


def test_a_diffusion_is_sampled_by_ddim() -> None:
    system = tiny(tiny_config(objective="diffusion"))
    first = target(Separator(system), settings={"steps": 3})
    assert np.isfinite(first).all()
    assert not np.allclose(first, target(Separator(tiny()), settings={"steps": 3}), atol=0.01)
    for refused in (
        lambda: system.with_settings({"sampler": "heun"}),
        lambda: tiny_config(objective="diffusion", sampling=Sampling(sampler="midpoint")),
    ):
        with pytest.raises(ConfigError, match="a diffusion is sampled by DDIM in place of euler; it has no"):
            refused()


# --- what it is asked ---


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"exclude": "rain"}, "flowsep does not take exclusion"),
        ({"like": (SOUND.numpy(), RATE)}, "flowsep does not take example clips"),
        ({"text": ["a dog", "a barking dog"]}, "flowsep takes one text, not 2: put them into one sentence"),
    ],
)
def test_what_it_does_not_understand_is_refused(separator: Separator, asked: dict[str, object], complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        separator.separate(SOUND, **{"text": "a dog", "sample_rate": RATE} | asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.full((1, 4000), np.nan, np.float32), "not finite|NaN|nan"),
        (np.zeros((1, 0), np.float32), "empty|no samples"),
    ],
)
def test_bad_sounds_are_refused(separator: Separator, samples: np.ndarray, complaint: str) -> None:
    with pytest.raises(AudioError, match=complaint):
        separator.separate(samples, "a dog", sample_rate=RATE)


def test_several_sounds_share_a_recording_only_as_parts_of_it(separator: Separator) -> None:
    with pytest.raises(QueryError, match="makes every sound anew, so they cannot share a recording: add project"):
        separator.split(SOUND, ["a dog", "rain"], sample_rate=RATE)
    parts = separator.split(SOUND, ["a dog", "rain"], sample_rate=RATE, settings={"project": True})
    assert np.abs(sum(parts.targets) + parts.rest - SOUND.numpy()).max() < 1e-6


def test_what_is_left_is_warned_of(separator: Separator, tmp_path: Path) -> None:
    found = separator.separate(SOUND, "a dog", sample_rate=RATE)
    with pytest.warns(UserWarning, match="makes its answer anew: it is no part of the recording"):
        found.save(tmp_path / "rest.wav", part="residual")
    with pytest.warns(UserWarning, match="still holds the sound"):
        separator.extract_file(SOUND, "a dog", sample_rate=RATE, residual=tmp_path / "rest.wav")
    with pytest.warns(UserWarning, match="still holds the sound"):
        separator.split(SOUND, ["a dog"], sample_rate=RATE)
    projected = separator.separate(SOUND, "a dog", sample_rate=RATE, settings={"project": True})
    projected.save(tmp_path / "rest.wav", part="residual")
    found.save(tmp_path / "sound.wav")


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_it_is_computed_in_float32_alone(precision: str) -> None:
    with pytest.raises(ConfigError, match=f"precision {precision}"):
        to_precision(tiny(), precision)


def test_conditions_are_packed_and_unpacked() -> None:
    tokens, mask = torch.randn(2, 5, 8), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    again, there = unpack(pack(tokens, mask), 8)
    assert torch.equal(again, tokens)
    assert torch.equal(there, mask.float())
    with pytest.raises(QueryError, match="holds tokens of 8 values"):
        unpack(torch.zeros(1, 10), 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_answers_as_the_processor_does(separator: Separator) -> None:
    again = Separator(tiny(), "cuda")
    found, there = target(separator), target(again)
    assert np.abs(found - there).max() <= 2e-3 * np.abs(found).max()
