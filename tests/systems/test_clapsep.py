from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import clap_key
from torch import Tensor

from soundsieve.audio import resample
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import AudioError, ConfigError, QueryError
from soundsieve.losses import sdr_loss
from soundsieve.nn.lora import LoRALinear
from soundsieve.query import Condition, Query
from soundsieve.separator import Separator
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.layouts.clapsep import clapsep_key

DATA = Path(__file__).parents[1] / "data" / "clapsep"


@pytest.fixture
def system() -> CLAPSep:
    torch.manual_seed(0)
    return CLAPSep(CLAPSepConfig.debug()).eval()


def condition(system: CLAPSep, batch: int = 1, seed: int = 0) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, system.config.clap.dim)
    sides = [torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=1) for _ in range(2)]
    return Condition(*sides)


def noise(system: CLAPSep, batch: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, round(system.segment_s * system.sample_rate))


def test_only_who_asks_for_the_presence_runs_claps_audio_tower(system: CLAPSep) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("CLAP's audio tower was run")

    for module in system.clap.audio.modules():
        module.register_forward_pre_hook(refuse)
    separator, mixture = Separator(system), 0.1 * np.random.default_rng(0).standard_normal(48000, dtype=np.float32)
    out = separator.separate(mixture, "a dog", exclude="rain", sample_rate=32000)
    separator.find(mixture, "a dog", sample_rate=32000, agreement=False)
    with pytest.raises(AssertionError, match="was run"):
        assert out.presence
    with pytest.raises(AssertionError, match="was run"):
        separator.separate(mixture, like=(mixture, 32000), sample_rate=32000)


def test_agreement_is_the_cosine_of_claps_embedding(system: CLAPSep) -> None:
    clip = 0.1 * np.random.default_rng(0).standard_normal((2, 32000), dtype=np.float32)
    wanted = system.encode_query(Query(like=((clip[0], 32000),), exclude="rain"))
    found = system.agreement(torch.from_numpy(clip), wanted)
    assert found[0].item() == pytest.approx(1, abs=1e-4)
    assert found[1] < found[0]


# --- what goes in and out ---


def test_returns_a_target_as_long_as_the_mixture(system: CLAPSep) -> None:
    longest = system.config.clap.audio.n_frames * system.config.hop_length - 1
    for samples in (1, 319, 320, 5001, longest):
        target = system(0.1 * torch.randn(2, samples), condition(system))
        assert target.shape == (2, samples)
        assert target.isfinite().all()


def test_longer_than_the_image(system: CLAPSep) -> None:
    with pytest.raises(AudioError, match=r"must be under 1\.28 s"):
        system(torch.zeros(1, system.config.clap.audio.n_frames * system.config.hop_length), condition(system))


def test_a_batch_equals_its_parts(system: CLAPSep) -> None:
    x, c = noise(system, 2), condition(system, 2)
    parts = [system(x[i : i + 1], Condition(c.positive[i : i + 1], c.negative[i : i + 1])) for i in range(2)]
    torch.testing.assert_close(system(x, c), torch.cat(parts), atol=1e-6, rtol=1e-5)


def test_one_condition_serves_a_batch(system: CLAPSep) -> None:
    x, c = noise(system, 2), condition(system)
    torch.testing.assert_close(system(x, c), torch.cat([system(x[:1], c), system(x[1:], c)]), atol=1e-6, rtol=1e-5)


def test_silence_stays_silence(system: CLAPSep) -> None:
    assert (system(torch.zeros(1, 8000), condition(system)) == 0).all()


def test_another_query_gives_another_target(system: CLAPSep) -> None:
    x, c = noise(system), condition(system)
    target = system(x, c)
    others = [condition(system, seed=1), Condition(c.negative, c.positive), Condition(c.positive, 0 * c.negative)]
    for other in others:
        assert (system(x, other) - target).abs().max() > 1e-4 * target.abs().max()


