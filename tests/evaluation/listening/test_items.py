from __future__ import annotations

from pathlib import Path

import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem
from toy_benchmark import CLIPS, SAMPLE_RATE, SECONDS, SOUNDS, sounds

from soundsieve import audio
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing
from soundsieve.evaluation.benchmarks.recordings import Recordings
from soundsieve.evaluation.listening.items import Item, of_corpus, of_folder, of_list, of_model
from soundsieve.evaluation.pairs import make_pairs, write_pairs
from soundsieve.separator import Separator


def item(name: str = "a", samples: int = 1600, stems: tuple[str, ...] = ()) -> Item:
    return Item(name, "a dog", torch.ones(samples) / 4, None, 16000, stems or (name,))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = ["path,source,label,caption,group,split"]
    for path, clip in CLIPS.items():
        audio.encode(tmp_path / path, SOUNDS[path].numpy(), SAMPLE_RATE, subtype="FLOAT")
        lines.append(f'{path},{clip.source},{clip.label},"{clip.caption}",{clip.group},test')
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    write_pairs(tmp_path / "pairs.csv", make_pairs(CLIPS.values(), sounds, seconds=5.0))
    return tmp_path


def test_items_of_the_corpus_are_drawn_by_their_seed(corpus: Path) -> None:
    one, again, other = (
        of_corpus(corpus / "clips.csv", corpus / "pairs.csv", count=3, seed=seed) for seed in (0, 0, 1)
    )
    assert [(x.name, x.query) for x in one] == [(x.name, x.query) for x in again]
    assert [x.name for x in one] != [x.name for x in other]
    for x in one:
        assert x.sample_rate == SAMPLE_RATE
        assert x.reference is not None
        assert x.mixture.shape == x.reference.shape
        assert x.query in {clip.caption for clip in CLIPS.values()}
        assert x.stems == (x.name,)
    assert len(of_corpus(corpus / "clips.csv", corpus / "pairs.csv", count=99, seed=0)) == 12


def test_items_of_a_list_are_asked_for_in_words(corpus: Path) -> None:
    recordings = Recordings(corpus, 16000)
    examples = [
        Example("x", text="a hum", target="hum/0.wav", interferers=("hiss/0.wav",)),
        Example("y", text="a tone", mixture="tone/0.wav"),
        Example("z", like=("hum/1.wav",), target="hum/0.wav", interferers=("hiss/0.wav",)),
    ]
    found = {x.name: x for x in of_list(examples, Mixing("snr", or_ready=True), recordings, count=9, seed=0)}
    assert set(found) == {"x", "y"}
    assert found["y"].stems == ("y", "0")
    assert found["y"].reference is None
    assert found["x"].reference is not None
    with pytest.raises(ConfigError, match="asks for nothing in words"):
        of_list(examples[2:], Mixing("snr"), recordings, count=9, seed=0)


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
    system = IdentitySystem(IdentityConfig(gain=0.5, segment_s=SECONDS))
    answers = of_model(Separator(system))([item(), item("b", 800)])
    assert [len(answer) for answer in answers] == [1600, 800]
    torch.testing.assert_close(answers[0], torch.ones(1600) / 8)
    assert [query.text for query in system.encoded] == [("a dog",)]  # encoded once
