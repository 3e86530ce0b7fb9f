from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence

import pytest
import torch
from page_checks import Page
from torch import Tensor

from soundsieve import audio
from soundsieve.dsp.loudness import loudness_lufs
from soundsieve.errors import ConfigError
from soundsieve.evaluation.listening.items import Item
from soundsieve.evaluation.listening.make import make

RATE = 16000
HOSTILE = '</script><script>alert("x")</script>'


def noise(level: float, seed: int) -> Tensor:
    return level * torch.randn(RATE, generator=torch.Generator().manual_seed(seed))


def items(count: int = 3, query: str = "a dog", *, known: bool = True) -> list[Item]:
    return [
        Item(f"item-{i}", f"{query} {i}", noise(0.1, i), noise(0.05, 9 + i) if known else None, RATE, (f"item-{i}",))
        for i in range(count)
    ]


class Noise:
    def __init__(self, level: float) -> None:
        self.level = level

    def __call__(self, items: Sequence[Item]) -> list[Tensor]:
        return [noise(self.level, 100 + i) for i, _ in enumerate(items)]


SYSTEMS = {"zebra system": Noise(0.2), "another/path": Noise(0.002)}


def data_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_every_sound_and_no_name() -> None:
    page, key = make(items(), SYSTEMS, reference=True, mixture=True)
    found = Page(page)
    data = data_of(page)
    tokens = [one["token"] for one in data["stimuli"]]
    assert tokens == sorted(tokens)
    assert set(tokens) == set(key["stimuli"])
    assert len(tokens) == 3 * 4
    assert key["systems"] == ["zebra system", "another/path", "mixture", "reference"]
    assert {(one["system"], one["item"]) for one in key["stimuli"].values()} == {
        (system, f"item-{i}") for system in key["systems"] for i in range(3)
    }
    assert set(data) == {"test", "stimuli"}
    assert {name for one in data["stimuli"] for name in one} == {"token", "item", "query", "audio"}
    outside = re.sub(r"base64,[\w+/=]+", "", page).lower()
    for secret in ("zebra", "another/path", "item-0", "reference", "/tmp", "key.json"):
        assert secret not in outside
    assert data["test"] == key["test"]
    assert "default-src 'none'" in found.values("content")[1]


def test_every_control_has_a_label() -> None:
    found = Page(make(items(1), SYSTEMS)[0])
    inputs = [attributes["id"] for tag, attributes in found.tags if tag == "input"]
    assert len(inputs) == 1 + 2 * 5
    assert set(inputs) <= set(found.values("for"))
    assert found.text("legend").count("?") == 2


def test_sounds_of_an_item_are_equally_loud() -> None:
    page, _ = make(items(1), SYSTEMS, mixture=True)
    levels = []
    for one in data_of(page)["stimuli"]:
        samples, rate = audio.decode(io.BytesIO(base64.b64decode(one["audio"].split(",")[1])))
        levels.append(loudness_lufs(torch.from_numpy(samples), rate))
    assert levels == pytest.approx([-23.0] * 3, abs=0.05)


def test_hostile_texts_stay_texts() -> None:
    page, key = make(items(1, HOSTILE), SYSTEMS, title=HOSTILE)
    found = Page(page)
    assert [tag for tag, _ in found.tags].count("script") == 2
    assert found.text("title") == HOSTILE
    assert data_of(page)["stimuli"][0]["query"] == f"{HOSTILE} 0"
    assert next(iter(key["stimuli"].values()))["query"] == f"{HOSTILE} 0"


def test_no_two_tests_share_names() -> None:
    one, other = (make(items(1), SYSTEMS)[1] for _ in range(2))
    assert one["test"] != other["test"]
    assert not set(one["stimuli"]) & set(other["stimuli"])


def test_what_makes_no_test_is_refused() -> None:
    one = {"a": Noise(0.1)}
    with pytest.raises(ConfigError, match="compares two systems or more"):
        make(items(), one)
    with pytest.raises(ConfigError, match="compares two"):
        make([], SYSTEMS)
    assert make(items(1), one, mixture=True)[1]["systems"] == ["a", "mixture"]
    with pytest.raises(ConfigError, match="'mixture' is what the hidden one is called"):
        make(items(), {"mixture": Noise(0.1), "b": Noise(0.1)}, mixture=True)
    with pytest.raises(ConfigError, match="leave --reference out"):
        make(items(known=False), SYSTEMS, reference=True)
    slow = [Item("a", "a dog", noise(0.1, 0), None, 4000, ("a",))]
    with pytest.raises(ConfigError, match=r"a cannot be brought to one loudness: .* 8000 Hz"):
        make(slow, SYSTEMS)
