"""The models that have a name: what they are, where their weights live, and how to get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from soundsieve.errors import WeightsError

if TYPE_CHECKING:
    import torch

    from soundsieve.systems.base import System

STARTER_FILE = "starter.safetensors"


@dataclass(frozen=True)
class Entry:
    """One named model.

    Attributes:
        name: what `soundsieve.load` and ``--model`` take.
        system: name of the system, as in its checkpoint.
        summary: what it is, in a line.
        sample_rate: Hz at which it works; recordings of other rates are resampled there and back.
        licence: of the weights.
        where: where the weights are.
        size_mb: of the weights, in MB (10^6 bytes); None where they are made in memory or not known.
        sha256: of the file, where one is published.
    """

    name: str
    system: str
    summary: str
    sample_rate: int
    licence: str
    where: str
    size_mb: float | None = None
    sha256: str | None = None

    @property
    def at_hand(self) -> bool:
        """Whether it can be loaded on this machine right now."""
        return self.name == "debug" or (self.name == "starter" and _starter_size() is not None)


def _starter_size() -> float | None:
    with as_file(files("soundsieve.embedded") / STARTER_FILE) as path:
        return path.stat().st_size / 1e6 if path.is_file() else None


CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="starter",
            system="sieve",
            summary="the embedded model: small, works on a CPU, no download",
            sample_rate=32000,
            licence="MIT",
            where="inside the package",
            size_mb=_starter_size(),
            sha256="9dc5cabf1260213867350a2384b965487c61d1f798a316344538bdd4ec8801a6",
        ),
        Entry(
            name="debug",
            system="sieve",
            summary="a tiny network with random weights, for tests: its answers mean nothing",
            sample_rate=32000,
            licence="MIT",
            where="made in memory",
        ),
        Entry(
            name="clapsep",
            system="clapsep",
            summary="CLAPSep, the published system (Ma et al., 2024, arXiv:2402.17455); cannot be loaded by name yet",
            sample_rate=32000,
            licence="see its authors' page",
            where="best_model.ckpt of CLAPSep and music_audioset_epoch_15_esc_90.14.pt of LAION-CLAP",
        ),
    )
}


def load_named(name: str, device: str | torch.device = "cpu") -> System:
    """Load a model of the catalog.

    Raises:
        WeightsError: no model has that name, or its weights are not at hand.
        ConfigError: there is no such device.
    """
    if name not in CATALOG:
        raise WeightsError(f"no model '{name}'; known: {', '.join(CATALOG)}; or give the path of a .safetensors file")
    return _LOADERS[name](device)


def _load_starter(device: str | torch.device) -> System:
    from soundsieve.weights.checkpoint import load_system

    with as_file(files("soundsieve.embedded") / STARTER_FILE) as path:
        if not Path(path).is_file():
            raise WeightsError("the embedded model's file is missing from this installation: install soundsieve again")
        return load_system(path, device)


def _load_debug(device: str | torch.device) -> System:
    import torch

    from soundsieve.systems.sieve import Sieve, SieveConfig
    from soundsieve.weights.checkpoint import pick_device

    target = pick_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Sieve(SieveConfig.debug()).to(target).eval()


def _load_clapsep(device: str | torch.device) -> System:
    raise WeightsError(
        f"'clapsep' cannot be loaded by name yet: reading its published files ({CATALOG['clapsep'].where}) "
        "is not supported; a CLAPSep saved by soundsieve works: give the path of its .safetensors file"
    )


_LOADERS: dict[str, Callable[[str | torch.device], System]] = {
    "starter": _load_starter,
    "debug": _load_debug,
    "clapsep": _load_clapsep,
}
