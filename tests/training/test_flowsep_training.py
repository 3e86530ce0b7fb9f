"""FlowSep's training: what is mixed and asked, what is minimised, and what the parts make of it."""

import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soundsieve.encoders.t5 import T5, T5Config
from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.losses import stft_loss
from soundsieve.query import Query
from soundsieve.separator import Separator
from soundsieve.systems.flowsep.bigvgan import BigVGAN
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.diffusion import alphas_cumprod, diffuse
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.sampling import Sampling
from soundsieve.systems.flowsep.unet import FlowUNet
from soundsieve.systems.flowsep.vae import VAE, Posterior, VAEConfig
from soundsieve.training.build import Data, build_task
from soundsieve.training.fit import fit
from soundsieve.training.recipe import Recipe, build_config, read_recipe
from soundsieve.training.tasks.flowsep import FlowSepTask, FlowSepTaskConfig, flow_pair
from soundsieve.training.tasks.flowsep_parts import FlowSepVAETask, FlowSepVocoderTask
from soundsieve.weights.checkpoint import load_system
from soundsieve.weights.config import to_dict
from soundsieve.weights.modules import load_module, save_module
from soundsieve.weights.pretrained import load_t5

ROOT = Path(__file__).parents[2]


def recipe_of(name: str, **changes: Any) -> Recipe:
    return read_recipe(ROOT / f"recipes/flowsep/{name}.yaml", changes)


def flow_task(corpus: Path, cache: Path, name: str = "debug", **changes: Any) -> FlowSepTask:
    task = build_task(recipe_of(name, **changes), Data(corpus, cache))
    assert isinstance(task, FlowSepTask)
    return task


# --- the flow ---


def test_a_state_and_its_velocity_by_hand() -> None:
    """z = 1, x1 = 2, s = 0.1, t = 1/4: x_t = (1 - 0.9 / 4) + 2 / 4, v = 2 - 0.9."""
    state, velocity = flow_pair(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([0.25]), 0.1)
    assert state.item() == pytest.approx(1.275)
    assert velocity.item() == pytest.approx(1.1)


def test_paths_are_straight_from_noise_to_target() -> None:
    target, noise = torch.randn(2, 3, 4, 5, 6)
    start, velocity = flow_pair(target, noise, torch.zeros(3), 1e-4)
    end, same = flow_pair(target, noise, torch.ones(3), 1e-4)
    torch.testing.assert_close(start, noise)
    torch.testing.assert_close(end, target + 1e-4 * noise)
    torch.testing.assert_close(end - start, velocity)
    assert torch.equal(velocity, same)


def test_the_loss_of_a_network_that_says_the_same_of_everything(corpus: Path, cache: Path) -> None:
    """0 as a new one, or 1/2 with a bias: the mean square of v less that, for the v that the same draws give."""
    task = flow_task(corpus, cache, **{"options.batch_size": 8})
    module, batch = task.module, task.batch(0)
    assert isinstance(module, FlowSep)
    torch.manual_seed(3)
    _, target, _, _ = task._latents(module, batch["mixture"], batch["target"], ["a"] * 8, batch["told"])
    task.draw_times(8, target.device)
    velocity = target - (1 - 1e-4) * torch.randn_like(target)
    for said in (0.0, 0.5):
        nn.init.constant_(module.unet.out.bias, said)
        torch.manual_seed(3)
        loss = task.loss(module, batch, 0)["loss"].item()
        assert loss == pytest.approx((velocity - said).square().mean().item(), rel=1e-5)


def test_latents_have_the_deviation_of_the_noise(corpus: Path, cache: Path) -> None:
    task = flow_task(corpus, cache, **{"options.batch_size": 32})
    module = task.module
    assert isinstance(module, FlowSep)
    assert module.scale_factor != 1
    with torch.no_grad():
        latents = module.encode(task.batch(0)["target"], torch.randn(1))
    assert latents.std().item() == pytest.approx(1, abs=0.05)


