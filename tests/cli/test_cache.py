from __future__ import annotations

import io
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from fake_endpoint import captions, fails, serving
from language_model import save_tiny_model

from soundsieve.cli.main import main
from soundsieve.training.captions.search import has_faiss
from soundsieve.weights.catalog import CATALOG

Run = Callable[..., tuple[int, str, str]]
KEY = "sk-very-secret-0123456789"
CAPTIONS = ["A dog barks", "Rain falls", "A man talks", "a dog barks.", "A bell rings", "Wind blows"]


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``soundsieve cache``: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["cache", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def lines(here: Path) -> Path:
    path = here / "captions.txt"
    path.write_text("\n".join(CAPTIONS) + "\n")
    return path


def test_build_query_info(run: Run, lines: Path) -> None:
    code, out, err = run("build", lines, "-o", "cache/", "--encoder", "debug")
    assert (code, out) == (0, "cache: 5 captions; 1 repeated left out\n")
    assert "embedding captions: 5 of 5" in err
    code, out, _ = run("query", "rain falls", "-k", 2, "--encoder", "debug")
    assert code == 0
    assert len(out.splitlines()) == 2
    score, text = out.splitlines()[0].split("\t")
    assert text == "Rain falls"
    assert float(score) >= 0.99
    code, out, _ = run("info", "--verify")
    assert code == 0
    assert "captions  5\n" in out
    assert "left out  1 repeated, 0 unreadable\n" in out
    assert "encoder   debug, sha256 " in out
    assert "search    none: matrix product, exact\n" in out
    assert out.endswith("checksums agree\n")


def test_a_recording_retrieves(run: Run, lines: Path, recording: Callable[..., Path]) -> None:
    run("build", lines, "--encoder", "debug")
    code, out, _ = run("query", "--audio", recording("bark.wav"), "-k", 99, "--encoder", "debug")
    assert code == 0
    assert len(out.splitlines()) == 5


def test_the_embedded_model_knows_a_dog(run: Run, here: Path) -> None:
    if not CATALOG["starter"].at_hand:
        pytest.skip("the embedded model is not in this checkout")
    demo = Path(sys.modules["soundsieve"].__file__ or "").parent / "embedded" / "demo"
    (here / "captions.txt").write_text("A dog is barking\nRain is falling\nA piano is played\nA man speaks\n")
    assert run("build", "captions.txt")[0] == 0
    assert run("query", "puppy", "-k", 1)[1].endswith("\tA dog is barking\n")
    assert run("query", "--audio", demo / "dog.flac", "-k", 1)[1].endswith("\tA dog is barking\n")
    assert run("query", "--audio", demo / "rain.flac", "-k", 1)[1].endswith("\tRain is falling\n")


@pytest.mark.skipif(not has_faiss(), reason="faiss is not installed (extra 'cache')")
@pytest.mark.parametrize("index", ["flat", "ivf"])
def test_an_index_answers_as_the_product_does(run: Run, lines: Path, index: str) -> None:
    run("build", lines, "--encoder", "debug")
    run("build", lines, "--encoder", "debug", "-o", "other", "--index", index)
    assert index in run("info", "other")[1]
    asked = ("query", "a dog", "-k", 5, "--encoder", "debug")
    assert run(*asked)[1] == run(*asked, "--cache", "other")[1]


def test_captions_come_through_a_pipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("a dog\na kötter\n".encode())))
    code, out, _ = run("build", "-", "--encoder", "debug")
    assert (code, out) == (0, "cache: 2 captions\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a dog\n\xff\n")))
    assert run("build", "-", "-o", "other", "--encoder", "debug")[2] == (
        "soundsieve: standard input is not UTF-8 text: see line 2\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("build", "nothing.txt"), "cannot read nothing.txt: No such file or directory"),
        (("build", "empty.txt"), "there is no caption in empty.txt"),
        (("build", "latin.txt"), "latin.txt is not UTF-8 text: see line 2"),
        (("build", "captions.txt", "-o", "full"), "holds something else: name a folder that is empty or not there yet"),
        (("build", "captions.txt", "--index", "tree"), "an index is none, flat, ivf, not 'tree'"),
        (("build", "captions.txt", "--batch", "0"), "batch_size is at least 1, not 0"),
        (("build", "captions.txt", "--encoder", "nothing.pt"), "no weights at nothing.pt"),
        (("build", "captions.txt", "-o", "d" * 300), "File name too long"),
        (("query", "dog", "-c", "d" * 300), "there is no caption cache at ddd"),
        (("write-captions", "-o", "d" * 300, "--grammar"), "File name too long"),
        (("query", "--audio", "silent.wav", "-c", "made", "--encoder", "debug"), "silent.wav is silent: give"),
        (("query", "dog"), "there is no caption cache at cache"),
        (("query", "dog", "--cache", "made"), "made was built with debug ("),
        (("query", "dog", "-c", "made", "-k", "0", "--encoder", "debug"), "0 captions of each are asked for"),
        (("query", "--cache", "made"), "give words or a recording"),
        (("query", "dog", "--audio", "bark.wav"), "give words or a recording"),
        (("query", "--audio", "nothing.wav", "-c", "made", "--encoder", "debug"), "nothing.wav"),
        (("info", "full"), "there is no caption cache at full"),
        (("write-captions", "-o", "out.txt"), "choose who writes: --grammar, --endpoint with --model, or --local"),
        (("write-captions", "-o", "out.txt", "--grammar", "--local", "x"), "choose who writes"),
        (("write-captions", "-o", "out.txt", "--grammar", "--labels", "x"), "leave --labels out"),
        (("write-captions", "-o", "captions.txt", "--grammar"), "captions.txt is there: replace it (--force)"),
        (("write-captions", "-o", "out.txt", "--endpoint", "http://x/v1"), "asked for labels (--labels)"),
        (("write-captions", "-o", "out.txt", "--local", "x", "--labels", "captions.txt"), "no language model at x"),
        ((), "Missing command"),
    ],
)
def test_bad_requests_are_told_in_one_line(
    run: Run, lines: Path, here: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    (here / "empty.txt").write_text("\n")
    (here / "latin.txt").write_bytes(b"a dog\na h\xfcndin\n")
    soundfile.write(here / "silent.wav", [0.0] * 8000, 8000)
    (here / "full").mkdir()
    (here / "full" / "thesis.txt").write_text("important")
    run("build", lines, "-o", "made", "--encoder", "debug")
    before = sorted(here.rglob("*"))
    if arguments[:1] == ("build",) and "--encoder" not in arguments:
        arguments = (*arguments, "--encoder", "debug")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_a_full_disk_is_told_and_the_same_command_goes_on(here: Path, run: Run) -> None:
    texts = [f"dog {one} barks {two}" for one in range(30) for two in "abcdefghij"]
    (here / "captions.txt").write_text("\n".join(texts))
    arguments = ["build", "captions.txt", "--encoder", "debug", "--batch", "2"]
    command = [sys.executable, "-m", "soundsieve.cli.main", "cache", *arguments]
    limit = 150_000  # bytes of any file: what a full disk does, for all that this code can tell

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=small)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("soundsieve: cannot write ")
    assert "Traceback" not in done.stderr
    assert (here / "cache.part").is_dir()
    assert run(*arguments)[0] == 0
    assert run(*arguments, "-o", "other")[0] == 0
    for path in (here / "cache").iterdir():
        assert path.read_bytes() == (here / "other" / path.name).read_bytes()


