from __future__ import annotations

from pathlib import Path

import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem

from soundsieve import audio
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixture
from soundsieve.evaluation.listening.items import Item, draw, of_folder, of_model
from soundsieve.separator import Separator


def item(name: str = "a", samples: int = 1600, stems: tuple[str, ...] = ()) -> Item:
    return Item(name, "a dog", torch.ones(samples) / 4, None, 16000, stems or (name,))


def mixed_of(example: Example) -> Mixture:
    sound = torch.full((8,), float(len(example.example_id)))
    return Mixture(sound, None if example.mixture else sound / 2)


def test_items_are_drawn_by_their_seed() -> None:
    examples = [Example(str(i), text=f"a dog {i}", mixture="m.wav") for i in range(20)]
    one, again, other = (draw(examples, mixed_of, sample_rate=16000, count=5, seed=seed) for seed in (0, 0, 1))
    assert [x.name for x in one] == [x.name for x in again]
    assert [x.name for x in one] != [x.name for x in other]
    assert all(x.query == f"a dog {x.name}" and x.sample_rate == 16000 for x in one)
    assert len({x.name for x in draw(examples, mixed_of, sample_rate=16000, count=99, seed=0)}) == 20


def test_items_are_asked_for_in_words() -> None:
    examples = [
        Example("x", text="a hum", target="hum/0.wav", interferers=("hiss/0.wav",)),
        Example("yy", text="a tone", mixture="tone/0.wav"),
        Example("z", like=("hum/1.wav",), target="hum/0.wav", interferers=("hiss/0.wav",)),
    ]
    found = {x.name: x for x in draw(examples, mixed_of, sample_rate=16000, count=9, seed=0)}
    assert set(found) == {"x", "yy"}
    assert (found["x"].stems, found["yy"].stems) == (("x",), ("yy", "0"))
    assert found["yy"].reference is None
    assert found["x"].reference is not None
    assert found["yy"].mixture[0] == 2.0
    with pytest.raises(ConfigError, match="asks for nothing in words"):
        draw(examples[2:], mixed_of, sample_rate=16000, count=9, seed=0)


def test_answers_are_found_by_name_and_made_alike(tmp_path: Path) -> None:
    stereo = torch.stack([torch.ones(3200), torch.zeros(3200)]).numpy() / 2
    audio.encode(tmp_path / "a.wav", stereo, 32000)
    audio.encode(tmp_path / "mixed.flac", stereo[:1], 16000)
    (tmp_path / "notes.txt").write_text("b")
    first, second = of_folder(tmp_path)([item("a"), item("b", stems=("b", "mixed"))])
    assert (first.shape, second.shape) == ((1600,), (3200,))
    assert first[800] == pytest.approx(0.25, abs=0.01)
    with pytest.raises(ConfigError, match=r"lacks 2 of 3 answers, such as NAME\.wav: c, d"):
        of_folder(tmp_path)([item("a"), item("c"), item("d")])
    audio.encode(tmp_path / "a.flac", stereo, 32000)
    with pytest.raises(ConfigError, match=r"a\.flac and .*a\.wav answer the same"):
        of_folder(tmp_path)([item("a")])
    with pytest.raises(ConfigError, match="there is no folder"):
        of_folder(tmp_path / "none")
    (tmp_path / "e.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"e\.wav"):
        of_folder(tmp_path)([item("e")])


def test_a_model_is_asked() -> None:
    system = IdentitySystem(IdentityConfig(gain=0.5, segment_s=1.0))
    answers = of_model(Separator(system))([item(), item("b", 800)])
    assert [len(answer) for answer in answers] == [1600, 800]
    torch.testing.assert_close(answers[0], torch.ones(1600) / 8)
    assert [query.text for query in system.encoded] == [("a dog",)]  # encoded once