def test_only_normalised_queries_forget_their_length(system: CLAPSep) -> None:
    x, c = noise(system), condition(system)
    longer = Condition(3 * c.positive, 3 * c.negative)
    torch.testing.assert_close(system(x, longer), system(x, c))
    system.config = replace(system.config, normalise_concat=False)
    assert not torch.allclose(system(x, longer), system(x, c))


# --- queries ---


def test_a_query_becomes_two_unit_embeddings(system: CLAPSep) -> None:
    clip = (np.random.default_rng(0).standard_normal((2, 8000)).astype(np.float32), 16000)
    c = system.encode_query(Query(text=("rain", "wind"), exclude="a dog", like=(clip, clip), unlike=clip))
    assert c.positive.shape == c.negative.shape == (1, system.config.clap.dim)
    torch.testing.assert_close(c.positive.norm(dim=1), torch.ones(1))
    torch.testing.assert_close(c.negative.norm(dim=1), torch.ones(1))


def test_zeros_stand_for_a_side_that_is_not_asked(system: CLAPSep) -> None:
    wanted, unwanted = system.encode_query(Query(text="rain")), system.encode_query(Query(exclude="rain"))
    torch.testing.assert_close(wanted.positive, system.clap.embed_text(["rain"]))
    torch.testing.assert_close(wanted.positive, unwanted.negative)
    assert (wanted.negative == 0).all()
    assert (unwanted.positive == 0).all()


def test_an_example_clip_is_resampled_and_mixed_down(system: CLAPSep, clips: Path) -> None:
    c = system.encode_query(Query(like=clips / "sheep.flac"))
    torch.testing.assert_close(c.positive.norm(dim=1), torch.ones(1))
    x = np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    stereo = system.encode_query(Query(like=(np.stack([2 * x, 0 * x]), 32000)))
    torch.testing.assert_close(stereo.positive, system.clap.embed_audio(torch.from_numpy(x)[None]))


@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_text_and_clips_are_interpolated_on_either_side(system: CLAPSep, weight: float) -> None:
    """e = a * audio + (1 - a) * text (eq. 3), each an average of unit embeddings, scaled to length one."""
    shots = [np.random.default_rng(seed).standard_normal(30000).astype(np.float32) for seed in (0, 1)]
    heard = torch.cat([system.clap.embed_audio(torch.from_numpy(shot)[None]) for shot in shots]).mean(0, keepdim=True)
    read = system.clap.embed_text(["rain", "wind"]).mean(0, keepdim=True)
    expected = torch.nn.functional.normalize(weight * heard + (1 - weight) * read, dim=1)
    words, clips = ("rain", "wind"), tuple((shot, 32000) for shot in shots)
    asked = system.encode_query(Query(text=words, like=clips, audio_weight=weight))
    torch.testing.assert_close(asked.positive, expected)
    assert (asked.negative == 0).all()
    asked = system.encode_query(Query(exclude=words, unlike=clips, audio_weight=weight))
    torch.testing.assert_close(asked.negative, expected)
    assert (asked.positive == 0).all()


def test_the_same_question_gets_the_same_answer_bit_for_bit(system: CLAPSep) -> None:
    """Nothing is drawn at random, before or after training mode was on, and whether or not gradients are kept."""
    rng = np.random.default_rng(0)
    like, unlike = ((rng.standard_normal(samples).astype(np.float32), 22050) for samples in (9000, 60000))
    query, x = Query(text="rain", exclude="wind", like=like, unlike=unlike), noise(system)

    def answer() -> tuple[Tensor, Tensor]:
        asked = system.encode_query(query)
        with torch.no_grad():
            return asked.concat(), system(x, asked)

    first = answer()
    for _ in range(2):
        system.train()
        assert torch.equal(system.encode_query(query).concat(), first[0])
        system.eval()
        for found, expected in zip(answer(), first, strict=True):
            assert torch.equal(found, expected)