def test_times() -> None:
    drawn = {}
    for times in ("uniform", "log-normal", "early", "start"):
        torch.manual_seed(0)
        task = SimpleNamespace(config=FlowSepTaskConfig(times=times))
        drawn[times] = FlowSepTask.draw_times(task, 4000, torch.device("cpu"))
    assert not drawn["start"].any()
    assert all(values.min() >= 0 and values.max() <= 1 for values in drawn.values())
    quartiles = {times: values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist() for times, values in drawn.items()}
    assert quartiles["uniform"] == pytest.approx([0.25, 0.5, 0.75], abs=0.03)
    assert quartiles["early"] == pytest.approx([0.25**3, 0.5**3, 0.75**3], abs=0.03)
    assert quartiles["log-normal"] == pytest.approx([0.337, 0.5, 0.663], abs=0.03)  # 1 / (1 + exp(0.674))


# --- what is mixed and asked ---


def test_mixtures_are_15_db_apart_at_most_and_targets_keep_their_level(corpus: Path, cache: Path) -> None:
    task = flow_task(corpus, cache, "small", **{
        "model": {"preset": "debug"}, "options.vae": None, "options.vocoder": None, "options.batch_size": 200,
        "options.validation_pairs": 2, "options.sentences": [], "options.mixtures.segment_s": 0.64,
    })  # fmt: skip
    batch = task.batch(0)
    mixture = batch["mixture"].repeat_interleave(2, 0)
    torch.testing.assert_close(mixture.abs().amax(1), torch.full((200,), 0.5))
    other = batch["target"].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    torch.testing.assert_close(mixture, batch["target"] + other, atol=2e-3, rtol=0)  # less the mean
    ratio_db = 10 * (batch["target"].square().sum(1) / other.square().sum(1)).log10()
    assert -15.1 < ratio_db.min() < -12
    assert 12 < ratio_db.max() < 15.1


def test_the_released_mixer_scales_the_mixture_alone(corpus: Path, cache: Path) -> None:
    model = to_dict(FlowSepConfig.debug())
    kept, matched = (
        flow_task(corpus, cache, **{"model": model | {"level": level}, "options.both_directions": False}).batch(0)
        for level in ("kept", "matched")
    )
    assert torch.equal(kept["mixture"], matched["mixture"])
    gain = kept["target"].norm(dim=1) / matched["target"].norm(dim=1)
    assert (gain - 1).abs().min() > 0.05
    torch.testing.assert_close(matched["target"] * gain[:, None], kept["target"])


def test_one_of_ten_texts_is_left_out(corpus: Path, cache: Path) -> None:
    task = flow_task(corpus, cache, **{"options.batch_size": 20})
    told = torch.cat([task.batch(step)["told"] for step in range(40)])
    assert 1 - told.float().mean().item() == pytest.approx(0.1, abs=0.03)

    module, batch = task.module, task.batch(0)
    assert isinstance(module, FlowSep)
    told = torch.arange(20) % 2 == 0
    _, _, tokens, mask = task._latents(module, batch["mixture"], batch["target"], ["a dog"] * 20, told)
    said, nothing = module.tokens(["a dog"]), module.no_text()
    assert not torch.allclose(said[0], nothing[0])
    for row, heard in enumerate(told.tolist()):
        torch.testing.assert_close(tokens[row], (said if heard else nothing)[0][0])
        torch.testing.assert_close(mask[row].float(), (said if heard else nothing)[1][0].float())


def test_several_times_are_drawn_for_what_was_encoded_once(corpus: Path, cache: Path) -> None:
    task = flow_task(corpus, cache, **{"options.draws": 3})
    module = task.module
    assert isinstance(module, FlowSep)
    seen: dict[str, list[Tensor]] = {"encoder": [], "unet": []}
    module.vae.encoder.register_forward_pre_hook(lambda _, given: seen["encoder"].append(given[0]))
    module.unet.register_forward_pre_hook(lambda _, given: seen["unet"].extend(given[:3]))
    task.loss(module, task.batch(0), 0)
    assert [len(sounds) for sounds in seen["encoder"]] == [1, 2]  # a mixture, and both its sounds
    state, mixture, times = seen["unet"]
    assert len(state) == 6
    assert (mixture == mixture[0]).all()
    assert len(set(times.tolist())) == 6


def test_what_is_frozen_stays(corpus: Path, cache: Path, tmp_path: Path) -> None:
    """And is in the product, but not in checkpoints."""
    recipe = recipe_of("debug", max_steps=2, validate_every=1)
    task = build_task(recipe, Data(corpus, cache))
    before = deepcopy(task.module.state_dict())
    fit(task, recipe, tmp_path, workers=0)
    after = load_system(tmp_path / "last.safetensors").state_dict()
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in before.items():
        frozen = name.partition(".")[0] in ("text", "vae", "vocoder")
        assert (f"module.{name}" in stored) is not frozen, name
        if frozen:
            torch.testing.assert_close(after[name], value, atol=1e-3, rtol=1e-3)
    assert any(not torch.equal(after[name], before[name]) for name in before if name.startswith("unet."))
    assert "module.scale_factor" in stored