def test_the_grammar_writes(run: Run, here: Path) -> None:
    code, out, _ = run("write-captions", "--grammar", "-n", 50, "-o", "captions.txt")
    assert (code, out) == (0, "captions.txt: 50 captions, by a grammar\n")
    assert len((here / "captions.txt").read_text().splitlines()) == 50
    run("write-captions", "--grammar", "-n", 20, "-o", "fewer.txt")
    assert (here / "captions.txt").read_text().startswith((here / "fewer.txt").read_text())


def test_an_endpoint_writes_and_the_key_stays_where_it_is(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("no_proxy", "*")
    (here / "labels.csv").write_text("label\ndog bark\nrain\n")
    with serving(captions, captions, fails(401, KEY)) as server:
        arguments = ("write-captions", "--labels", "labels.csv", "-n", 40, "-o", "captions.txt", "--endpoint",
                     server.url, "--model", "tiny", "--key-env", "MY_KEY", "--parallel", 1)  # fmt: skip
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert "is the key right?" in err
        assert "2 answers are kept" in err
        told = out + err
        server.script[:] = [captions]
        code, out, err = run(*arguments)
    assert code == 0
    assert "captions.txt: 40 captions; 4 requests, 44 lines answered, 4 dropped\n       4 talk, not a caption\n" in out
    assert len((here / "captions.txt").read_text().splitlines()) == 40
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"
    kept = "".join(path.read_text() for path in here.rglob("*") if path.is_file())
    assert KEY not in told + out + err + kept


def test_a_model_on_this_machine_writes(run: Run, here: Path) -> None:
    save_tiny_model(here / "tiny")
    (here / "labels.txt").write_text("dog bark\nrain\n")
    code, out, _ = run(
        "write-captions", "--labels", "labels.txt", "-n", 5, "-o", "captions.txt", "--local", "tiny", "--max-tokens", 40
    )
    assert code == 0
    assert out.startswith("captions.txt: 5 captions; ")
    assert len((here / "captions.txt").read_text().splitlines()) == 5
