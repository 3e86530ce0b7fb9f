"""`listen make` and `listen score`, from answers to a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from page_checks import Page

from soundsieve import audio
from soundsieve.cli.main import main
from soundsieve.evaluation.listening.score import RATINGS_FORMAT

CLIPS = Path(__file__).parent.parent.parent / "benchmarks" / "clips"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture
def listed(here: Path, make_model: Callable[..., Path]) -> list[object]:
    """A list of two mixtures of bundled clips, a folder with answers about them, and the options that name both."""
    samples, rate = audio.decode(CLIPS / "esc10" / "dog-bark" / "001-5-208030-a.ogg")
    for name, gain in (("dog.wav", 1.0), ("rain.wav", 0.5), ("../answers/one.wav", 0.1), ("../answers/two.ogg", 0.3)):
        path = here / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.encode(path, gain * samples[:, : 2 * rate], rate)
    (here / "list.csv").write_text(
        "example_id,text,target,interferers\none,a dog,dog.wav,rain.wav\ntwo,rain,rain.wav,dog.wav\n"
    )
    systems = ["--system", f"asked={make_model(gain=0.25)}", "--system", "folder=answers"]
    return ["listen", "make", "list", "--list", "list.csv", "--audio", "audio", "--mix", "snr:0", *systems]


def rate(key: Path, rater: str) -> Path:
    """A file of ratings by somebody who hears which system it is."""
    secret = json.loads(key.read_text())
    values = {"asked": 4, "folder": 2, "reference": 5, "mixture": 1}
    rated = {token: dict.fromkeys(("rel", "ovl"), values[one["system"]]) for token, one in secret["stimuli"].items()}
    path = Path(f"ratings-{rater}.json")
    path.write_text(json.dumps({"format": RATINGS_FORMAT, "test": secret["test"], "rater": rater, "ratings": rated}))
    return path


def test_a_test_is_made_and_scored(listed: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*listed, "--reference", "--mixture", "-o", "page/listen.html") == 0
    assert capsys.readouterr().out.splitlines() == [
        "page/listen.html: 2 mixtures, 8 sounds to rate",
        "page/listen.key.json: which is whose; keep it from the raters",
    ]
    Page(Path("page/listen.html").read_text("utf-8"))
    key = Path("page/listen.key.json")
    files = [rate(key, "ann"), rate(key, "ben")]
    assert run("listen", "score", *files, "--key", key, "-o", "scores.json") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "system REL OVL raters items",
        "reference 5.00 (5.00 to 5.00) 5.00 (5.00 to 5.00) 2 2",
        "asked 4.00 (4.00 to 4.00) 4.00 (4.00 to 4.00) 2 2",
        "folder 2.00 (2.00 to 2.00) 2.00 (2.00 to 2.00) 2 2",
        "mixture 1.00 (1.00 to 1.00) 1.00 (1.00 to 1.00) 2 2",
    ]
    written = json.loads(Path("scores.json").read_text())
    assert (written["test"], len(written["scores"])) == (json.loads(key.read_text())["test"], 8)


def test_a_test_is_not_replaced_by_mistake(listed: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*listed, "-o", "listen.html", "--key", "secret/key.json") == 0
    first = Path("secret/key.json").read_text()
    assert run(*listed, "-o", "listen.html", "--key", "secret/key.json") == 2
    assert "ratings may be of it" in capsys.readouterr().err
    assert run(*listed, "-o", "listen.html", "--key", "secret/key.json", "--force") == 0
    assert Path("secret/key.json").read_text() != first


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--system", "x"), "'x' names no system: write NAME=WHERE"),
        (("--system", "folder=answers"), "two systems are called 'folder'"),
        (("--system", "x=nowhere"), "nowhere"),
        (("--system", "x=audio"), "lacks 2 of 2 answers, such as NAME.wav"),
        (("-o", "listen.pdf"), "ends in .html"),
    ],
)
def test_what_cannot_be_made_is_told(
    more: tuple[str, ...], problem: str, listed: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*listed, "-o", "listen.html", *more) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert len(said.splitlines()) == 1
    assert not list(Path.cwd().glob("listen*"))


def test_the_corpus_needs_no_list(
    here: Path, make_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("benchmarks").symlink_to(CLIPS.parent)
    model = ("listen", "make", "--system", f"quarter={make_model(gain=0.25)}", "--mixture", "-n", "2")
    assert run(*model, "-o", "listen.html") == 0
    assert "2 mixtures, 4 sounds to rate" in capsys.readouterr().out
    key = json.loads(Path("listen.key.json").read_text())
    captions = CLIPS.joinpath("clips.csv").read_text("utf-8")
    for one in key["stimuli"].values():
        assert one["query"] in captions
        assert one["item"].count("-") == 1
    assert key["about"]["benchmark"] == "corpus"
    assert run(*model, "-o", "other.html", "--mix", "snr:0") == 2
    assert "--mix is for others" in capsys.readouterr().err


def test_scores_are_json(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert run("listen", "score", "a.json", "--key", "k.json", "-o", "scores.csv") == 2
    assert "ends in .json" in capsys.readouterr().err
    assert run("listen", "score", "a.json", "--key", "k.json") == 2
    assert "cannot read k.json" in capsys.readouterr().err
