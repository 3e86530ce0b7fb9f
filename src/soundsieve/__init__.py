"""Describe a sound, get that sound alone, out of any recording.

Example:
    >>> import soundsieve
    >>> sieve = soundsieve.load()  # doctest: +SKIP
    >>> out = sieve.separate("street.wav", "a dog barking", exclude="traffic")  # doctest: +SKIP
    >>> out.save("dog.wav")  # doctest: +SKIP

Names are imported when they are first used, so that ``import soundsieve`` itself is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soundsieve.errors import AudioError, ConfigError, QueryError, SoundsieveError, UnreadableError, WeightsError
    from soundsieve.presence import Span
    from soundsieve.query import Query
    from soundsieve.separator import Extraction, Separation, Separator, Splits, load
    from soundsieve.streaming import Block, Stream

__version__ = "0.1.0"

_HOMES = {
    "AudioError": "soundsieve.errors",
    "Block": "soundsieve.streaming",
    "ConfigError": "soundsieve.errors",
    "Extraction": "soundsieve.separator",
    "Query": "soundsieve.query",
    "QueryError": "soundsieve.errors",
    "Separation": "soundsieve.separator",
    "Separator": "soundsieve.separator",
    "SoundsieveError": "soundsieve.errors",
    "Span": "soundsieve.presence",
    "Splits": "soundsieve.separator",
    "Stream": "soundsieve.streaming",
    "UnreadableError": "soundsieve.errors",
    "WeightsError": "soundsieve.errors",
    "load": "soundsieve.separator",
}

__all__ = [
    "AudioError",
    "Block",
    "ConfigError",
    "Extraction",
    "Query",
    "QueryError",
    "Separation",
    "Separator",
    "SoundsieveError",
    "Span",
    "Splits",
    "Stream",
    "UnreadableError",
    "WeightsError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'soundsieve' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
