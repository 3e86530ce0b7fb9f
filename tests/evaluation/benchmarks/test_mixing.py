from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from soundsieve import audio
from soundsieve.dsp.loudness import loudness_lufs
from soundsieve.dsp.mixing import energy_db
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.benchmarks import mixing as mixing_module
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing, Mixture, mix, parse
from soundsieve.evaluation.benchmarks.recordings import Recordings, tell_missing
from soundsieve.evaluation.benchmarks.registry import AT_0_DB, DRAWN_SNR, ROW_SNR

RATE = 8000
PAIR = Example("x", "a dog", target="a", interferers=("b",))


def noise(seconds: float, level: float, seed: int) -> Tensor:
    return level * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


SOUNDS = {
    "a": noise(2.0, 0.02, 1),
    "b": noise(1.5, 0.01, 2),
    "c": noise(3.0, 0.2, 3),
    "loud": noise(2.0, 0.5, 4),
    "silent": torch.zeros(2 * RATE),
}


def made(example: Example = PAIR, mixing: Mixing | None = None, seed: int = 0) -> Mixture:
    return mix(example, mixing or Mixing("snr"), SOUNDS.__getitem__, sample_rate=RATE, seed=seed)


@pytest.mark.parametrize("snr_db", [0.0, -15.0, 7.5])
def test_what_was_asked_for_is_what_the_mixture_measures(snr_db: float) -> None:
    mixed = made(mixing=Mixing("snr", snr_db, snr_db))
    assert mixed.snr_db == pytest.approx(snr_db, abs=1e-4)
    assert mixed.reference is not None
    assert torch.equal(mixed.reference, SOUNDS["a"])  # the target stays as it is
    assert len(mixed.mixture) == 2 * RATE


def test_the_ratio_of_a_row_goes_before_the_rule() -> None:
    row = Example("x", "a dog", target="a", interferers=("b",), snr_db=-12.0)
    assert made(row, ROW_SNR).snr_db == pytest.approx(-12, abs=1e-4)
    assert made(row, parse("snr:3", ROW_SNR)).snr_db == pytest.approx(3, abs=1e-4)  # but not before what a user says
    assert ROW_SNR.describe() == "snr:0 where the list gives none"
    assert made(mixing=ROW_SNR).snr_db == pytest.approx(0, abs=1e-4)


def test_clapsep_by_hand() -> None:
    """Its rule written out: 10 s of each with zeros behind, equal energies, 0.9 where the sum passes 1."""
    loud = Example("x", "a dog", target="loud", interferers=("c",))
    target, other = (np.pad(SOUNDS[name].numpy(), (0, 10 * RATE - len(SOUNDS[name]))) for name in ("loud", "c"))
    other = other * math.sqrt((target.astype(float) ** 2).sum() / (other.astype(float) ** 2).sum())
    peak = np.abs(target + other).max()
    assert peak > 1
    mixed = made(loud, AT_0_DB)
    assert mixed.reference is not None
    assert np.abs(mixed.mixture.numpy() - (target + other) * 0.9 / peak).max() < 1e-5
    assert np.abs(mixed.reference.numpy() - target * 0.9 / peak).max() < 1e-5
    assert float(mixed.mixture.abs().max()) == pytest.approx(0.9)
    assert mixed.snr_db == pytest.approx(0, abs=1e-4)


