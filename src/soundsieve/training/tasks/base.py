"""What the training loop asks of a task: a model, its batches, its loss, and what to report.

The loop knows nothing of sound; the model knows nothing of losses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

Batch: TypeAlias = dict[str, Tensor]


class Task(Protocol):
    """One objective over one model."""

    module: nn.Module
    """What is optimised, averaged, checkpointed."""

    def batch(self, step: int) -> Batch:
        """The batch of a step: a function of (seed, step) alone, so that a resumed run sees the same."""
        ...

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """``loss`` is minimised; whatever else is there is logged."""
        ...

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Measures on the validation split; ``score`` is maximised and chooses the best checkpoint."""
        ...

    def save(self, path: Path, module: nn.Module) -> None:
        """Write the product's weights file."""
        ...


@runtime_checkable
class OnFrozen(Protocol):
    """A task whose module stands on a frozen network that is made again when a run is resumed, and not stored."""

    rebuilt: frozenset[str]
    """Names in the module's state dict that a checkpoint leaves out."""
    frozen_digest: str
    """What tells that network from any other."""
