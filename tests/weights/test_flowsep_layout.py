from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from flowsep_files import WORDS, WORDS_AGAIN, debug_flowsep, flowsep_entries, rows
from torch import Tensor

from soundsieve.errors import WeightsError
from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig
from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
from soundsieve.systems.flowsep.snake import lowpass
from soundsieve.systems.flowsep.vae import VAEConfig
from soundsieve.weights.layouts import flowsep as layout
from soundsieve.weights.layouts.flowsep import (
    average_key,
    flowsep_key,
    flowsep_part,
    flowsep_state,
    is_flowsep,
    unet_key,
    vae_state,
    vocoder_state,
)

CONFIG = FlowSepConfig.debug()


@pytest.fixture(scope="module")
def system() -> FlowSep:
    return debug_flowsep()


def text(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


# --- the key lists of the published files ---


def test_every_published_entry_is_accounted_for() -> None:
    """At full size: what is read and what is not is exactly what the authors' checkpoint holds, shapes included."""
    config = FlowSepConfig.base()
    with torch.device("meta"):
        ours = FlowSep(config).state_dict()
    read = {flowsep_key(name, config): text(tensor) for name, tensor in ours.items()}
    raw = {unet_key(name.removeprefix("unet."), config.unet) for name in ours if name.startswith("unet.")}
    filters = {f"first_stage_model.vocoder.{key}" for key in layout.vocoder_filters(config.vocoder)}
    loss = {f"first_stage_model.{key}" for key in layout.loss_keys()}
    other = {*layout._SCHEDULE, *layout._COUNTS, WORDS_AGAIN}
    groups = [set(read), raw, filters, loss, other]
    assert [len(group) for group in groups] == [1904, 1104, 182, 56, 16]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 3262  # none in two groups
    listed = {row["key"]: row for row in rows()}
    assert len(listed) == 3262
    assert set.union(*groups) == listed.keys()
    assert read == {key: listed[key]["shape"] for key in read}
    assert {average_key(key) for key in raw} < read.keys()
    assert all(listed[key]["shape"] == listed[average_key(key)]["shape"] for key in raw)
    for key in read:
        assert listed[key]["kind"] != "computed"
        assert listed[key]["dtype"] == "float32"


def test_every_entry_of_the_vocoders_own_file_is_accounted_for() -> None:
    listed = {row["key"]: row["shape"] for row in rows("keys_bigvgan_generator")}
    assert len(listed) == 655
    zeros = {key: torch.ones(*map(int, shape.split("x"))) for key, shape in listed.items()}
    for key in layout.vocoder_filters(BigVGANConfig.base()):
        zeros[key] = torch.tensor(lowpass())[None, None]
    state = vocoder_state(zeros, what="g_01000000")
    with torch.device("meta"):
        ours = BigVGAN(BigVGANConfig.base()).state_dict()
    assert {name: tensor.shape for name, tensor in state.items()} == {name: t.shape for name, t in ours.items()}


# --- there ---


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_the_layout_comes_back(system: FlowSep) -> None:
    published = flowsep_entries(system)
    assert is_flowsep(published)
    assert flowsep_part(published) is None
    assert_same(flowsep_state(published, CONFIG), system.state_dict())


def test_only_the_average_is_read(system: FlowSep) -> None:
    """Were the UNet as trained read anywhere, it would not come back."""
    published = flowsep_entries(system)
    for key in list(published):
        if key.startswith("model.diffusion_model."):
            published[key] = torch.full_like(published[key], torch.nan)
    assert_same(flowsep_state(published, CONFIG), system.state_dict())
    trimmed = {key: t for key, t in published.items() if not key.startswith("model.diffusion_model.")}
    assert is_flowsep(trimmed)
    assert_same(flowsep_state(trimmed, CONFIG), system.state_dict())


def test_what_is_read_is_not_copied(system: FlowSep) -> None:
    published = flowsep_entries(system)
    for name, tensor in flowsep_state(published, CONFIG).items():
        assert tensor.data_ptr() == published[flowsep_key(name, CONFIG)].data_ptr()


def test_the_vae_alone(system: FlowSep) -> None:
    prefix = "first_stage_model."
    whole = flowsep_entries(system)
    published = {key.removeprefix(prefix): tensor for key, tensor in whole.items() if key.startswith(prefix)}
    assert not is_flowsep(published)
    assert flowsep_part(published) == "VAE"
    assert_same(vae_state(published, CONFIG.vae, what="vae.ckpt"), system.vae.state_dict())
    with pytest.raises(WeightsError, match=r"^vae.ckpt does not fit: missing .*; unexpected .*"):
        vae_state(published, VAEConfig.base(), what="vae.ckpt")


def test_the_vocoder_alone_with_and_without_weight_norm(system: FlowSep) -> None:
    prefix = "first_stage_model.vocoder."
    whole = flowsep_entries(system)
    plain = {key.removeprefix(prefix): tensor for key, tensor in whole.items() if key.startswith(prefix)}
    assert flowsep_part(plain) == "vocoder"
    assert_same(vocoder_state(plain, CONFIG.vocoder, what="g"), system.vocoder.state_dict())

    published: dict[str, Tensor] = {}
    for key, tensor in plain.items():
        if key.endswith(".weight"):  # any direction that is a multiple of the weight, and the weight's length
            published[key + "_v"] = 3 * tensor
            published[key + "_g"] = tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.ndim - 1))
        else:
            published[key] = tensor
    assert flowsep_part(published) == "vocoder"
    found = vocoder_state(published, CONFIG.vocoder, what="g")
    for name, tensor in system.vocoder.state_dict().items():
        torch.testing.assert_close(found[name], tensor)

    with pytest.raises(WeightsError, match=r"conv_pre\.weight_g and conv_pre\.weight_v are no pair of weight norm"):
        vocoder_state(published | {"conv_pre.weight_g": torch.ones(3, 1, 1)}, CONFIG.vocoder, what="g")
    silent = torch.zeros_like(published["conv_pre.weight_v"])
    with pytest.raises(WeightsError, match="are no pair of weight norm"):
        vocoder_state(published | {"conv_pre.weight_v": silent}, CONFIG.vocoder, what="g")
    del published["conv_pre.weight_g"]
    with pytest.raises(WeightsError, match=r"^g does not fit: missing conv_pre.weight_g; unexpected none"):
        vocoder_state(published, CONFIG.vocoder, what="g")