def test_several_interferers_are_equal_before_they_are_one() -> None:
    three = Example("x", "a dog", target="a", interferers=("b", "c"))
    mixed = made(three)
    assert mixed.snr_db == pytest.approx(0, abs=1e-4)
    assert mixed.interferer is not None
    b = torch.nn.functional.pad(SOUNDS["b"], (0, RATE // 2))
    c = SOUNDS["c"][: 2 * RATE]
    both = b * (c.norm() / b.norm()) + c
    assert torch.cosine_similarity(mixed.interferer, both, dim=0) == pytest.approx(1, abs=1e-6)


def test_loudness_is_drawn_for_each() -> None:
    mixing = Mixing("lufs", -35, -25)
    mixed = made(mixing=mixing, seed=3)
    wanted = mixing.draw(PAIR, 3, 2)
    assert len(set(wanted)) == 2
    assert mixed.reference is not None
    assert mixed.interferer is not None
    assert loudness_lufs(mixed.reference, RATE) == pytest.approx(wanted[0], abs=1e-3)
    assert loudness_lufs(mixed.interferer, RATE) == pytest.approx(wanted[1], abs=0.01)


def test_draws_depend_on_seed_and_name_alone() -> None:
    """The numbers themselves are part of the list: another draw would be another benchmark."""
    assert Mixing("snr", -15, 15).draw(PAIR, 0) == [12.006]
    assert Mixing("snr", -15, 15).draw(PAIR, 1) != [12.006]
    assert Mixing("snr", -15, 15).draw(Example("y", "a dog", mixture="m"), 0) != [12.006]
    drawn = [DRAWN_SNR.draw(Example(str(n), "a dog", mixture="m"), 0)[0] for n in range(500)]
    assert set(drawn) == {float(n) for n in range(-15, 15)}


@pytest.mark.parametrize("mixing", [Mixing("snr", -15, 15), Mixing("lufs", -35, -25)])
def test_the_last_digits_of_a_sum_do_not_reach_the_samples(mixing: Mixing, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [Example(str(n), "a dog", target="a", interferers=("b",)) for n in range(30)]
    before = [made(example, mixing).mixture for example in examples]
    errors = itertools.cycle([1e-7, -1e-7])
    monkeypatch.setattr(mixing_module, "energy_db", lambda x: energy_db(x) + next(errors))
    monkeypatch.setattr(mixing_module, "loudness_lufs", lambda x, rate: loudness_lufs(x, rate) + 1e-7)
    assert all(torch.equal(made(example, mixing).mixture, was) for example, was in zip(examples, before, strict=True))


def test_a_piece_starts_where_the_list_says() -> None:
    later = Example("x", "a dog", target="a", interferers=("c",), start_s=0.5)
    mixed = made(later, Mixing("snr", segment_s=1.0))
    assert mixed.reference is not None
    assert torch.equal(mixed.reference, SOUNDS["a"][RATE // 2 : RATE * 3 // 2])
    with pytest.raises(AudioError, match=r"example x cannot be mixed: it starts at 2.5 s, and a recording has 2.00 s"):
        made(Example("x", "a dog", target="a", interferers=("c",), start_s=2.5))


def test_ready_made_mixtures_stay_as_they_are() -> None:
    ready = Example("x", "a dog", mixture="loud", reference="a")
    mixed = made(ready, Mixing("ready"))
    assert torch.equal(mixed.mixture, SOUNDS["loud"])
    assert mixed.interferer is not None
    assert mixed.snr_db == pytest.approx(float(energy_db(SOUNDS["a"]) - energy_db(SOUNDS["loud"] - SOUNDS["a"])))
    hidden = made(Example("x", "a dog", mixture="loud"), Mixing("ready"))
    assert (hidden.reference, hidden.interferer, hidden.snr_db) == (None, None, None)


@pytest.mark.parametrize(
    ("example", "mixing", "complaint"),
    [
        (Example("x", "a", target="silent", interferers=("b",)), Mixing("snr"), "the target is silent"),
        (Example("x", "a", target="a", interferers=("silent",)), Mixing("snr"), "the interferer is silent"),
        (Example("x", "a", target="a", interferers=("b", "silent")), Mixing("snr"), "an interferer is silent"),
        (Example("x", "a", target="a", interferers=("silent",)), Mixing("lufs", -30, -30), "too quiet"),
        (Example("x", "a", target="a", interferers=("b", "a")), Mixing("snr"), "are the same recording"),
        (Example("x", "a", mixture="a", reference="a"), Mixing("ready"), "its target and nothing else"),
        (Example("x", "a", mixture="silent", reference="a"), Mixing("ready"), "the mixture is silent"),
        (Example("x", "a", mixture="a", reference="silent"), Mixing("ready"), "the target is silent"),
        (Example("x", "a", mixture="a", reference="c"), Mixing("ready"), "16000 samples and the target in it 24000"),
    ],
)
def test_what_cannot_be_mixed_is_named(example: Example, mixing: Mixing, complaint: str) -> None:
    with pytest.raises(AudioError, match=f"example x cannot be mixed: .*{complaint}"):
        made(example, mixing)


def test_what_the_list_does_not_name_is_said() -> None:
    with pytest.raises(ConfigError, match="no ready-made mixture"):
        made(PAIR, Mixing("ready"))
    with pytest.raises(ConfigError, match="a ready-made mixture alone: it needs --mix ready"):
        made(Example("x", "a dog", mixture="a"), Mixing("snr"))


@pytest.mark.parametrize("text", ["ready", "snr:0", "snr:-15:15", "snr:2.5", "lufs:-35:-25", "lufs:-30"])
def test_mixings_in_words(text: str) -> None:
    mixing = parse(text, AT_0_DB)
    assert mixing.describe() == text
    assert mixing.segment_s == 10.0


@pytest.mark.parametrize("text", ["", "snr", "ready:1", "snr:loud", "snr:1:2:3", "peak:0", "lufs"])
def test_mixings_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="write ready, snr:0, snr:-15:15 or lufs:-35:-25"):
        parse(text, AT_0_DB)
    with pytest.raises(ConfigError, match="from its lowest to its highest value"):
        parse("snr:3:-3", AT_0_DB)


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    stereo = np.stack([np.full(800, 0.5), np.full(800, 0.25)]).astype(np.float32)
    audio.encode(tmp_path / "sub" / "a.b.flac", stereo, RATE)
    recordings = Recordings(tmp_path, RATE)
    assert recordings.find("sub/a.b.wav") == tmp_path / "sub" / "a.b.flac"
    assert torch.equal(recordings("sub/a.b.wav"), torch.full((800,), 0.375))
    assert len(Recordings(tmp_path, 2 * RATE)("sub/a.b.flac")) == 1600
    assert recordings.missing(["sub/a.b.wav", "c.wav", "d.wav", "c.wav"]) == ["c.wav", "d.wav"]
    with pytest.raises(AudioError, match=r"c\.wav is missing"):
        recordings("c.wav")
    with pytest.raises(ConfigError, match="no folder"):
        Recordings(tmp_path / "nowhere", RATE)


def test_missing_recordings_are_told_in_one_line() -> None:
    names = [f"{n}.wav" for n in range(12)]
    assert tell_missing(names, Path("audio"), left_out=20, examples=60) == (
        "12 recordings of the list are not in audio, which 20 of 60 examples need: 0.wav, 1.wav, 2.wav, 3.wav, 4.wav, "
        "5.wav, 6.wav, 7.wav, 8.wav, 9.wav, ..."
    )
    told = tell_missing(names[:1], Path("audio"), left_out=1, examples=60)
    assert told == "1 recording of the list is not in audio, which 1 of 60 examples need: 0.wav"
