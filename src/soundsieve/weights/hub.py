"""Files on the Hugging Face hub: where they are, whether they are here already, and how to get them.

The hub's client keeps what it fetched in its own cache (``$HF_HOME``); what is made of it goes to soundsieve's.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from soundsieve.errors import WeightsError


@dataclass(frozen=True)
class Source:
    """A file on the hub.

    Attributes:
        repository: owner and name.
        file: its path in the repository.
        option: of the command line, that takes a local copy instead.
        kind: of repository.
        sha256: of the file; None where it is not known, and nothing is checked.
        size_mb: in MB (10^6 bytes).
        licence: as its authors state it.
    """

    repository: str
    file: str
    option: str
    kind: Literal["model", "space"] = "model"
    sha256: str | None = None
    size_mb: float | None = None
    licence: str = "not stated"

    @property
    def page(self) -> str:
        """Where a person finds it."""
        place = f"spaces/{self.repository}" if self.kind == "space" else self.repository
        return f"https://huggingface.co/{place}/blob/main/{self.file}"


TOKENIZER = Source(
    repository="FacebookAI/roberta-base",
    file="tokenizer.json",
    option="--tokenizer (a tokenizer.json; or none, to ask by example clips alone)",
    size_mb=1.4,
    licence="MIT",
)
"""RoBERTa's, which the published CLAPs were trained with."""

BERT_TOKENIZER = Source(
    repository="google-bert/bert-base-uncased",
    file="tokenizer.json",
    option="--tokenizer (a tokenizer.json)",
    size_mb=0.5,
    licence="Apache-2.0",
)
"""That of BERT, English, uncased, which LASS-Net reads captions with."""

T5_TOKENIZER = Source(
    repository="google/flan-t5-large",
    file="tokenizer.json",
    option="--tokenizer (a tokenizer.json)",
    size_mb=2.4,
    licence="Apache-2.0",
)
"""That of FLAN-T5, which FlowSep reads captions with."""


def cache_folder() -> Path:
    """Where soundsieve keeps what it made and can make again: ``$SOUNDSIEVE_CACHE`` or ``~/.cache/soundsieve``."""
    return Path(os.environ.get("SOUNDSIEVE_CACHE") or Path.home() / ".cache" / "soundsieve")


def cached(source: Source) -> Path | None:
    """The client's copy of a file, if it has one; the network is not asked."""
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(source.repository, source.file, repo_type=source.kind)
    return Path(found) if isinstance(found, str) and os.path.isfile(found) else None


def fetch(source: Source) -> Path:
    """A file, from the client's cache or else from the hub, checked against its SHA-256 where that is known.

    Raises:
        WeightsError: it cannot be had, or is not what it should be; the message says why and what else can be done.
    """
    path = cached(source) or _download(source)
    if source.sha256 is not None and (found := sha256(path)) != source.sha256:
        raise WeightsError(
            f"{path} is not the published {source.file}: its SHA-256 is {found[:12]}..., not {source.sha256[:12]}...; "
            "delete it to fetch it again"
        )
    return path


def _download(source: Source) -> Path:
    import huggingface_hub
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)  # every retry would be a line; what comes of them is told below
    try:
        return Path(huggingface_hub.hf_hub_download(source.repository, source.file, repo_type=source.kind))
    except GatedRepoError as error:
        raise _cannot(source, "its authors ask for an agreement first, and a log-in (hf auth login)") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _cannot(source, "there is no such repository (any more), or it is private") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError) as error:
        raise _cannot(source, "the hub cannot be reached, or the client is in offline mode") from error
    except EntryNotFoundError as error:
        raise _cannot(source, "the repository has no such file (any more)") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = "" if source.size_mb is None else f": it takes {source.size_mb:.0f} MB"
            raise _cannot(source, f"no room is left on the disk of the client's cache{size}") from error
        raise _cannot(source, _short(error)) from error
    except Exception as error:  # whatever the client's transport raises, which differs between its versions
        raise _cannot(source, _short(error)) from error
    finally:
        client.setLevel(level)


def _cannot(source: Source, why: str) -> WeightsError:
    return WeightsError(
        f"cannot fetch {source.file} of {source.repository}: {why}; {source.page}, or give a copy with {source.option}"
    )


def sha256(path: str | Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(path: Path) -> str:
    """What tells a file in the client's cache from another one, without reading it.

    The client keeps each file under the hash of its contents and links to it, so the name behind the link tells most.
    """
    real = path.resolve()
    status = real.stat()
    return f"{real.name} {status.st_size} {status.st_mtime_ns}"


def _short(error: BaseException) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 160 else words[:157] + "..."
