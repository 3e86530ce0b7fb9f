"""Base size, stage by stage, against what the published implementations compute from the same made-up weights.

The two files of measured arrays are described beside them. Every array is a test of its own, by its name, so that none
is passed over in silence; the few that nothing here corresponds to are listed with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from reference_weights import clap_key, drawn, rng, signal, unit
from torch import Tensor, nn

from soundsieve.dsp.sinc_resample import sinc_resample
from soundsieve.dsp.stft import stft
from soundsieve.encoders.clap import CLAP, fit_clip
from soundsieve.nn.htsat import HTSAT
from soundsieve.query import Condition
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.layouts.clapsep import clapsep_key, is_trained

Found: TypeAlias = dict[str, np.ndarray]

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"
MEASURED = {
    f"{which}/{name}": array
    for which in ("clap", "clapsep")
    for name, array in np.load(DATA / which / "vectors.npz").items()
}

NO_COUNTERPART = {
    "clap/forward.audio_features_mlp": "a transform that only CLAP's training applies, left out here",
    "clap/forward.text_features_mlp": "a transform that only CLAP's training applies, left out here",
}

WAVEFORM = 1e-5
"""Of the waveform's peak; another order of summation makes 6e-7."""
STAGE = 1e-5
"""Of the largest magnitude in the stage."""
QUIETEST = 2e-4
"""The same for the largest magnitude of decibels: a band at -97 dB beside others at 20 dB, so little that it is all
rounding (float64 moves it by 0.02 dB)."""
EMBEDDING = 1e-5
"""Absolute, of elements of unit vectors and of the mask."""


def summary(x: Tensor) -> np.ndarray:
    """Mean, population standard deviation, largest magnitude, and the first eight values in C order."""
    values = x.detach().double().flatten().numpy()
    return np.array([values.mean(), values.std(), np.abs(values).max(), *values[:8]])