def test_example_clips_of_any_length_and_rate(system: CLAPSep) -> None:
    """As CLAP expects them: its rate, one channel, repeated whole while that fits, then silence; or several windows."""
    length = system.config.clap.audio.clip_samples
    rng = np.random.default_rng(0)
    for samples in (1, length // 2 + 1, length, length + 1, length * 5 // 2):
        x = rng.standard_normal(samples).astype(np.float32)
        found = system.encode_query(Query(like=(x, 32000))).positive
        torch.testing.assert_close(found, system.clap.embed_audio(torch.from_numpy(x)[None]))
    repeated = np.tile(x[: length // 3], 3)
    filled = np.pad(repeated, (0, length - len(repeated)))
    torch.testing.assert_close(
        system.encode_query(Query(like=(x[: length // 3], 32000))).positive,
        system.encode_query(Query(like=(filled, 32000))).positive,
    )
    for samples, rate in ((1, 8000), (8000, 8000), (44100 * 3, 44100), (1, 96000)):
        stereo = rng.standard_normal((2, samples)).astype(np.float32)
        heard = torch.from_numpy(resample(stereo.mean(0), rate, 32000))[None]
        found = system.encode_query(Query(like=(stereo, rate))).positive
        torch.testing.assert_close(found, system.clap.embed_audio(heard))
        assert found.isfinite().all()


@pytest.mark.parametrize("samples", [np.zeros(10, dtype=np.int16), np.zeros((1, 0), dtype=np.float32)])
def test_example_clips_that_are_none(system: CLAPSep, samples: np.ndarray) -> None:
    with pytest.raises(QueryError, match="an example clip is floating-point samples"):
        system.encode_query(Query(like=(samples, 32000)))


def test_a_broken_example_clip(system: CLAPSep) -> None:
    with pytest.raises(AudioError, match="the example clip is broken"):
        system.encode_query(Query(like=(np.full(10, np.nan, dtype=np.float32), 32000)))


# --- training and freezing ---


def test_the_adapted_tower_starts_as_claps(system: CLAPSep) -> None:
    log_mel = system.tower.log_mel(noise(system))
    for ours, claps in zip(system.tower.features(log_mel), system.clap.audio.features(log_mel), strict=True):
        torch.testing.assert_close(ours, claps)


def test_training_moves_what_is_trainable_and_nothing_else(system: CLAPSep) -> None:
    system.train()
    before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    time = torch.arange(38400) / 32000
    low, high = 0.3 * torch.sin(2 * torch.pi * 300 * time), 0.3 * torch.sin(2 * torch.pi * 5000 * time)
    mixture, reference = (low + high).repeat(2, 1), torch.stack([low, high])
    asked = condition(system, 2)
    optimiser = torch.optim.Adam(system.trainable_parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        loss = sdr_loss(system(mixture, asked), reference).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    moved = {name for name, tensor in system.state_dict().items() if not torch.equal(tensor, before[name])}
    for name in before:
        in_tower = name.startswith("tower.") and (
            "lora" in name or name.endswith(("attention.qkv.bias", "attention.proj.bias"))
        )
        # The tower's last blocks reach the decoder too, so every factor has a gradient.
        assert (name in moved) == (in_tower or name.startswith(("decoder.", "mask_net."))), name


def test_a_trained_clap_is_taken_over() -> None:
    clap = CLAP(CLAPConfig.debug())
    system = CLAPSep(CLAPSepConfig.debug(), clap=clap)
    assert system.clap is clap
    torch.testing.assert_close(system.tower.patches.proj.weight, clap.audio.patches.proj.weight)
    assert system.tower.patches.proj.weight is not clap.audio.patches.proj.weight
    with pytest.raises(ConfigError, match="the given CLAP has other sizes"):
        CLAPSep(CLAPSepConfig.debug(), clap=CLAP(replace(CLAPConfig.debug(), dim=8)))


def test_merging_changes_nothing_beyond_rounding(system: CLAPSep, tmp_path: Path) -> None:
    for layer in system.tower.modules():
        if isinstance(layer, LoRALinear):
            torch.nn.init.normal_(layer.lora_b)
    x, c = noise(system), condition(system)
    before = system(x, c)
    system.merge_lora()
    torch.testing.assert_close(system(x, c), before, atol=1e-6, rtol=1e-4)
    save_system(tmp_path / "merged.safetensors", system)
    torch.testing.assert_close(load_system(tmp_path / "merged.safetensors")(x, c), system(x, c))


def test_comes_back_from_its_file(system: CLAPSep, tmp_path: Path) -> None:
    save_system(tmp_path / "clapsep.safetensors", system)
    again = load_system(tmp_path / "clapsep.safetensors")
    query, x = Query(text="rain", exclude="wind"), noise(system)
    torch.testing.assert_close(again(x, again.encode_query(query)), system(x, system.encode_query(query)))


# --- sizes ---


@pytest.mark.parametrize("preset", [CLAPSepConfig.debug, CLAPSepConfig.small, CLAPSepConfig.base])
def test_configs_survive_json(preset: object) -> None:
    config = preset()  # type: ignore[operator]
    assert from_dict(CLAPSepConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_length": 640}, "hop_length / sample_rate must be the same"),
        ({"n_fft": 512}, "at most half of n_fft"),
        ({"segment_s": 10.24}, "does not fit into 1024 frames"),
        ({"mask_heads": 7}, "mask_heads 7 must divide"),
        ({"lora_rank": -1}, "lora_rank is at least 0"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CLAPSepConfig(**change)  # type: ignore[arg-type]


def base_on_meta() -> dict[str, Tensor]:
    with torch.device("meta"):
        return CLAPSep(CLAPSepConfig.base()).state_dict()


def test_base_has_exactly_the_published_names_and_shapes() -> None:
    """A renaming, and nothing but a renaming, leads from ours to the published entries."""
    unused = ("tscam_conv", ".head.", "_transform.", "logit_scale_t")
    with (DATA / "keys.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if not any(part in row["key"] for part in unused)]
    expected = {
        row["key"].replace("clap_model.model.", "module."): row["shape"] for row in rows if row["kind"] != "computed"
    }
    ours = {
        clap_key(name.removeprefix("clap.")) if name.startswith("clap.") else clapsep_key(name): "x".join(
            map(str, tensor.shape)
        )
        or "scalar"
        for name, tensor in base_on_meta().items()
        if not name.endswith("num_batches_tracked")
    }
    assert ours == expected
    assert Counter(ours.values()) == Counter(expected.values())


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts memory as Linux does")
def test_base_answers_a_text_query_in_little_memory(tmp_path: Path) -> None:
    """Weights are mapped, and CLAP's audio tower, which the presence needs, shares its own with the adapted one."""
    with torch.device("meta"):
        state = CLAPSep(CLAPSepConfig.base(), assets=CLAP(CLAPConfig.debug()).assets())
    system = state.to_empty(device="cpu")
    with torch.no_grad():
        for k, tensor in enumerate(system.state_dict().values()):
            tensor.fill_(k % 7 / 1000 if tensor.is_floating_point() else 0)
        own, claps = dict(system.tower.named_parameters()), dict(system.clap.audio.named_parameters())
        for name, parameter in claps.items():
            own[name].copy_(parameter)
    save_system(tmp_path / "base.safetensors", system)
    del system
    code = """
import sys, numpy, torch, soundsieve
torch.set_num_threads(2)
mixture = 0.1 * numpy.random.default_rng(0).standard_normal(320000, dtype=numpy.float32)
out = soundsieve.load(sys.argv[1]).separate(mixture, "a dog", exclude="rain", sample_rate=32000)
assert 0 < out.presence < 1
# In KiB, of this program alone: getrusage would count what its parent held when it was started.
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**20)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "base.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.3
