"""The models that have a name: what they are, where their weights live, and how to get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.weights.hub import Source

if TYPE_CHECKING:
    import torch

    from soundsieve.systems.base import System
    from soundsieve.weights.clap import TokenizerSource

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
        sources: the files that it is made of, where they are published elsewhere.
    """

    name: str
    system: str
    summary: str
    sample_rate: int
    licence: str
    where: str
    size_mb: float | None = None
    sha256: str | None = None
    sources: tuple[Source, ...] = ()

    @property
    def at_hand(self) -> bool:
        """Whether it can be loaded on this machine right now, without the network."""
        if self.sources:
            from soundsieve.weights.published import at_hand

            return at_hand(self.sources)
        return self.name == "debug" or (self.name == "starter" and _starter_size() is not None)


def _starter_size() -> float | None:
    with as_file(files("soundsieve.embedded") / STARTER_FILE) as path:
        return path.stat().st_size / 1e6 if path.is_file() else None


CLAPSEP_FILES = (
    # The Space that the authors' repository (github.com/Aisaka0v0/CLAPSep) points to. Its size is as a user reports it;
    # the SHA-256 of the whole file, and a licence of the weights, were found nowhere (the code's is MIT).
    Source(
        repository="AisakaMikoto/CLAPSep",
        file="model/best_model.ckpt",
        option="--weights",
        kind="space",
        size_mb=177.8,
    ),
    # The Space holds a copy of this one; this is where its authors publish it. The SHA-256 is that of several projects
    # and of the hub's own page of a copy.
    Source(
        repository="lukewys/laion_clap",
        file="music_audioset_epoch_15_esc_90.14.pt",
        option="--clap",
        sha256="fae3e9c087f2909c28a09dc31c8dfcdacbc42ba44c70e972b58c1bd1caf6dedd",
        size_mb=2352.5,
        licence="CC0-1.0",
    ),
)
"""What the published CLAPSep is made of: what was trained, and the CLAP that it builds on."""

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
            summary="CLAPSep, the published system (Ma et al., 2024, arXiv:2402.17455); fetched when it is first used",
            sample_rate=32000,
            licence="not stated; its CLAP: CC0-1.0",
            where="Hugging Face hub: best_model.ckpt of AisakaMikoto/CLAPSep, CLAP of lukewys/laion_clap",
            size_mb=sum(source.size_mb or 0 for source in CLAPSEP_FILES),
            sources=CLAPSEP_FILES,
        ),
    )
}


def load_model(
    name_or_path: str | Path,
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
    clap: str | Path | None = None,
    tokenizer: TokenizerSource = None,
) -> System:
    """Load a model of the catalog, or one from a file, in evaluation mode.

    Args:
        name_or_path: a name in `CATALOG`, or a file of weights.
        device: where it goes.
        weights: a file in place of the published one of ``clapsep``.
        clap: the CLAP that the weights build on, for weights that do not hold it.
        tokenizer: see `soundsieve.weights.clap.find_tokenizer`.

    Raises:
        WeightsError: no such model, or its weights cannot be had or are not what they should be.
        ConfigError: there is no such device, or something is given that this model has no use for.
    """
    name = str(name_or_path)
    if name == "clapsep" and (weights, clap, tokenizer) != (None, None, None):
        return _load_clapsep_from(weights, clap, tokenizer, device)
    if name not in CATALOG and _is_file(name):
        from soundsieve.weights.checkpoint import pick_device
        from soundsieve.weights.convert import read_system

        if weights is not None:
            raise ConfigError(f"the model is given twice, as {name} and as {weights}: leave one out")
        target = pick_device(device)
        return read_system(name, clap, tokenizer).to(target)
    if name in CATALOG and (weights, clap, tokenizer) != (None, None, None):
        raise ConfigError(f"weights, a CLAP and a tokenizer are for clapsep and files of weights; '{name}' has its own")
    return load_named(name, device)


def _is_file(name: str) -> bool:
    path = Path(name)
    return path.suffix in (".safetensors", ".ckpt", ".pt", ".pth") or path.is_file()


def _load_clapsep_from(
    weights: str | Path | None, clap: str | Path | None, tokenizer: TokenizerSource, device: str | torch.device
) -> System:
    """The published system with some of its files given."""
    from soundsieve.weights.checkpoint import pick_device
    from soundsieve.weights.published import from_hub

    target = pick_device(device)
    if weights is None and clap is None:
        return from_hub(CLAPSEP_FILES, tokenizer).to(target)
    return read_published(weights, clap, tokenizer).to(target)


def read_published(weights: str | Path | None, clap: str | Path | None, tokenizer: TokenizerSource) -> System:
    """The published CLAPSep out of its two files, LoRA as it is; a file that is not given is fetched.

    Raises:
        WeightsError: a file cannot be had, or is not what it should be.
    """
    from soundsieve.weights.convert import needs_clap, read_system
    from soundsieve.weights.hub import fetch

    weights = fetch(CLAPSEP_FILES[0]) if weights is None else weights
    if clap is None and needs_clap(weights):
        clap = fetch(CLAPSEP_FILES[1])
    return read_system(weights, clap, tokenizer)


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
    from soundsieve.weights.checkpoint import pick_device
    from soundsieve.weights.published import from_hub

    target = pick_device(device)
    return from_hub(CLAPSEP_FILES).to(target)


_LOADERS: dict[str, Callable[[str | torch.device], System]] = {
    "starter": _load_starter,
    "debug": _load_debug,
    "clapsep": _load_clapsep,
}