def test_weight_norm_is_folded_as_torch_folds_it() -> None:
    torch.manual_seed(0)
    for layer in (torch.nn.Conv1d(3, 5, 7), torch.nn.ConvTranspose1d(3, 5, 4)):
        g, v = torch.rand(layer.weight.shape[0], 1, 1) + 0.5, layer.weight.detach().clone()
        expected = torch._weight_norm(v, g, 0)
        (found,) = layout.without_weight_norm({"up.weight_g": g, "up.weight_v": v}, "x").values()
        torch.testing.assert_close(found, expected)


# --- what does not fit ---

QKV = "model_ema.diffusion_modelmiddle_block1transformer_blocks0attn1to_qweight"
FILTER = "first_stage_model.vocoder.activation_post.upsample.filter"
Change = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop(QKV), f"x.ckpt does not fit: missing {QKV}; unexpected none"),
        (lambda d: d.update({"model.other": torch.zeros(1)}), "missing none; unexpected model.other"),
        (lambda d: d.update({QKV: torch.zeros(2, 2)}), rf"x.ckpt: {QKV} has shape \(2, 2\), not"),
        (lambda d: d.update({QKV: d[QKV].long()}), f"{QKV} has torch.int64 values, not torch.float32"),
        (lambda d: d[QKV].view(-1)[0].fill_(torch.nan), f"{QKV} has values that are not finite: the file is damaged"),
        (lambda d: d[FILTER].mul_(1.1), f"{re.escape(FILTER)} is not what this system computes"),
        (lambda d: d.update({WORDS_AGAIN: d[WORDS] + 1}), f"words are there twice, and not the same: {WORDS} differs"),
        (lambda d: d.pop("scale_factor"), "missing scale_factor"),
        (
            lambda d: [d.pop(key) for key in list(d) if key.startswith("model_ema.diffusion")],
            r"x.ckpt holds the UNet as trained and not its average \(model_ema\)",
        ),
    ],
)
def test_a_file_that_does_not_fit(system: FlowSep, change: Change, message: str) -> None:
    published = flowsep_entries(system)
    change(published)
    assert is_flowsep(published)
    with pytest.raises(WeightsError, match=message) as caught:
        flowsep_state(published, CONFIG, what="x.ckpt")
    assert "\n" not in str(caught.value)


def test_what_only_training_needs_may_be_missing(system: FlowSep) -> None:
    published = flowsep_entries(system)
    for key in [
        *layout._SCHEDULE,
        *layout._COUNTS,
        FILTER,
        *(f"first_stage_model.{key}" for key in layout.loss_keys()),
    ]:
        del published[key]
    assert_same(flowsep_state(published, CONFIG), system.state_dict())
