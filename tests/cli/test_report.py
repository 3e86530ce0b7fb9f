"""`report` on rows of the embedded model about bundled clips, and what it refuses."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from page_checks import Page

from soundsieve.cli.main import main
from soundsieve.evaluation.rows import read_rows, write_rows
from soundsieve.weights.catalog import CATALOG

Run = Callable[..., tuple[int, str, str]]

pytest.importorskip("matplotlib")

LISTS = Path(__file__).parent.parent.parent / "benchmarks"
WAYS = "text,text at +5 dB,example,examples,absent"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of the embedded model about a few mixtures of bundled clips, and their summary."""
    if not CATALOG["starter"].at_hand:
        pytest.skip("the embedded model is not in this checkout")
    folder = tmp_path_factory.mktemp("measured")
    lists = ("--clips", LISTS / "clips" / "clips.csv", "--pairs", LISTS / "pairs.csv")
    ways = ("--conditions", WAYS, "--metrics", "sdr,si_sdr", "--limit", 4)
    assert run("evaluate", *lists, *ways, "-o", folder / "few.json") == 0
    return folder / "few.jsonl"


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory like a checkout, with a log of a training run."""
    monkeypatch.chdir(tmp_path)
    Path("benchmarks").symlink_to(LISTS)
    Path("log.csv").write_text("step,loss\n1,2.0\n2,1.0\n")
    return tmp_path


def test_real_rows_make_a_page_with_examples(
    measured: Path, benchmarks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", "starter", "--examples", 1, "--curve", "log.csv")
    assert run("report", measured, "-o", "page.html", *options) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "page.html"
    page = Page(Path("page.html").read_text("utf-8"))
    assert {"violins0", "levels", "shots", "lengths", "labels0", "absent-presence", "training0"} <= set(
        page.values("id")
    )
    assert {"example0", "example1", "example2"} <= set(page.values("id"))
    assert "example3" not in page.values("id")
    assert page.values("src")[0].startswith("data:audio/flac;base64,")
    assert len(page.values("src")) == 9  # mixture, answer and target of three
    captions = page.text("figcaption")
    assert [captions.count(place) for place in ("best: ", "median: ", "worst: ")] == [1, 1, 1]
    assert "Map of sounds, few: no judge" in page.text("li")


def test_a_model_that_is_not_the_run_s_is_refused(
    measured: Path, benchmarks: Path, identity_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", measured, "-o", "page.html", "--model", identity_file) == 2
    assert "the model (--model) or the lists are not those of the run" in capsys.readouterr().err
    assert not Path("page.html").exists()


def test_rows_of_other_mixtures_are_refused(
    measured: Path, benchmarks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = [row | {"pair": 10**6 + row["pair"]} for row in read_rows(measured)]
    write_rows("moved.jsonl", moved)
    assert run("report", "moved.jsonl", "-o", "page.html", "--model", "starter") == 2
    assert "cannot be asked again by text" in capsys.readouterr().err


def test_examples_of_a_list(soundsieve: Run, clips: Path) -> None:
    Path("audio").mkdir()
    for name in ("dog.wav", "sheep.flac", "knock.ogg"):
        shutil.copy(clips / name, Path("audio") / name)
    names = ["dog.wav", "sheep.flac", "knock.ogg", "dog.wav"]
    lines = [f"{one} and {other},{one},{other},{one}" for one, other in itertools.pairwise(names)]
    Path("list.csv").write_text("\n".join(["example_id,text,interferers,target", *lines]))
    about = ("--list", "list.csv", "--audio", "audio", "--mix", "snr:0")
    assert soundsieve("evaluate", "list", *about, "-o", "some.json")[0] == 0
    assert json.loads(Path("some.json").read_text())["run"]["benchmark"] == "list"
    code, out, err = soundsieve("report", "some.jsonl", *about, "--examples", 1, "-o", "page.html")
    assert (code, out, err) == (0, "page.html\n", "")
    page = Page(Path("page.html").read_text("utf-8"))
    told = dict(re.findall(r"(?:best|median|worst): (\S+) \(SDRi (\S+) dB\)", page.text("figcaption")))
    rows = {row["query"]: row["sdri"] for row in read_rows("some.jsonl") if row["query"]}
    assert told == {query: f"{gain:.1f}" for query, gain in rows.items()}
    assert set(told) == set(names)
    code, _, err = soundsieve("report", "some.jsonl", "-o", "page.html")
    assert code == 2
    assert "give their folder (--audio)" in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("some.jsonl", "-o", "page.pdf"), "ends in .html"),
        (("none.jsonl", "-o", "page.html"), "cannot read none.jsonl"),
        (("some.jsonl", "-o", "page.html", "--metric", "pesq"), "no metric 'pesq'"),
        (("some.jsonl", "-o", "page.html", "--curve", "some.jsonl"), "no log of a training run"),
    ],
)
def test_what_cannot_be_made_is_told(
    arguments: tuple[str, ...],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows("some.jsonl", [{"pair": 0, "direction": 0, "condition": "text", "sdri": 1.0}])
    assert run("report", *arguments) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["some.jsonl"]