@contextmanager
def listening(outputs: dict[str, nn.Module], inputs: dict[str, nn.Module]) -> Iterator[Found]:
    """Summarise what modules put out, and the first thing that goes into some, while the block runs.

    What goes in is laid out ``(B, N, F)``, frame by frame; all of it comes as ``(B, F, N)``.
    """
    found: Found = {}

    def after(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found[name] = summary(output)

        return keep

    def before(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[name] = summary(given[0].transpose(1, 2))

        return keep

    handles = [module.register_forward_hook(after(name)) for name, module in outputs.items()]
    handles += [module.register_forward_pre_hook(before(name)) for name, module in inputs.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def power(tower: HTSAT, waveform: Tensor) -> Tensor:
    """Power spectrogram ``(B, N, F)``, as `HTSAT.log_mel` takes it."""
    spectrum = stft(waveform, n_fft=tower.config.n_fft, hop_length=tower.config.hop_length)
    return torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)


def published_key(name: str) -> str:
    """Our name -> the key in the file that it is read from: CLAP's for what is frozen, else CLAPSep's."""
    if name.startswith("clap."):
        return clap_key(name.removeprefix("clap."))
    key = clapsep_key(name)
    return key if is_trained(key) else f"module.{key}"


def base() -> CLAPSep:
    """The base model with the made-up weights of seed 0."""
    system = CLAPSep(CLAPSepConfig.base())
    with torch.no_grad():
        for name, tensor in system.state_dict().items():
            counter = name.endswith("num_batches_tracked")
            tensor.copy_(torch.tensor(0) if counter else drawn(published_key(name), tuple(tensor.shape)))
    return system.eval()


def tokens(name: str, count: int, low: int = 4, high: int = 50260) -> list[int]:
    return [0, *rng(f"0:tokens:{name}").integers(low, high, size=count).tolist(), 2]


def tokenised(rows: list[list[int]], length: int = 77, pad_id: int = 1) -> tuple[Tensor, Tensor]:
    ids = torch.tensor([row + [pad_id] * (length - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])


def quantised(waveform: Tensor) -> Tensor:
    """As CLAP treats files: clipped to [-1, 1], scaled by 32767, truncated toward zero to int16, and back."""
    return (waveform.clamp(-1, 1) * 32767).to(torch.int16).float() / 32767


def clap_audio(clap: CLAP) -> Found:
    found: Found = {}
    for name, samples, f0_hz in (("a10", 480000, 220), ("a5", 240000, 330), ("a8", 384000, 110)):
        waveform = signal(name, samples, 48000, f0_hz)
        stages = f"clap/{name}.tensor.stage.audio"
        tower = clap.audio
        outputs = {
            f"{stages}.bn0": tower.bands_norm,
            f"{stages}.patch_embed": tower.patches,
            **{f"{stages}.layer{k}": stage for k, stage in enumerate(tower.stages)},
            f"{stages}.norm": tower.norm,
            f"{stages}.embedding": tower,
            f"{stages}.projection": clap.audio_projection,
        }
        found[f"{stages}.power_spec"] = summary(power(tower, fit_clip(waveform, tower.config.clip_samples)))
        with listening(outputs, {f"{stages}.logmel": tower.bands_norm}) as heard:
            found[f"clap/{name}.tensor.embed"] = clap.embed_audio(waveform)[0].numpy()
        found |= heard
        found[f"clap/{name}.numpy_quantised.embed"] = clap.embed_audio(quantised(waveform))[0].numpy()
    pair = torch.cat([signal("batch0", 480000, 48000, 100), signal("batch1", 480000, 48000, 160)])
    found["clap/batch2.embed"] = clap.embed_audio(pair).numpy()
    return found


def clap_text(clap: CLAP) -> Found:
    found: Found = {}
    ids, mask = tokenised([tokens("t11", 11), tokens("t3", 3), tokens("t75", 75)])
    found["clap/text.input_ids"], found["clap/text.attention_mask"] = ids.numpy(), mask.numpy()
    roberta = clap.text.roberta
    outputs = {
        "clap/text.stage.text.embeddings": roberta.embeddings,
        **{f"clap/text.stage.text.layer{k}": roberta.encoder.layer[k] for k in (0, 5, 11)},
        "clap/text.stage.text.pooler": roberta.pooler,
        "clap/text.stage.text.projection": clap.text_projection,
    }
    with listening(outputs, {}) as read:
        found["clap/text.embed"] = clap.embed_tokens(ids, mask).numpy()
    found |= read
    # The second scale belongs to the training-only transforms, and is drawn here only to fill the pair.
    scales = torch.stack([clap.logit_scale, drawn("module.logit_scale_t", ())])
    found["clap/forward.logit_scales"] = scales.exp().numpy()
    return found


def described(case: str, target: Tensor) -> Found:
    pred = f"clapsep/{case}.pred"
    return {
        f"{pred}.stats": summary(target),
        f"{pred}.head": target[:, :2048].numpy(),
        f"{pred}.tail": target[:, -512:].numpy(),
        f"{pred}.stride61": target[:, ::61].numpy(),
    }


def staged(system: CLAPSep, case: str, mixture: Tensor, condition: Condition) -> tuple[Found, Tensor, Tensor]:
    """What happens on the way, the target, and the mask ``(N, F)``."""
    stages = f"clapsep/{case}.stage"
    tower, decoder, mask_net, config = system.tower, system.decoder, system.mask_net, system.config
    outputs = {
        f"{stages}.branch.bn0": tower.bands_norm,
        f"{stages}.branch.patch_embed": tower.patches,
        **{f"{stages}.branch.layer{k}": stage for k, stage in enumerate(tower.stages)},
        f"{stages}.dec.film": decoder.bottom,
        **{f"{stages}.dec.layers_iter{k}": level.block for k, level in enumerate(decoder.levels)},
        **{f"{stages}.dec.skip_iter{k}": level.skip for k, level in enumerate(decoder.levels)},
        f"{stages}.dec.inverse_patch_embed": decoder.unpatch,
        f"{stages}.dec.spec_norm": mask_net.bins_norm,
        f"{stages}.dec.masker_out": mask_net.layers[-1],
        f"{stages}.dec.mask_logits": mask_net.out,
    }
    inputs = {f"{stages}.branch.logmel": tower.bands_norm, f"{stages}.mag": mask_net}
    masks: list[Tensor] = []
    handle = mask_net.register_forward_hook(lambda _module, _inputs, mask: masks.append(mask[0].t()))
    with listening(outputs, inputs) as found:
        target = system(mixture, condition)
    handle.remove()
    found[f"{stages}.mask"] = summary(masks[0])
    heard = sinc_resample(mixture, config.sample_rate, tower.config.sample_rate)
    found[f"{stages}.mix48k"] = summary(heard)
    missing = tower.config.n_frames - (heard.shape[1] // tower.config.hop_length + 1)
    found[f"{stages}.branch.power_spec_padded"] = summary(nn.functional.pad(power(tower, heard), (0, 0, 0, missing)))
    return found | described(case, target), target, masks[0]


def clapsep(system: CLAPSep) -> Found:
    mixture = signal("mix10", 320000, 32000)
    positive, negative, nothing = unit("pos", 512), unit("neg", 512), torch.zeros(1, 512)
    both = Condition(positive, negative)
    found, target, mask = staged(system, "direct_posneg", mixture, both)
    found["clapsep/direct_posneg.pred.full"] = target.numpy()
    found["clapsep/direct_posneg.mask.stride"] = mask[::50, ::9].numpy()
    found |= staged(system, "direct_pos", mixture, Condition(positive, nothing))[0]
    found |= described("direct_neg", system(mixture, Condition(nothing, negative)))
    normalising, system.config = system.config, replace(system.config, normalise_concat=False)
    found |= described("direct_posneg_nonorm", system(mixture, both))
    system.config = normalising

    wanted = system.clap.embed_audio(signal("query5", 240000, 48000, 330))
    unwanted = system.clap.embed_audio(signal("query8n", 384000, 48000, 110))
    found["clapsep/audio_query.pos_embed"] = wanted.numpy()
    found["clapsep/audio_query.neg_embed"] = unwanted.numpy()
    found |= described("audio_query", system(mixture, Condition(wanted, unwanted)))

    ids, there = tokenised([tokens("pos", 11), tokens("neg", 6)])
    found["clapsep/text_query.input_ids"], found["clapsep/text_query.attention_mask"] = ids.numpy(), there.numpy()
    texts = system.clap.embed_tokens(ids, there)
    found["clapsep/text_query.embeds"] = texts.numpy()
    found |= described("text_query", system(mixture, Condition(texts[:1], texts[1:])))
    return found


@pytest.fixture(scope="module")
def found() -> Found:
    """Every array of ours, by the measured one's name; the 1.3 GB of weights are let go before the comparison."""
    system = base()
    with torch.inference_mode():
        return clap_audio(system.clap) | clap_text(system.clap) | clapsep(system)


def tolerance(name: str) -> np.ndarray | float:
    """Largest difference allowed, absolute."""
    measured = MEASURED[name]
    if measured.dtype == np.int64:
        return 0.0
    if ".pred." in name:
        return WAVEFORM * float(MEASURED[f"{name.split('.pred.')[0]}.pred.stats"][2])
    if ".stage." not in name:
        return EMBEDDING * max(1.0, float(np.abs(measured).max()))
    allowed = np.full(len(measured), STAGE * measured[2])
    if name.endswith((".logmel", ".bn0")):
        allowed[2] = QUIETEST * measured[2]
    return allowed


@pytest.mark.parametrize("name", [name for name in MEASURED if name not in NO_COUNTERPART])
def test_equals_what_was_measured(found: Found, name: str) -> None:
    ours, measured = found[name].astype(np.float64), MEASURED[name].astype(np.float64)
    assert ours.shape == measured.shape
    difference = np.abs(ours - measured)
    assert (difference <= tolerance(name)).all(), f"largest difference {difference.max():.3g}"


def test_nothing_is_left_out(found: Found) -> None:
    """Every array of ours has a measured one, and those without a counterpart are as listed."""
    assert found.keys() | NO_COUNTERPART.keys() == MEASURED.keys()
    assert not found.keys() & NO_COUNTERPART.keys()
