from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from toy_benchmark import CLIPS, SAMPLE_RATE, SOUNDS

from soundsieve import audio
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation import made
from soundsieve.evaluation.benchmarks import plain
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing, Mixture, mix
from soundsieve.evaluation.benchmarks.recordings import Recordings

EXAMPLES = [
    Example("a/b", "a tone", "a hum", "tone", "tone/0.wav", ("hum/0.wav",), like=("tone/1.wav",)),
    Example("ü", "a hum", target="hum/0.wav", interferers=("tone/0.wav", "whistle/1.wav")),
    Example("ready", "a whistle", mixture="whistle/0.wav"),
]
DRAWN = Mixing("snr", -15, 15, or_ready=True)
MIXINGS = {"ratios": DRAWN, "loudnesses": Mixing("lufs", -35, -25, or_ready=True)}


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    for path in CLIPS:
        (tmp_path / "audio" / path).parent.mkdir(parents=True, exist_ok=True)
        audio.encode(tmp_path / "audio" / path, SOUNDS[path].numpy(), SAMPLE_RATE)
    return Recordings(tmp_path / "audio", SAMPLE_RATE)


def make(
    examples: Iterable[tuple[int, Example]],
    mixing: Mixing,
    recordings: Recordings,
    folder: Path,
    seed: int = 0,
    **how: bool,
) -> list[tuple[str, str]]:
    def mixed_of(example: Example) -> Mixture:
        return mix(example, mixing, recordings, sample_rate=SAMPLE_RATE, seed=seed)

    making = made.make(examples, mixed_of, folder, sample_rate=SAMPLE_RATE, **how)
    return [(example.example_id, why) for example, why in making]


def write(recordings: Recordings, folder: Path, seed: int = 0) -> list[tuple[str, str]]:
    return make(enumerate(EXAMPLES), DRAWN, recordings, folder, seed)


def sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_mixtures_as_files_are_those_that_are_measured(recordings: Recordings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write(recordings, out) == [("a/b", ""), ("ü", ""), ("ready", "")]
    assert list(sums(out)) == [
        *(f"mixtures/0000{n}.wav" for n in range(3)),
        "mixtures.csv",
        "targets/00000.wav",
        "targets/00001.wav",
    ]
    listed = plain.read(out / "mixtures.csv")
    assert [example.example_id for example in listed] == ["a/b", "ü", "ready"]
    assert (listed[0].exclude, listed[0].label, listed[0].like) == ("a hum", "tone", ())
    snr_db = DRAWN.draw(EXAMPLES[0], 0)[0]
    assert listed[0].snr_db == pytest.approx(snr_db, abs=1e-3)
    mixture, rate = audio.decode(out / listed[0].mixture)
    target, _ = audio.decode(out / listed[0].reference)
    assert rate == SAMPLE_RATE
    ratio = (target.astype(float) ** 2).sum() / ((mixture - target).astype(float) ** 2).sum()
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=1e-3)
    assert listed[2].reference == ""
    assert made.check(out) == (5, [])


IN_ANOTHER_PROCESS = """
import torch
torch.set_num_threads(2)
from test_made import *
for name, mixing in MIXINGS.items():
    make(enumerate(EXAMPLES), mixing, Recordings("audio", SAMPLE_RATE), Path(name))
"""


def test_the_same_seed_gives_the_same_bytes_in_any_process(recordings: Recordings, tmp_path: Path) -> None:
    """Also where sums are added up by other instructions, in another order, as they are on another processor."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    other = {"PYTHONPATH": paths, "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, **other})
    for name, mixing in MIXINGS.items():
        make(enumerate(EXAMPLES), mixing, recordings, tmp_path / "here" / name)
        assert sums(tmp_path / "here" / name) == sums(tmp_path / name)


def test_another_seed_gives_other_mixtures(recordings: Recordings, tmp_path: Path) -> None:
    write(recordings, tmp_path / "one")
    write(recordings, tmp_path / "two", seed=1)
    one, two = sums(tmp_path / "one"), sums(tmp_path / "two")
    assert one.keys() == two.keys()
    assert one["mixtures/00000.wav"] != two["mixtures/00000.wav"]
    assert one["mixtures/00002.wav"] == two["mixtures/00002.wav"]  # it is ready-made


def test_a_change_is_found(recordings: Recordings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(recordings, out)
    (out / "targets" / "00001.wav").unlink()
    with (out / "mixtures" / "00000.wav").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    count, wrong = made.check(out)
    assert count == 5
    assert [line.removeprefix(str(out) + "/").split(" is ")[0] for line in wrong] == [
        "mixtures/00000.wav",
        "targets/00001.wav",
    ]
    with pytest.raises(ConfigError, match=r"cannot read .*mixtures\.csv"):
        made.check(tmp_path)


def test_ready_made_mixtures_past_full_scale_are_turned_down(tmp_path: Path) -> None:
    samples = SOUNDS["tone/0.wav"].numpy()
    audio.encode(tmp_path / "m.wav", 8 * samples, SAMPLE_RATE, subtype="FLOAT")
    audio.encode(tmp_path / "r.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    ready = Example("x", "a tone", mixture="m.wav", reference="r.wav")
    make([(0, ready)], Mixing("ready"), Recordings(tmp_path, SAMPLE_RATE), tmp_path / "out")
    mixture, target = (audio.decode(tmp_path / "out" / part / "00000.wav")[0] for part in ("mixtures", "targets"))
    assert np.abs(mixture).max() == pytest.approx(0.9, abs=1e-6)
    assert np.abs(mixture - 8 * target).max() < 1e-5


def test_equal_energies_are_never_minus_zero_apart(tmp_path: Path) -> None:
    tone = SOUNDS["tone/0.wav"]
    mixed = Mixture(2.000001 * tone, tone)
    list(made.make([(0, EXAMPLES[0])], lambda _: mixed, tmp_path, sample_rate=SAMPLE_RATE))
    with (tmp_path / "mixtures.csv").open(newline="") as file:
        assert [row["snr_db"] for row in csv.DictReader(file)] == ["0.0"]


def test_what_cannot_be_mixed(recordings: Recordings, tmp_path: Path) -> None:
    audio.encode(recordings.folder / "silent.wav", np.zeros((1, 100), np.float32), SAMPLE_RATE)
    silent = Example("quiet", "a tone", target="silent.wav", interferers=("hum/0.wav",))
    with pytest.raises(AudioError, match="quiet cannot be mixed: the target is silent; --allow-missing"):
        make([(0, silent)], DRAWN, recordings, tmp_path / "out")
    told = make([(0, silent), (1, EXAMPLES[0])], DRAWN, recordings, tmp_path / "out", leave_out=True)
    assert [why for _, why in told] == ["example quiet cannot be mixed: the target is silent", ""]
    with (tmp_path / "out" / "mixtures.csv").open(newline="") as file:
        assert [row["mixture"] for row in csv.DictReader(file)] == ["mixtures/00001.wav"]
    with pytest.raises(AudioError, match="none of the examples"):
        make([(0, silent)], DRAWN, recordings, tmp_path / "none", leave_out=True)
    assert not (tmp_path / "none").exists()
