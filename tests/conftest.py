from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch
from identity_system import IdentitySystem

from soundsieve.weights import checkpoint

CLIPS = Path(__file__).parent / "data" / "clips"

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _known_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that hold the tests' own system can be read back."""
    monkeypatch.setitem(checkpoint.SYSTEMS, "identity", ("identity_system", "IdentitySystem", "IdentityConfig"))


@pytest.fixture
def identity() -> IdentitySystem:
    torch.manual_seed(0)
    return IdentitySystem().eval()


@pytest.fixture
def clips() -> Path:
    """Folder of short real recordings; CREDITS.csv there says whose they are."""
    return CLIPS


@pytest.fixture
def identity_file(identity: IdentitySystem, tmp_path: Path) -> str:
    """A checkpoint of the tests' own system, to load by path."""
    path = tmp_path / "identity.safetensors"
    checkpoint.save_system(path, identity)
    return str(path)
