from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Literal

import pytest

from soundsieve.errors import ConfigError
from soundsieve.weights.config import from_dict, to_dict


@dataclass(frozen=True)
class Inner:
    width: int = 4
    kind: Literal["gru", "conv"] = "gru"


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.5
    on: bool = True
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (1.0, "a")
    inner: Inner = field(default_factory=Inner)
    parts: tuple[Inner, ...] = ()
    limit: int | None = None
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"rate is {self.rate}; it must be 0 or more")


def test_round_trip_through_json() -> None:
    config = Outer("x", 2, False, (3,), (0.5, "b"), Inner(7, "conv"), (Inner(1), Inner(2)), 9, {"a": 1.5})
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


def test_defaults_fill_in_and_whole_numbers_serve_as_floats() -> None:
    config = from_dict(Outer, {"name": "x", "rate": 2})
    assert config == Outer("x", 2.0)
    assert isinstance(config.rate, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x", "colour": 1}, "Outer: unknown key 'colour'; known: inner, limit, name"),
        ({}, "Outer: missing key 'name'"),
        ({"name": "x", "inner": {"depth": 1}}, "inner: unknown key 'depth'; known: kind, width"),
        ({"name": "x", "inner": {"width": "4"}}, "inner.width: expected int, got '4'"),
        ({"name": "x", "inner": {"width": True}}, "inner.width: expected int, got True"),
        ({"name": "x", "inner": 3}, "inner: expected a table of settings, got int"),
        ({"name": "x", "inner": {"kind": "lstm"}}, "inner.kind: 'lstm' is not one of 'gru', 'conv'"),
        ({"name": "x", "parts": [{}, {"depth": 1}]}, "parts[1]: unknown key 'depth'"),
        ({"name": "x", "on": 1}, "on: expected bool, got 1"),
        ({"name": "x", "sizes": 3}, "sizes: expected a list, got 3"),
        ({"name": "x", "sizes": [1, 2.5]}, "sizes[1]: expected int, got 2.5"),
        ({"name": "x", "pair": [1.0]}, "pair: expected 2 values, got 1"),
        ({"name": "x", "limit": "many"}, "limit: expected int, got 'many'"),
        ({"name": "x", "weights": {"a": "b"}}, "weights.a: expected float, got 'b'"),
        ({"name": "x", "rate": -1.0}, "rate is -1.0"),
    ],
)
def test_what_is_refused(data: dict, message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        from_dict(Outer, data)
