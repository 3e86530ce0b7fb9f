from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn import linear as products
from soundsieve.nn.kept import Kept
from soundsieve.nn.linear import Activation, Linear, linear


@pytest.fixture(params=["torch", "onednn"])
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both products, whichever is the faster one here."""
    fast = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    if request.param == "onednn" and fast is None:
        pytest.skip("not in this build of torch")
    monkeypatch.setattr(products, "_onednn_product", lambda: fast if request.param == "onednn" else None)
    return str(request.param)


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (2, 3, 4, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_computes_what_torch_computes(product: str, activation: Activation, shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = Linear(7, 6, bias, activation=activation), torch.randn(shape)
    plain = F.linear(x, layer.weight, layer.bias)
    expected = {"none": plain, "relu": F.relu(plain), "gelu": F.gelu(plain)}[activation]
    torch.testing.assert_close(layer(x), expected)  # gradients recorded
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


def test_takes_views_and_nothing(product: str) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(7, 5).t(), torch.randn(7, 6).t()
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), x @ weight.t())
        torch.testing.assert_close(linear(x[:, None], weight), (x @ weight.t())[:, None])
        assert linear(x[:0], weight).shape == (0, 6)
        assert linear(x.double(), weight.double()).dtype == torch.float64
        assert linear(x[0], weight).shape == (6,)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert linear(x, weight).dtype == torch.bfloat16


def test_gradients_pass(product: str) -> None:
    layer, x = Linear(3, 2, activation="gelu"), torch.randn(4, 3, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None


def test_the_choice_sets_nothing_for_the_rest_of_the_program() -> None:
    products._onednn_product.cache_clear()
    state, precision = torch.get_rng_state(), torch.get_float32_matmul_precision()
    threads = torch.get_num_threads()
    products._onednn_product()
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == (precision, threads)


def test_a_build_without_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> Tensor:
        raise RuntimeError("no oneDNN in this build")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", missing, raising=False)
    products._onednn_product.cache_clear()
    assert products._onednn_product() is None
    products._onednn_product.cache_clear()


def test_a_product_that_rounds_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounding(x: Tensor, weight: Tensor, bias: Tensor, *_: object) -> Tensor:
        return F.linear(x.bfloat16().float(), weight, bias)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", rounding, raising=False)
    products._onednn_product.cache_clear()
    assert products._onednn_product() is None
    products._onednn_product.cache_clear()


# --- what is kept ---


def test_is_made_once_and_again_after_every_change() -> None:
    source, made = nn.Parameter(torch.ones(2)), []

    def make() -> Tensor:
        made.append(1)
        return 2 * source

    kept = Kept()
    with torch.inference_mode():
        for _ in range(3):
            assert kept.get(make, source).tolist() == [2, 2]
    assert len(made) == 1
    with torch.no_grad():
        source.add_(1)
        assert kept.get(make, source).tolist() == [4, 4]
        source.data = torch.full((2,), 5.0)
        assert kept.get(make, source).tolist() == [10, 10]
    optimiser = torch.optim.SGD([source], lr=1.0)
    source.sum().backward()
    optimiser.step()
    with torch.no_grad():
        assert kept.get(make, source).tolist() == [8, 8]
        assert copy.deepcopy(kept)._entry is None
        kept.clear()
        kept.get(make, source)
    assert len(made) == 5
    assert not kept.get(make, source).is_inference()
