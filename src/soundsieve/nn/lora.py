"""Low-rank adaptation of a frozen network (Hu et al., 2022, arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn.kept import Kept
from soundsieve.nn.linear import Linear, linear


class LoRALinear(nn.Linear):
    """A Linear whose frozen weight W is corrected by a learnt product of rank r: y = (W + (alpha / r) B A) x + b.

    B starts at zero, so that the layer first computes exactly what it adapts. A, B and the bias are trained; W is not.

    Args:
        adapted: the Linear to adapt; its weight and bias are taken over, not copied.
        rank: r.
        alpha: numerator of the scale.
    """

    def __init__(self, adapted: nn.Linear, *, rank: int, alpha: float) -> None:
        # "meta": no memory and no random numbers for values that are replaced at once.
        super().__init__(adapted.in_features, adapted.out_features, adapted.bias is not None, device="meta")
        self.weight, self.bias = adapted.weight, adapted.bias
        self.lora_a = nn.Parameter(self.weight.new_empty(rank, self.in_features))
        self.lora_b = nn.Parameter(self.weight.new_zeros(self.out_features, rank))
        self.scale = alpha / rank
        self._merged = Kept()
        nn.init.kaiming_uniform_(self.lora_a, a=5**0.5)
        self.weight.requires_grad_(False)

    def merged_weight(self) -> Tensor:
        """W + (alpha / r) B A, shape ``(out, in)``."""
        return self.weight + self.scale * (self.lora_b @ self.lora_a)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``.

        With gradients the low-rank path is taken, which never forms the full weight's gradient; without them one
        product with the merged weight is less work, which is made once for as long as nothing changes.
        """
        if not torch.is_grad_enabled():
            merged = self._merged.get(self.merged_weight, self.weight, self.lora_a, self.lora_b)
            return linear(x, merged, self.bias)
        return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scale

    def merge(self) -> Linear:
        """A plain Linear that computes the same."""
        with torch.device("meta"):
            plain = Linear(self.in_features, self.out_features, self.bias is not None)
        plain.weight, plain.bias = nn.Parameter(self.merged_weight().detach()), self.bias
        return plain

    def train(self, mode: bool = True) -> LoRALinear:
        """As `torch.nn.Module.train`; training lets go of the merged weight."""
        if mode:
            self._merged.clear()
        return super().train(mode)


def _children(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                yield parent, name, child


def add_lora(module: nn.Module, names: Collection[str], *, rank: int, alpha: float) -> None:
    """Adapt, in place, every Linear of ``module`` whose own name is in ``names``, and freeze everything else."""
    module.requires_grad_(False)
    for parent, name, child in list(_children(module)):
        if name in names and not isinstance(child, LoRALinear):
            if child.bias is not None:
                child.bias.requires_grad_(True)
            setattr(parent, name, LoRALinear(child, rank=rank, alpha=alpha))


def merge_lora(module: nn.Module) -> None:
    """Replace, in place, every adapted layer of ``module`` by a plain Linear that computes the same."""
    for parent, name, child in list(_children(module)):
        if isinstance(child, LoRALinear):
            setattr(parent, name, child.merge())
