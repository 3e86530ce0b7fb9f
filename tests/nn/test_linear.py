from __future__ import annotations

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

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


def doubled(layer: nn.Module, kept: Kept) -> Tensor:
    """What is kept of twice a layer's weight."""
    with torch.no_grad():
        return kept.get(lambda: 2 * layer.weight, layer.weight)


def test_a_place_that_is_used_again_is_not_the_same_tensor() -> None:
    """What is let go of twice comes to lie where the first was."""
    layer, kept = nn.Linear(128, 128), Kept()
    for i in range(50):
        doubled(layer, kept)
        for value in (i, i + 0.5):
            state = {name: torch.full_like(tensor, value) for name, tensor in layer.state_dict().items()}
            layer.load_state_dict(state, assign=True)
            del state
        assert float(doubled(layer, kept)[0, 0]) == 2 * i + 1


@pytest.mark.parametrize("between", [torch.bfloat16, torch.half, torch.double])
def test_weights_that_went_through_another_format(between: torch.dtype) -> None:
    layer, kept = nn.Linear(128, 128), Kept()
    for _ in range(20):
        nn.init.normal_(layer.weight)
        doubled(layer, kept)
        layer.to(between).float()
        assert torch.equal(doubled(layer, kept), 2 * layer.weight)


def test_a_new_parameter_in_the_old_memory() -> None:
    layer, kept = nn.Linear(4, 4), Kept()
    before = doubled(layer, kept).clone()
    layer.weight = nn.Parameter(layer.weight.data.mul_(3))  # the writes to .data are counted apart
    torch.testing.assert_close(doubled(layer, kept), 3 * before)


def test_old_weights_are_let_go_of() -> None:
    layer, kept = nn.Linear(4, 4), Kept()
    doubled(layer, kept)
    old = weakref.ref(layer.weight), weakref.ref(layer.weight.untyped_storage())
    layer.load_state_dict({name: torch.ones_like(tensor) for name, tensor in layer.state_dict().items()}, assign=True)
    gc.collect()
    assert [reference() for reference in old] == [None, None]


def test_weights_may_be_swapped() -> None:
    layer, kept = nn.Linear(4, 4), Kept()
    doubled(layer, kept)
    other = nn.Parameter(torch.ones(4, 4))
    torch.utils.swap_tensors(layer.weight, other)
    assert torch.equal(doubled(layer, kept), torch.full((4, 4), 2.0))


def test_threads_that_read_get_what_is_kept() -> None:
    layer, kept = nn.Linear(64, 64), Kept()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: doubled(layer, kept), range(100)))
    assert all(torch.equal(tensor, 2 * layer.weight) for tensor in found)


def test_copies_make_their_own() -> None:
    layer = nn.Module()
    layer.weight, layer.kept = nn.Parameter(torch.ones(2)), Kept()
    doubled(layer, layer.kept)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.kept._entry is None
        assert doubled(other, other.kept).tolist() == [2, 2]
