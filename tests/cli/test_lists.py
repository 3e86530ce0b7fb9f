"""`evaluate` and `mixtures` on excerpts in the formats of published lists, over clips of this project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsieve import audio
from soundsieve.evaluation.rows import Kept, read_rows

Run = Callable[..., tuple[int, str, str]]

CLIPS = Path(__file__).parent.parent.parent / "benchmarks" / "clips"
CLAPSEP = (
    "source_file,positive_caption,noise_file,negative_caption\r\n"
    'dog.wav,"A dog barks, loudly",sub/rain.wav,Rain falls\r\n'
    "sub/rain.wav,Rain falls,dog.wav,A dog barks\r\n"
)


@pytest.fixture
def sounds(here: Path) -> Path:
    """A folder with 2 s of two of this project's clips, and a list that names them."""
    folder = here / "audio"
    for name, clip in {"dog.flac": "dog-bark/001-5-208030-a.ogg", "sub/rain.wav": "rain/002-5-181766-a.ogg"}.items():
        samples, rate = audio.decode(CLIPS / "esc10" / clip)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        audio.encode(folder / name, samples[:, : 2 * rate], rate)
    (here / "some_eval.csv").write_text(CLAPSEP)
    return folder


@pytest.fixture
def run(soundsieve: Run, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that takes no model."""
    from soundsieve.cli.main import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_clapsep(soundsieve: Run, sounds: Path) -> None:
    arguments = ("evaluate", "clapsep-audiocaps", "--list", "some_eval.csv", "--audio", sounds, "-o", "out/x.json")
    code, out, err = soundsieve(*arguments)
    assert (code, err) == (0, "")
    assert "| text+exclude | 2 |" in out
    assert "| CLAPSep, published |  | 10.08 | 9.40 |" in out
    found = rows("out/x.jsonl")
    conditions = ["mixture", "half the mixture", "ideal ratio mask", "text+exclude", "text", "exclude"]
    assert sorted({row["condition"] for row in found}) == sorted(conditions)
    assert len(found) == 12
    assert all(row["snr_db"] == pytest.approx(0, abs=1e-3) for row in found)
    assert {row["target"] for row in found} == {"dog.wav", "sub/rain.wav"}
    assert all("filtered_sdri" in row for row in found)
    summary = json.loads(Path("out/x.json").read_text())
    assert summary["run"]["mixing"] == "snr:0"
    assert summary["run"]["benchmark"] == "clapsep-audiocaps"
    assert (summary["run"]["examples"], summary["run"]["left_out"]) == (2, 0)
    assert summary["conditions"]["ideal ratio mask"]["si_sdri"]["mean"] > 5
    assert "| text | 2 |" in Path("out/x.md").read_text()


def test_dcase_and_its_ratios(soundsieve: Run, sounds: Path) -> None:
    Path("lass.csv").write_text("source,noise,snr,caption\ndog,sub/rain,-7,A dog barks.\nsub/rain,dog,15,It rains.\n")
    code, out, err = soundsieve(
        "evaluate", "dcase2024-validation", "--list", "lass.csv", "--audio", sounds, "-o", "d.json"
    )
    assert (code, err) == (0, "")
    assert "| baseline (AudioSep, 16 kHz), published |  | 5.71 | 5.67 | 3.86 |" in out
    assert {round(row["snr_db"], 3) for row in rows("d.jsonl")} == {-7, 15}
    assert json.loads(Path("d.json").read_text())["run"]["sample_rate"] == 16000


def test_audiosep_ready_made_or_mixed_anew(soundsieve: Run, run: Run, sounds: Path) -> None:
    Path("esc50_eval.csv").write_text("idx,caption,src_wav,noise_wav\n0,dog,dog.wav,sub/rain.wav\n")
    listed = ("--list", "esc50_eval.csv", "--audio", sounds)
    code, _, err = soundsieve("evaluate", "audiosep-esc50", *listed)
    assert code == 2
    assert err == (
        f"soundsieve: 2 recordings of the list are not in {sounds}, which 1 of 1 examples need: mixture-0.wav, "
        "segment-0.wav\n"
    )
    code, out, err = run("mixtures", "make", "audiosep-esc50", *listed, "--mix", "snr:0", "-o", "made")
    assert (code, out, err) == (0, "made: 1 mixtures, snr:0, 32000 Hz\n", "")
    Path("made/mixtures/00000.wav").rename(sounds / "mixture-0.wav")
    Path("made/targets/00000.wav").rename(sounds / "segment-0.wav")
    code, out, err = soundsieve("evaluate", "audiosep-esc50", *listed, "-o", "ready.json")
    assert (code, err) == (0, "")
    assert rows("ready.jsonl")[0]["snr_db"] == pytest.approx(0, abs=1e-3)
    assert soundsieve("evaluate", "audiosep-esc50", *listed, "--mix", "snr:3", "-o", "anew.json")[0] == 0
    assert rows("anew.jsonl")[0]["snr_db"] == pytest.approx(3, abs=1e-3)


def test_an_interrupted_run_goes_on(soundsieve: Run, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (
        "evaluate",
        "clapsep-audiocaps",
        "--list",
        "some_eval.csv",
        "--audio",
        sounds,
        "--metrics",
        "sdr",
        "-o",
    )
    assert soundsieve(*arguments, "whole.json")[0] == 0
    append = Kept.append

    def interrupted(kept: Kept, row: dict[str, Any]) -> None:
        if len(kept.rows) == 8:
            raise KeyboardInterrupt
        append(kept, row)

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "append", interrupted)
        assert soundsieve(*arguments, "cut.json")[0] == 130
    assert len(read_rows("cut.jsonl.part")) == 8
    code, _, err = soundsieve(*arguments, "cut.json")
    assert (code, err) == (0, "going on after 8 answers that were measured before\n")
    timeless = [[row | {"seconds": None} for row in rows(f"{name}.jsonl")] for name in ("cut", "whole")]
    assert sorted(timeless[0], key=str) == sorted(timeless[1], key=str)
    assert not Path("cut.jsonl.part").exists()


def test_voicebank_has_no_list(soundsieve: Run, sounds: Path) -> None:
    samples, rate = audio.decode(sounds / "dog.flac")
    for folder, level in (("noisy", 1.0), ("clean", 0.5)):
        (sounds / folder).mkdir()
        audio.encode(sounds / folder / "p1.wav", level * samples, rate)
    arguments = ("evaluate", "voicebank-demand", "--audio", sounds, "--metrics", "ssnr", "-o", "v.json")
    assert soundsieve(*arguments)[0] == 0
    (row,) = (row for row in rows("v.jsonl") if row["condition"] == "text")
    assert (row["query"], row["example"]) == ("speech", "p1")
    assert "ssnr" in row
    code, _, err = soundsieve(*arguments, "--list", "some_eval.csv")
    assert (code, err) == (2, "soundsieve: voicebank-demand has no list: leave --list out\n")


def test_the_embedded_model_gains_on_a_list(soundsieve: Run, sounds: Path) -> None:
    arguments = ("evaluate", "clapsep-audiocaps", "--list", "some_eval.csv", "--audio", sounds, "--model", "starter")
    code, _, _ = soundsieve(*arguments, "--conditions", "text", "--metrics", "si_sdr", "-o", "starter.json")
    assert code == 0
    gains = [row["si_sdri"] for row in rows("starter.jsonl") if row["condition"] == "text"]
    assert np.mean(gains) > 2


def test_missing_recordings(soundsieve: Run, run: Run, sounds: Path) -> None:
    text = CLAPSEP + "".join(f"gone{n}.wav,a cat,dog.wav,a dog\r\n" for n in range(12))
    Path("some_eval.csv").write_text(text)
    listed = ("clapsep-audiocaps", "--list", "some_eval.csv", "--audio", sounds)
    told = (
        f"soundsieve: 12 recordings of the list are not in {sounds}, which 12 of 14 examples need: gone0.wav, "
        "gone1.wav, gone2.wav, gone3.wav, gone4.wav, gone5.wav, gone6.wav, gone7.wav, gone8.wav, gone9.wav, ...; "
        "--allow-missing goes on without them\n"
    )
    assert soundsieve("evaluate", *listed, "-o", "x.json") == (2, "", told)
    assert run("mixtures", "make", *listed, "-o", "made", "--missing", "gone.txt") == (2, "", told)
    assert Path("gone.txt").read_text().split() == [f"gone{n}.wav" for n in range(12)]
    assert not Path("x.jsonl").exists()
    assert not Path("made").exists()

    how = ("--allow-missing", "--missing", "gone-too.txt", "--metrics", "sdr", "-o", "x.json")
    code, out, err = soundsieve("evaluate", *listed, *how)
    assert Path("gone-too.txt").read_text() == Path("gone.txt").read_text()
    assert (code, err) == (0, "")
    assert "left out 12 of 14 examples: 12 for want of 12 recordings, 0 that cannot be mixed" in out
    summary = json.loads(Path("x.json").read_text())
    assert (summary["run"]["examples"], summary["run"]["left_out"]) == (14, 12)
    assert summary["missing"] == [f"gone{n}.wav" for n in range(10)]
    code, out, _ = run("mixtures", "make", *listed, "--allow-missing", "-o", "made")
    assert (code, out) == (0, "made: 2 mixtures, snr:0, 32000 Hz; left out 12 of 14 (12 recordings missing)\n")


def test_what_cannot_be_mixed(soundsieve: Run, run: Run, sounds: Path) -> None:
    audio.encode(sounds / "dog.flac", np.zeros((1, 100), np.float32), 16000)
    listed = ("clapsep-audiocaps", "--list", "some_eval.csv", "--audio", sounds)
    code, _, err = soundsieve("evaluate", *listed)
    assert code == 2
    assert err == (
        "soundsieve: example 0 cannot be mixed: the target is silent; --allow-missing measures the rest without it\n"
    )
    audio.encode(sounds / "hum.wav", 0.1 * np.sin(np.arange(32000, dtype=np.float32)[None] / 9), 16000)
    Path("some_eval.csv").write_text(CLAPSEP + "sub/rain.wav,rain,hum.wav,a hum\n")
    code, out, _ = soundsieve("evaluate", *listed, "--allow-missing", "--metrics", "sdr")
    assert code == 0
    assert "left out 2 of 3 examples: 0 for want of 0 recordings, 2 that cannot be mixed" in out
    code, out, err = run("mixtures", "make", *listed, "--allow-missing", "-o", "made")
    assert code == 0
    assert err.splitlines()[0] == "soundsieve: example 0 cannot be mixed: the target is silent"
    assert out == "made: 1 mixtures, snr:0, 32000 Hz; left out 2 of 3 (0 recordings missing)\n"
    assert Path("made/mixtures/00002.wav").exists()


def test_mixtures_are_made_checked_and_measured(soundsieve: Run, run: Run, sounds: Path) -> None:
    listed = ("clapsep-audiocaps", "--list", "some_eval.csv", "--audio", sounds, "--mix", "lufs:-35:-25", "--seed", 4)
    assert run("mixtures", "make", *listed, "-o", "one")[0] == 0
    assert run("mixtures", "make", *listed, "-o", "two")[0] == 0
    for path in (path for path in Path("one").rglob("*") if path.is_file()):
        assert path.read_bytes() == Path("two", *path.parts[1:]).read_bytes()
    code, _, err = run("mixtures", "make", *listed, "-o", "one")
    assert (code, err) == (2, "soundsieve: one holds mixtures: replace them (--force), or name another folder\n")
    assert run("mixtures", "make", *listed, "-o", "one", "--force")[0] == 0
    assert run("mixtures", "check", "one") == (0, "one: 4 of 4 files are what the list says\n", "")

    how = ("--conditions", "text", "--metrics", "si_sdr")
    made = ("list", "--list", "one/mixtures.csv", "--audio", "one")
    assert soundsieve("evaluate", *made, *how, "-o", "m.json")[0] == 0
    assert soundsieve("evaluate", *listed, *how, "-o", "l.json")[0] == 0
    for of_files, of_list in zip(rows("m.jsonl"), rows("l.jsonl"), strict=True):
        assert of_files["condition"] == of_list["condition"]
        assert of_files["si_sdr"] == pytest.approx(of_list["si_sdr"], abs=0.01)

    Path("one/targets/00001.wav").unlink()
    code, out, err = run("mixtures", "check", "one")
    assert (code, out) == (1, "one: 3 of 4 files are what the list says\n")
    assert err == "soundsieve: one/targets/00001.wav is missing\n"
    assert run("mixtures", "check", sounds)[0] == 2


ESC50 = ("clapsep-esc50", "--audio", "audio", "--list", "some_eval.csv")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nothing",), "there is no benchmark 'nothing'; there are clapsep-audiocaps"),
        (("clapsep-esc50",), "clapsep-esc50 needs its recordings: give their folder (--audio); they come"),
        (("clapsep-esc50", "--audio", "audio"), "clapsep-esc50 needs its list (--list): https://github.com/"),
        (("clapsep-esc50", "--audio", "nowhere", "--list", "some_eval.csv"), "there is no folder nowhere"),
        (("clapsep-esc50", "--audio", "audio", "--list", "no.csv"), "cannot read no.csv"),
        (("audiosep-clotho", "--audio", "audio", "--list", "some_eval.csv"), "lacks the columns idx, caption, src_wav"),
        ((*ESC50, "--mix", "loud"), "there is no mixing 'loud'"),
        ((*ESC50, "--mix", "ready"), "no ready-made mixture"),
        ((*ESC50, "--conditions", "absent"), "no condition 'absent'"),
        ((*ESC50, "--conditions", "example"), "nothing can be asked"),
        (("corpus", "--audio", "audio"), "corpus has its own list and clips"),
        (("clapsep-esc50", "--make-pairs"), "--make-pairs draws the list of corpus"),
        ((*ESC50, "--unseen", "labels.txt"), "--unseen and --examples-from are for corpus"),
        (("corpus",), "there is no benchmarks/clips/clips.csv here: the test clips are part of the project"),
    ],
)
def test_mistakes_are_named(soundsieve: Run, sounds: Path, arguments: tuple[str, ...], complaint: str) -> None:
    code, out, err = soundsieve("evaluate", *arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_the_mixtures_of_the_project_are_written_and_measure_the_same(soundsieve: Run, run: Run) -> None:
    lists = ("--list", CLIPS.parent / "pairs.csv", "--audio", CLIPS)
    code, out, err = run("mixtures", "make", "corpus", *lists, "--limit", 2, "-o", "own")
    assert (code, out, err) == (0, "own: 4 mixtures, 0 dB, 32000 Hz\n", "")
    assert run("mixtures", "check", "own")[1] == "own: 8 of 8 files are what the list says\n"
    assert Path("own/mixtures/00000.wav").read_bytes() == Path("own/mixtures/00001.wav").read_bytes()
    how = ("--conditions", "text", "--metrics", "sdr")
    assert soundsieve("evaluate", "list", "--list", "own/mixtures.csv", "--audio", "own", *how, "-o", "f.json")[0] == 0
    places = ("--pairs", CLIPS.parent / "pairs.csv", "--clips", CLIPS / "clips.csv", "--limit", 2)
    assert soundsieve("evaluate", "corpus", *places, *how, "-o", "c.json")[0] == 0
    of_files = {row["example"]: row["sdr"] for row in rows("f.jsonl") if row["condition"] == "ideal ratio mask"}
    of_pairs = {
        f"{row['pair']}-{row['direction']}": row["sdr"]
        for row in rows("c.jsonl")
        if row["condition"] == "ideal ratio mask"
    }
    assert of_files == pytest.approx(of_pairs, abs=0.01)
    code, _, err = run("mixtures", "make", "corpus", *lists, "--mix", "snr:3", "-o", "other")
    assert (code, err.count("\n")) == (2, 1)
    assert "corpus is whole, and mixed in one way" in err
