from __future__ import annotations

from dataclasses import fields

import pytest

from soundsieve.errors import ConfigError
from soundsieve.studio.limits import Limits, TooLargeError


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, "many", True, float("nan")])
def test_a_limit_is_a_number_above_0(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} is .*above 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_what_is_counted_is_whole() -> None:
    with pytest.raises(ConfigError, match=r"max_tracks is 1\.5: a limit is a whole number"):
        Limits(max_tracks=1.5)  # type: ignore[arg-type]
    assert Limits(max_minutes=0.5).max_minutes == 0.5


def test_an_unknown_limit_is_an_error() -> None:
    with pytest.raises(TypeError):
        Limits(max_fun=3)  # type: ignore[call-arg]


def test_an_upload_of_the_limit_passes_and_a_byte_more_does_not() -> None:
    limits = Limits(max_megabytes=1.5)
    limits.check_upload(1_500_000)
    with pytest.raises(TooLargeError, match=r"larger than 1\.5 MB, the most that is taken here: send it as flac"):
        limits.check_upload(1_500_001)
