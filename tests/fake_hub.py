"""A hub without a network: the functions of the client that soundsieve calls, over a folder, and its errors."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors
from published_files import as_debug, debug_resunet, debug_system, laion_file, resunet_file, slim_file

from soundsieve.weights import catalog
from soundsieve.weights.hub import TOKENIZER, Source, sha256


def answered(kind: type[Exception], status: int) -> Exception:
    """One of the client's errors that carry what the server answered."""
    transport = importlib.import_module(errors.Response.__module__)
    request = transport.Request("GET", "https://hub.invalid/file")
    error: Exception = kind(f"{status} said the server", response=transport.Response(status, request=request))
    return error


@dataclass
class FakeHub:
    """What is published, what the client has fetched, and how often it was asked.

    Attributes:
        published: by repository and file name, the file to hand out, or the error to raise.
        cache: folder of the client.
        fetched: names in the order in which they were fetched.
    """

    cache: Path
    published: dict[tuple[str, str], Path | Exception] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    def publish(self, source: Source, file: Path | Exception) -> None:
        self.published[source.repository, source.file] = file

    def place(self, repository: str, file: str, kind: str) -> Path:
        return self.cache / f"{kind}s--{repository.replace('/', '--')}" / file

    def hf_hub_download(self, repo_id: str, filename: str, *, repo_type: str) -> str:
        found = self.published[repo_id, filename]
        if isinstance(found, Exception):
            raise found
        self.fetched.append(filename)
        place = self.place(repo_id, filename, repo_type)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(found.read_bytes())
        return str(place)

    def try_to_load_from_cache(self, repo_id: str, filename: str, *, repo_type: str) -> str | None:
        place = self.place(repo_id, filename, repo_type)
        return str(place) if place.is_file() else None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """An empty hub in place of the real one, and an empty cache of soundsieve's."""
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake.hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", fake.try_to_load_from_cache)
    monkeypatch.setenv("SOUNDSIEVE_CACHE", str(tmp_path / "cache"))
    return fake


def publish_debug(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """Publish a CLAPSep of debug size where the real one is, with its tokenizer."""
    as_debug(monkeypatch)
    folder.mkdir(exist_ok=True)
    system = debug_system()
    files = [slim_file(folder / "best_model.ckpt", system), laion_file(folder / "clap.pt", system)]
    (folder / "tokenizer.json").write_text(system.clap.assets()["tokenizer.json"], "utf-8")
    sources = [
        Source(source.repository, source.file, source.option, source.kind, sha256=sha256(file))
        for source, file in zip(catalog.CATALOG["clapsep"].sources, files, strict=True)
    ]
    for source, file in zip([*sources, TOKENIZER], [*files, folder / "tokenizer.json"], strict=True):
        hub.publish(source, file)
    set_sources(monkeypatch, "clapsep", sources)
    return sources


def publish_resunet(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> list[Source]:
    """Publish one of the other systems at debug size where the real one is, with its tokenizer; the latter comes last.

    A system that is published elsewhere is in the folder alone.
    """
    as_debug(monkeypatch)
    folder.mkdir(exist_ok=True)
    system, entry = debug_resunet(name), catalog.CATALOG[name]
    file = resunet_file(folder, system)
    sources = list(entry.sources)
    for source in sources:
        hub.publish(source, file)
    if entry.tokenizer is not None:
        (folder / "tokenizer.json").write_text(system.assets()["tokenizer.json"], "utf-8")
        hub.publish(entry.tokenizer, folder / "tokenizer.json")
        sources.append(entry.tokenizer)
    return sources


def set_sources(monkeypatch: pytest.MonkeyPatch, name: str, sources: Sequence[Source]) -> None:
    """A model of the catalog is made of these from here on."""
    monkeypatch.setitem(catalog.CATALOG, name, replace(catalog.CATALOG[name], sources=tuple(sources)))