# --- the diffusion ---


def test_diffusionsep_is_one_line_away() -> None:
    flow, diffusion = recipe_of("small"), recipe_of("small_diffusion")
    assert (flow.model.pop("objective"), diffusion.model.pop("objective")) == ("flow", "diffusion")
    assert flow == diffusion


def test_the_diffusion_learns_to_tell_the_noise(corpus: Path, cache: Path, tmp_path: Path) -> None:
    changes = {"model": to_dict(FlowSepConfig.debug()) | {"objective": "diffusion"}}
    task = flow_task(corpus, cache, **changes, **{"options.batch_size": 16})
    module, batch = task.module, task.batch(0)
    assert isinstance(module, FlowSep)
    given: list[Tensor] = []
    module.unet.register_forward_pre_hook(lambda _, values: given.extend(values))
    torch.manual_seed(0)
    loss = task.loss(module, batch, 0)["loss"].item()
    assert loss == pytest.approx(1.0, rel=0.05)  # of noise, about which a new network says nothing
    steps = given[2]
    assert torch.equal(steps, steps.round())
    assert 0 <= steps.min() < 300 < 700 < steps.max() <= 999
    torch.manual_seed(0)
    _, target, _, _ = task._latents(module, batch["mixture"], batch["target"], ["a"] * 16, batch["told"])
    task.draw_times(16, torch.device("cpu"))
    torch.testing.assert_close(given[0], diffuse(target, torch.randn_like(target), steps.long()))

    recipe = recipe_of("debug", max_steps=1, validate_every=1, **changes)
    fit(build_task(recipe, Data(corpus, cache)), recipe, tmp_path, workers=0)
    system = load_system(tmp_path / "last.safetensors")
    assert system.config.objective == "diffusion"
    answer = Separator(system).separate(np.random.default_rng(0).standard_normal(9000).astype(np.float32) / 9, "a dog",
                                        sample_rate=16000)  # fmt: skip
    assert np.isfinite(answer.target).all()


# --- straighter paths ---


def test_reflow_learns_where_the_teacher_leads(corpus: Path, cache: Path, tmp_path: Path) -> None:
    """From t = 0 and without s, a student is its one-step teacher's equal from the start."""
    recipe = recipe_of("debug", max_steps=3, validate_every=3, learning_rate=0.01)
    fit(build_task(recipe, Data(corpus, cache)), recipe, tmp_path, workers=0)
    whole = str(tmp_path / "last.safetensors")
    changes = {"options.init": whole, "options.teacher": whole, "options.sigma": 0.0, "options.times": "start"}
    one, four = (
        flow_task(corpus, cache, **changes, **{"options.teacher_sampling": {"steps": steps}}) for steps in (1, 4)
    )
    assert torch.equal(one.module.scale_factor, load_system(whole).scale_factor)
    losses = [task.loss(task.module, task.batch(0), 0)["loss"].item() for task in (one, four)]
    assert losses[0] < 1e-10 < losses[1]
    anew = flow_task(corpus, cache, **{"options.teacher": whole}).module  # the same seed makes the same VAE
    assert torch.equal(anew.scale_factor, one.module.scale_factor)
    assert not torch.equal(anew.unet.out.bias, one.module.unet.out.bias)
    starter = str(ROOT / "src/soundsieve/embedded/starter.safetensors")
    for changes in ({"options.teacher": starter}, {"options.teacher": whole, "seed": 5}):
        with pytest.raises(ConfigError, match="is no FlowSep with this recipe's VAE"):
            flow_task(corpus, cache, **changes)


# --- what the flow stands on ---


class Known(VAE):
    """Posteriors of mean 1 and variance 1, and spectrograms 0.2 off."""

    def encode(self, mel: Tensor) -> Posterior:
        self.heard = mel
        return Posterior(torch.ones(len(mel), 2, 8, 4), torch.zeros(len(mel), 2, 8, 4))

    def decode(self, latent: Tensor) -> Tensor:
        return self.heard + 0.2


