from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.nn import int8
from soundsieve.nn.int8 import (
    Int8Linear,
    quantise_activations,
    quantise_linears,
    quantise_rows,
)
from soundsieve.nn.linear import Linear
from soundsieve.nn.lora import add_lora
from soundsieve.nn.masknet import MaskNet
from soundsieve.nn.precision import is_rounded, to_precision
from soundsieve.query import Condition, Query
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.checkpoint import save_system


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    try:
        int8.steps()
    except ConfigError:
        pytest.skip("this build of torch has no 8-bit products")


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    "x",
    [
        torch.linspace(-1, 3, 1001),
        torch.linspace(2, 3, 7),
        torch.linspace(-3, -2, 7),
        torch.tensor([-1.0, 254.0]),
        torch.tensor([-0.5, 254.5]),  # half a step under zero
        1e-20 * torch.randn(50),
        torch.zeros(4),
    ],
)
@pytest.mark.parametrize("n_steps", [256, 128])
def test_values_come_back_within_half_a_step(x: Tensor, n_steps: int) -> None:
    codes, scale, zero = quantise_activations(x, n_steps)
    assert 0 <= zero < n_steps
    assert int(codes.max()) < n_steps
    # Zero is a code of its own, so everything may be moved by half a step to make it one.
    assert ((codes.double() - zero) * scale - x).abs().max() <= 1.01 * scale
    assert scale <= (max(float(x.max()), 0) - min(float(x.min()), 0)) / (n_steps - 1.1) or not x.any()


def test_rows_have_scales_of_their_own() -> None:
    weight = torch.randn(5, 70) * torch.tensor([1, 1e-3, 1e3, 0, 1])[:, None]
    codes, scale = quantise_rows(weight)
    assert ((codes * scale[:, None] - weight).abs() <= 0.5001 * scale[:, None]).all()


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("shape", [(64,), (3, 64), (2, 5, 64), (2, 3, 4, 64)])
def test_a_layer_errs_by_a_hundredth(activation: str, shape: tuple[int, ...]) -> None:
    layer, x = Linear(64, 80, activation=activation), torch.randn(shape)  # type: ignore[arg-type]
    rounded = Int8Linear(layer.weight, layer.bias, activation=layer.activation)
    with torch.inference_mode():
        assert rounded(x).shape == layer(x).shape
        assert relative(rounded(x), layer(x)) < 0.02
        torch.testing.assert_close(rounded(0 * x), layer(0 * x))


def test_whole_numbers_are_exact() -> None:
    """Where every value is a step of its scale and zero needs no rounding, nothing is lost but float32's own."""
    weight = torch.randint(-127, 128, (80, 64)).float()
    weight[:, 0] = 127
    codes = torch.randint(0, 100, (6, 64), dtype=torch.uint8)
    packed = int8._packed(*quantise_rows(weight))
    found = int8._product(codes, 1.0, 7, *packed, None, "none")
    torch.testing.assert_close(found, (codes.double() - 7).float() @ weight.t(), rtol=1e-6, atol=0)


def test_what_is_not_finite_stays_so() -> None:
    layer = Int8Linear(torch.randn(64, 64), None)
    for value in (float("nan"), float("inf")):
        assert not layer(torch.full((2, 64), value)).isfinite().all()


def test_a_weight_is_let_go_of_when_it_has_been_rounded() -> None:
    layer = Int8Linear(torch.randn(64, 64), None)
    assert layer._weight is not None
    before = layer(torch.ones(2, 64))
    assert layer._weight is None
    assert torch.equal(layer(torch.ones(2, 64)), before)


def test_processors_whose_sums_overflow_get_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = int8._product

    def overflowing(x: Tensor, *rest: object) -> Tensor:
        return exact(x, *rest) if int(x.max()) < 128 else exact(x, *rest) * 0.5  # type: ignore[arg-type]

    monkeypatch.setattr(int8, "_product", overflowing)
    int8.steps.cache_clear()
    assert int8.steps() == 128
    layer = Linear(64, 64)
    with torch.inference_mode():
        x = torch.randn(5, 64)
        assert relative(Int8Linear(layer.weight, layer.bias)(x), layer(x)) < 0.03
    int8.steps.cache_clear()


