"""The models that have a name: what they are, where their weights live, and how to get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.weights.hub import BERT_TOKENIZER, T5_TOKENIZER, TOKENIZER, Source

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
        sources: the files on the hub that it is made of: its weights and, where these need one, the CLAP.
        tokenizer: on the hub, that belongs to it; None where it takes none, or brings its own.
        by_hand: where its weights can be had, for a model whose authors publish them where they cannot be fetched.
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
    tokenizer: Source | None = None
    by_hand: str = ""

    @property
    def is_published(self) -> bool:
        """Whether its weights are its authors' files, which may be given in place of those that are fetched."""
        return bool(self.sources or self.by_hand)

    @property
    def at_hand(self) -> bool:
        """Whether it can be loaded on this machine right now, without the network."""
        if self.sources:
            from soundsieve.weights.published import at_hand

            return at_hand(self)
        return self.name == "debug" or (self.name == "starter" and _starter_size() is not None)


def _starter_size() -> float | None:
    with as_file(files("soundsieve.embedded") / STARTER_FILE) as path:
        return path.stat().st_size / 1e6 if path.is_file() else None


_CLAPSEP_FILES = (
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

_AUDIOSEP_FILE = Source(
    # The Space that the authors' repository (github.com/Audio-AGI/AudioSep) points to; the CLAP is inside.
    repository="Audio-AGI/AudioSep",
    file="checkpoint/audiosep_base_4M_steps.ckpt",
    option="--weights",
    kind="space",
    size_mb=1260.0,
)
_USS_FILE = Source(
    # From where the authors' package (github.com/bytedance/uss) fetches it.
    repository="RSNuts/Universal_Source_Separation",
    file="uss_material/ss_model=resunet30,querynet=at_soft,data=full,devices=8,step=1000000.ckpt",
    option="--weights",
    size_mb=1121.024828,
)

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
            sha256="0861a839d66e1a0281495778dac6ca4563c481a1998fef636d36f174dbe8adf7",
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
            summary="CLAPSep, the published system (Ma et al., 2024, arXiv:2402.17455); fetched when first used",
            sample_rate=32000,
            licence="not stated; its CLAP: CC0-1.0",
            where="Hugging Face hub: best_model.ckpt of AisakaMikoto/CLAPSep, CLAP of lukewys/laion_clap",
            size_mb=sum(source.size_mb or 0 for source in _CLAPSEP_FILES),
            sources=_CLAPSEP_FILES,
            tokenizer=TOKENIZER,
        ),
        Entry(
            name="audiosep",
            system="audiosep",
            summary="AudioSep, the published system (Liu et al., 2023, arXiv:2308.05037); fetched when first used",
            sample_rate=32000,
            licence="not stated for the weights (their Space: MIT); its CLAP: CC0-1.0",
            where="Hugging Face hub: audiosep_base_4M_steps.ckpt of the Space Audio-AGI/AudioSep",
            size_mb=_AUDIOSEP_FILE.size_mb,
            sources=(_AUDIOSEP_FILE,),
            tokenizer=TOKENIZER,
        ),
        Entry(
            name="lassnet",
            system="lassnet",
            summary="LASS-Net, the published system (Liu et al., 2022, arXiv:2203.15147); fetch its file by hand",
            sample_rate=32000,
            licence="not stated",
            where="Google Drive: LASSNet.pt, linked at https://github.com/liuxubo717/LASS",
            size_mb=253.8,
            tokenizer=BERT_TOKENIZER,
            by_hand="its authors publish LASSNet.pt on Google Drive alone, linked at "
            "https://github.com/liuxubo717/LASS: fetch it there and give it with --weights",
        ),
        Entry(
            name="uss",
            system="uss",
            summary="USS, the published system (Kong et al., 2023, arXiv:2305.07447); fetched when first used",
            sample_rate=32000,
            licence="not stated",
            where="Hugging Face hub: ss_model=resunet30,querynet=at_soft,... of RSNuts/Universal_Source_Separation",
            size_mb=_USS_FILE.size_mb,
            sources=(_USS_FILE,),
        ),
        Entry(
            name="flowsep",
            system="flowsep",
            summary="FlowSep, the published system (Yuan et al., 2024, arXiv:2409.07614); fetch its file by hand",
            sample_rate=16000,
            licence="not stated",
            where="Zenodo: v2_100k.ckpt of https://zenodo.org/records/13869712",
            # Its 3262 entries in float32, the tied words of T5 once; the file itself was not seen.
            size_mb=3837.0,
            tokenizer=T5_TOKENIZER,
            by_hand="its authors publish v2_100k.ckpt on Zenodo, at https://zenodo.org/records/13869712: "
            "fetch it there and give it with --weights",
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
        weights: for a published model, a file in place of the one that is fetched.
        clap: the CLAP that the weights build on, for weights that do not hold it.
        tokenizer: see `soundsieve.weights.clap.find_tokenizer`.

    Raises:
        WeightsError: no such model, or its weights cannot be had or are not what they should be.
        ConfigError: there is no such device, or something is given that this model has no use for.
    """
    name = str(name_or_path)
    if name not in CATALOG and _is_file(name):
        from soundsieve.weights.checkpoint import pick_device
        from soundsieve.weights.convert import read_system

        if weights is not None:
            raise ConfigError(f"the model is given twice, as {name} and as {weights}: leave one out")
        target = pick_device(device)
        return read_system(name, clap, tokenizer).to(target)
    if name in CATALOG and CATALOG[name].is_published:
        return _load_published(CATALOG[name], device, weights, clap, tokenizer)
    if name in CATALOG and (weights, clap, tokenizer) != (None, None, None):
        raise ConfigError(
            f"weights, a CLAP and a tokenizer are for published models and files of weights; '{name}' has its own"
        )
    return load_named(name, device)


def _is_file(name: str) -> bool:
    path = Path(name)
    return path.suffix in (".safetensors", ".ckpt", ".pt", ".pth") or path.is_file()


def _load_published(
    entry: Entry,
    device: str | torch.device,
    weights: str | Path | None = None,
    clap: str | Path | None = None,
    tokenizer: TokenizerSource = None,
) -> System:
    """A published system, with some of its files given or none."""
    from soundsieve.weights.checkpoint import pick_device
    from soundsieve.weights.published import from_hub

    target = pick_device(device)
    if weights is None and clap is None and entry.sources:
        _check_of_use(entry, clap, tokenizer)
        return from_hub(entry, tokenizer).to(target)
    return read_published(entry.name, weights, clap, tokenizer).to(target)


def read_published(
    name: str, weights: str | Path | None, clap: str | Path | None, tokenizer: TokenizerSource
) -> System:
    """A published system out of its files, LoRA as it is; a file that is not given is fetched.

    Raises:
        WeightsError: a file cannot be had, or is not what it should be.
        ConfigError: no published model has that name, or something is given that it has no use for.
    """
    from soundsieve.weights.convert import needs_clap, read_system
    from soundsieve.weights.hub import fetch

    entry = CATALOG.get(name)
    if entry is None or not entry.is_published:
        known = ", ".join(entry.name for entry in CATALOG.values() if entry.is_published)
        raise ConfigError(f"'{name}' is no published model: choose one of {known}")
    _check_of_use(entry, clap, tokenizer)
    if weights is None:
        if not entry.sources:
            raise WeightsError(f"{name} cannot be fetched: {entry.by_hand}")
        weights = fetch(entry.sources[0])
    if clap is None and len(entry.sources) > 1 and needs_clap(weights):
        clap = fetch(entry.sources[1])
    return read_system(weights, clap, tokenizer, expected=entry.system)


def _check_of_use(entry: Entry, clap: str | Path | None, tokenizer: TokenizerSource) -> None:
    """Before anything is fetched or read."""
    if clap is not None and len(entry.sources) < 2:
        raise ConfigError(f"{entry.name} is whole: leave the CLAP ({clap}) out")
    if tokenizer is not None and entry.tokenizer is None:
        raise ConfigError(f"{entry.name} takes no tokenizer: leave --tokenizer out")


def load_named(name: str, device: str | torch.device = "cpu") -> System:
    """Load a model of the catalog.

    Raises:
        WeightsError: no model has that name, or its weights are not at hand.
        ConfigError: there is no such device.
    """
    if name not in CATALOG:
        raise WeightsError(f"no model '{name}'; known: {', '.join(CATALOG)}; or give the path of a .safetensors file")
    if CATALOG[name].is_published:
        return _load_published(CATALOG[name], device)
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


_LOADERS: dict[str, Callable[[str | torch.device], System]] = {
    "starter": _load_starter,
    "debug": _load_debug,
}