def test_the_vaes_loss_by_hand(corpus: Path, cache: Path) -> None:
    """The divergence of N(1, 1) from N(0, 1) is half a nat for each number."""
    task = build_task(recipe_of("debug_vae", **{"options.kl_weight": 0.3}), Data(corpus, cache))
    assert isinstance(task, FlowSepVAETask)
    found = task.loss(Known(VAEConfig.debug()), task.batch(0), 0)
    assert found["mel"].item() == pytest.approx(0.2, rel=1e-4)
    assert found["kl"].item() == pytest.approx(0.5)
    assert found["loss"].item() == pytest.approx(0.2 + 0.3 * 0.5, rel=1e-4)


class Louder(BigVGAN):
    """The waveform itself, at twice its level."""

    def forward(self, mel: Tensor) -> Tensor:
        return 2 * self.answer


def test_the_vocoders_loss_by_hand(corpus: Path, cache: Path) -> None:
    """Twice as loud: a spectral convergence of 1, and ln 2 between log magnitudes, of mel bands too."""
    task = build_task(recipe_of("debug_vocoder", **{"options.mel_weight": 10.0}), Data(corpus, cache))
    assert isinstance(task, FlowSepVocoderTask)
    module = Louder(task.model.vocoder)
    module.answer = 0.1 * torch.randn(2, 5120)
    found = task.loss(module, {"sound": module.answer}, 0)
    assert found["spectra"].item() == pytest.approx(1 + math.log(2), rel=1e-4)
    assert found["mel"].item() == pytest.approx(math.log(2), rel=1e-4)
    assert found["loss"].item() == pytest.approx(1 + 11 * math.log(2), rel=1e-4)


def test_magnitudes_are_compared_and_not_phases() -> None:
    sound = 0.1 * torch.randn(2, 4096)
    assert stft_loss(sound, sound, n_fft=256, hop_length=64) == 0
    assert stft_loss(-sound, sound, n_fft=256, hop_length=64).item() < 1e-5
    assert stft_loss(torch.zeros(1, 999), torch.zeros(1, 999), n_fft=256, hop_length=64) == 0


def test_parts_hear_mixtures_and_sounds(corpus: Path, cache: Path) -> None:
    """One as often as the other."""
    changes = {"options.batch_size": 200, "options.mixtures.snr_db": [0.0, 0.0], "options.mixtures.speed_share": 0.0}
    task = build_task(recipe_of("debug_vae", **changes), Data(corpus, cache))
    sounds = task.batch(0)["sound"]
    assert sounds.shape == (200, 5120)
    rng = np.random.default_rng([task.seed, 0])
    mixtures = 0
    for sound, each in zip(sounds, task.asked(rng), strict=True):
        is_mixture = rng.random() < 0.5
        wanted = each.mixture if is_mixture else each.sources[each.wanted]
        assert np.array_equal(sound.numpy(), wanted)
        mixtures += is_mixture
    assert 75 < mixtures < 125


@pytest.mark.parametrize("kind", ["vae", "vocoder"])
def test_a_trained_part_is_taken_along(kind: str, corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = recipe_of(f"debug_{kind}", max_steps=1, validate_every=1)
    trained = build_task(recipe, Data(corpus, cache))
    fit(trained, recipe, tmp_path, workers=0)
    path = tmp_path / "last.safetensors"
    task = flow_task(corpus, cache, **{f"options.{kind}": str(path)})
    for name, value in trained.module.state_dict().items():
        assert torch.equal(task.module.get_submodule(kind).state_dict()[name], value), name
    part = {"vae": {"channels": 16}, "vocoder": {"channels": 64}}[kind]
    model = to_dict(FlowSepConfig.debug())
    with pytest.raises(ConfigError, match=f"holds a {kind} of another shape than this recipe's"):
        flow_task(corpus, cache, **{"model": model | {kind: model[kind] | part}, f"options.{kind}": str(path)})
    other = {"vae": "vocoder", "vocoder": "vae"}[kind]
    with pytest.raises(WeightsError, match=f"holds no flowsep-{other}"):
        flow_task(corpus, cache, **{f"options.{other}": str(path)})


def test_a_module_in_a_file_of_its_own(tmp_path: Path) -> None:
    path, vae = tmp_path / "vae.safetensors", VAE(VAEConfig.debug())
    with pytest.raises(WeightsError, match="train one with its recipe first"):
        load_module(path, "vae", VAE, VAEConfig)
    save_module(path, "vae", vae)
    again = load_module(path, "vae", VAE, VAEConfig)
    assert again.config == vae.config
    assert not again.training
    for name, value in vae.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="is damaged"):
        load_module(path, "vae", VAE, VAEConfig)
    with pytest.raises(WeightsError, match="cannot write"):
        save_module(path / "vae.safetensors", "vae", vae)