def test_no_such_product(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> Tensor:
        raise RuntimeError("not in this build")

    monkeypatch.setattr(int8, "_product", missing)
    int8.steps.cache_clear()
    with pytest.raises(ConfigError, match="this build of torch has no 8-bit products; use float32"):
        to_precision(nn.Linear(64, 64), "int8")
    int8.steps.cache_clear()


def test_which_layers_are_replaced() -> None:
    module = nn.ModuleDict(
        {
            "own": Linear(64, 64),
            "torchs": nn.Linear(64, 64),
            "small": Linear(64, 8),
            "kept": Linear(64, 64),
            "adapted": nn.ModuleDict({"qkv": Linear(64, 64)}),
            "theirs": nn.MultiheadAttention(64, 2),
            "layer": nn.TransformerEncoderLayer(64, 2, 64),
            "mask": MaskNet(70, 10, width=64, layers=1, heads=2, dropout=0.0),
        }
    )
    add_lora(module["adapted"], ("qkv",), rank=2, alpha=1)
    quantise_linears(module, keep=("kept", "mask.out"))
    names = {name for name, child in module.named_modules() if isinstance(child, Int8Linear)}
    attention = {f"mask.layers.0.{name}" for name in ("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2")}
    assert names == {"own", "torchs", "adapted.qkv", "mask.into"} | attention
    assert is_rounded(module)
    assert not is_rounded(module["theirs"])


def test_a_mask_network_answers_almost_the_same() -> None:
    net = MaskNet(70, 10, width=64, layers=2, heads=2, dropout=0.1).eval()
    rounded = copy.deepcopy(net)
    to_precision(rounded, "int8")
    magnitude, features = torch.rand(2, 70, 9), torch.randn(2, 9, 10)
    with torch.inference_mode():
        assert 0 < (rounded(magnitude, features) - net(magnitude, features)).abs().max() < 0.02


def test_lora_is_merged_first() -> None:
    module = nn.ModuleDict({"qkv": Linear(64, 64)})
    add_lora(module, ("qkv",), rank=2, alpha=1)
    nn.init.normal_(module["qkv"].lora_b)
    x = torch.randn(4, 64)
    with torch.inference_mode():
        expected = module["qkv"](x)
        quantise_linears(module)
        assert relative(module["qkv"](x), expected) < 0.02


def test_float32_changes_nothing() -> None:
    layer = Linear(64, 64)
    to_precision(layer, "float32")
    assert type(layer) is Linear
    assert layer.weight.requires_grad


def test_unknown_precisions_are_named() -> None:
    with pytest.raises(ConfigError, match="precision is 'int4': choose one of float32, int8"):
        to_precision(nn.Linear(1, 1), "int4")


def test_it_is_for_the_cpu() -> None:
    with pytest.raises(ConfigError, match="int8 is for the CPU"):
        quantise_linears(nn.Linear(64, 64, device="meta"))


def test_a_rounded_system_is_not_saved(tmp_path: Path) -> None:
    system = CLAPSep(replace(CLAPSepConfig.debug(), mask_width=64))
    to_precision(system.eval(), "int8")
    with pytest.raises(WeightsError, match="has let go of its weights"):
        save_system(tmp_path / "a.safetensors", system)
    assert list(tmp_path.iterdir()) == []


def test_a_system_names_what_it_keeps() -> None:
    system = CLAPSep(replace(CLAPSepConfig.debug(), mask_width=64)).eval()
    x = 0.1 * torch.randn(1, 16000)
    condition = system.encode_query(Query(text="rain"))
    with torch.inference_mode():
        expected = system(x, condition)
        to_precision(system, "int8")
        assert relative(system(x, condition), expected) < 0.02
    rounded = {name for name, child in system.named_modules() if isinstance(child, Int8Linear)}
    assert rounded
    assert not any(part in name for name in rounded for part in ("mask_net.into", "mask_net.out", "clap.text"))


@pytest.mark.parametrize("shape", [(2, 64), (2, 5, 64), (3, 2, 5, 64)])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_an_item_is_rounded_alone(shape: tuple[int, ...], activation: str) -> None:
    layer = Int8Linear(torch.randn(80, 64), torch.randn(80), activation=activation)  # type: ignore[arg-type]
    x = torch.randn(shape)
    x[1:] *= 1000
    assert torch.equal(layer(x), torch.cat([layer(one) for one in x.split(1)]))


def test_what_is_not_finite_stays_in_its_item() -> None:
    layer, x = Int8Linear(torch.randn(64, 64), None), torch.randn(2, 3, 64)
    expected = layer(x[:1])
    x[1] = float("nan")
    assert torch.equal(layer(x)[:1], expected)


def _rounded_system() -> CLAPSep:
    """Wide enough for all kinds of its layers to be rounded."""
    debug = CLAPSepConfig.debug()
    tower = replace(debug.clap.audio, width=64, heads=(2, 4))
    system = CLAPSep(replace(debug, mask_width=64, clap=replace(debug.clap, audio=tower))).eval()
    to_precision(system, "int8")
    rounded = " ".join(name for name, child in system.named_modules() if isinstance(child, Int8Linear))
    assert all(part in rounded for part in ("tower.", "attention.qkv", "decoder.", "mask_net."))
    return system


def test_answers_do_not_depend_on_what_else_is_in_the_batch() -> None:
    system = _rounded_system()
    x = torch.randn(2, 16000) * torch.tensor([[0.001], [0.3]])
    both = Condition(*torch.nn.functional.normalize(torch.randn(2, 2, system.config.clap.dim), dim=2))
    with torch.inference_mode():
        together = system(x, both)
        for i in range(2):
            alone = system(x[i : i + 1], Condition(both.positive[i : i + 1], both.negative[i : i + 1]))
            assert relative(together[i : i + 1], alone) < 1e-6


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
@pytest.mark.parametrize("answered", [True, False])
def test_copies_answer_the_same(duplicate: Callable[[nn.Module], nn.Module], answered: bool) -> None:
    system, x = _rounded_system(), 0.1 * torch.randn(1, 16000)
    condition = Condition(*torch.randn(2, 1, system.config.clap.dim))
    with torch.inference_mode():
        expected = system(x, condition) if answered else None
        again = duplicate(duplicate(system))
        assert torch.equal(again(x, condition), system(x, condition) if expected is None else expected)
        assert torch.equal(duplicate(again)(x, condition), again(x, condition))
    assert is_rounded(again)


def test_a_copy_holds_the_rounded_weight() -> None:
    layer = Int8Linear(torch.randn(80, 64), torch.randn(80))
    codes, scale = quantise_rows(layer._weight)  # type: ignore[arg-type]
    layer(torch.randn(2, 64))
    copied = copy.deepcopy(layer)
    assert copied._weight is None
    assert copied._rounded is not None
    assert torch.equal(copied._rounded[0], codes)
    assert torch.equal(copied._rounded[1], scale)
    copied(torch.randn(2, 64))
    assert copied._rounded is None
