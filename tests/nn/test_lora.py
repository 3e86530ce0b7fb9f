from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from soundsieve.nn.lora import LoRALinear, add_lora, merge_lora


def tower() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {"attention": nn.ModuleDict({"qkv": nn.Linear(6, 9), "proj": nn.Linear(9, 6)}), "mlp": nn.Linear(6, 6)}
    )


def run(module: nn.Module, x: Tensor) -> Tensor:
    attention = module.get_submodule("attention")
    y = attention.get_submodule("proj")(attention.get_submodule("qkv")(x))
    return module.get_submodule("mlp")(y)  # type: ignore[no-any-return]


def adapted(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    add_lora(module, ("qkv", "proj"), rank=2, alpha=3)
    return module


def test_starts_as_what_it_adapts() -> None:
    plain, x = tower(), torch.randn(4, 6)
    torch.testing.assert_close(run(adapted(plain), x), run(plain, x), atol=0, rtol=0)


def test_adds_the_scaled_product_of_its_factors() -> None:
    linear = nn.Linear(3, 2)
    lora = LoRALinear(linear, rank=2, alpha=1)
    nn.init.normal_(lora.lora_b)
    x = torch.randn(5, 3)
    expected = linear(x) + 0.5 * x @ (lora.lora_b @ lora.lora_a).T
    torch.testing.assert_close(lora(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(lora(x), expected)


def test_only_the_factors_and_the_adapted_biases_are_trained() -> None:
    module = adapted(tower())
    names = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    parts = ("lora_a", "lora_b", "bias")
    assert names == {f"attention.{layer}.{part}" for layer in ("qkv", "proj") for part in parts}
    run(module, torch.randn(4, 6)).sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is not None) == (name in names)


def test_merging_changes_nothing_beyond_rounding() -> None:
    module, x = adapted(tower()), torch.randn(4, 6)
    for layer in module.modules():
        if isinstance(layer, LoRALinear):
            nn.init.normal_(layer.lora_b)
    before = run(module, x)
    merge_lora(module)
    assert not any(isinstance(layer, LoRALinear) for layer in module.modules())
    torch.testing.assert_close(run(module, x), before, atol=1e-5, rtol=1e-5)
    assert set(module.state_dict()) == set(tower().state_dict())