def test_t5_is_read_from_a_folder_of_the_hub(corpus: Path, cache: Path, tmp_path: Path) -> None:
    theirs, ours = T5(T5Config.debug()), T5(T5Config.debug())
    state = {("shared.weight" if name.startswith("words.") else name): v for name, v in theirs.state_dict().items()}
    more = {"encoder.embed_tokens.weight": state["shared.weight"], "decoder.block.0.a.weight": torch.zeros(2),
            "lm_head.weight": torch.zeros(2)}  # fmt: skip
    torch.save(state | more, tmp_path / "pytorch_model.bin")
    load_t5(ours, tmp_path)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    (tmp_path / "tokenizer.json").write_text(theirs.assets()["tokenizer.json"])
    system = flow_task(corpus, cache, **{"options.text": str(tmp_path)}).module
    assert isinstance(system, FlowSep)
    torch.testing.assert_close(system.tokens(["a dog"])[0], theirs.encode(["a dog"])[0])
    torch.save({"decoder.block.0.a.weight": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="does not fit: missing"):
        load_t5(ours, tmp_path)


def test_a_small_one_reads_as_the_embedded_model_does(corpus: Path, cache: Path) -> None:
    debug = FlowSepConfig.debug()
    model = replace(debug, text=SentenceEncoderConfig.small(), unet=replace(debug.unet, context_width=384))
    task = flow_task(corpus, cache, model=to_dict(model))
    system = task.module
    assert isinstance(system, FlowSep)
    tower = load_system(ROOT / "src/soundsieve/embedded/starter.safetensors").text
    tokens, _ = system.tokens(["a dog barks"])
    torch.testing.assert_close(tokens[:, 0] / 384**0.5, tower.encode(["a dog barks"]))
    assert system.encode_query(Query("a dog barks")).positive.shape == (1, 385)


# --- settings ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options.condition_dropout": 1.5}, "condition_dropout is a share"),
        ({"options.sigma": 1.0}, "sigma lies between 0 and 1"),
        ({"options.draws": 0}, "draws is at least 1"),
        ({"options.times": "even"}, "not one of 'uniform', 'log-normal', 'early', 'start'"),
        ({"options.init": "a", "options.vae": "b"}, "init brings its own parts along"),
        ({"options.mixtures.level_db": [-30.0, -20.0]}, "get their level later"),
        ({"options.mixtures.segment_s": 0.5}, "must be a multiple of"),
        ({"options.vae": "missing.safetensors"}, "no flowsep-vae at missing.safetensors"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str, corpus: Path, cache: Path) -> None:
    with pytest.raises((ConfigError, WeightsError), match=message):
        flow_task(corpus, cache, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("debug_vae", {"options.kl_weight": -1.0}, "kl_weight is at least 0"),
        ("debug_vae", {"options.mixtures.segment_s": 0.33}, "multiple of 0.04 s, one frame of a latent"),
        ("debug_vocoder", {"options.resolutions": [4]}, "windows of at least 8 samples"),
        ("debug_vocoder", {"model.vocoder": {"iterations": 4}}, "a Griffin-Lim, which has no weights to train"),
    ],
)
def test_settings_of_parts(name: str, changes: dict[str, Any], message: str, corpus: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        build_task(recipe_of(name, **changes), Data(corpus, cache))


def test_sizes() -> None:
    """What the recipes and the page say of them."""
    small = build_config(FlowSepConfig, {"preset": "small"})
    vocoder = build_config(FlowSepConfig, recipe_of("small_vocoder").model).vocoder
    with torch.device("meta"):
        modules = (VAE(small.vae), BigVGAN(vocoder), FlowUNet(small.unet))
    counts = [sum(p.numel() for p in module.parameters()) for module in modules]
    assert [round(count / 1e5) for count in counts] == [7, 3, 134]
    assert FlowSepTaskConfig().sigma == 1e-4
    assert FlowSepTaskConfig().teacher_sampling == Sampling(steps=10)
    assert alphas_cumprod().shape == (1000,)
