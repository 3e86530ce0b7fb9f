"""The house is in order: documents that run, links that lead somewhere, tables that match what was measured."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import soundsieve
from soundsieve import audio

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "model_cards/*.md", "benchmarks/*.md") for path in ROOT.glob(pattern)
)
CLIPS = ROOT / "benchmarks" / "clips"


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks of every page: where each starts, and its text."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield f"{page.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}", match[1]


PYTHON = [block for block in blocks("python") if "/studio.md:" not in block[0]]  # run by tests/studio
COMMANDS = [
    (where, shlex.split(line, comments=True))
    for where, text in blocks("bash")
    for line in text.splitlines()
    if line.startswith("soundsieve ")
]


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recordings that the documents speak of, as the working directory."""
    from soundsieve.cli.demo import bundled_clips
    from soundsieve.weights.catalog import CATALOG

    if not CATALOG["starter"].at_hand:
        pytest.skip("the embedded model is not in this checkout")
    clips, sample_rate = bundled_clips()
    dog, rain = clips.values()
    for name, samples in (("street", dog + rain), ("market", rain), ("rain", rain), ("bark", dog)):
        audio.encode(tmp_path / f"{name}.wav", samples, sample_rate)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("where", "code"), PYTHON, ids=[where for where, _ in PYTHON])
def test_python_in_documents_runs(where: str, code: str, recordings: Path) -> None:
    exec(compile(code, where, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=[f"{where} {command[1]}" for where, command in COMMANDS])
def test_commands_in_documents_run(
    where: str, command: list[str], recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is quick is run; of the rest, every option has to be one that the command knows."""
    from soundsieve.cli.main import main

    runs = command[1] in ("extract", "split", "find", "models")
    parts = command[1:3] if command[1] in ("cache", "listen", "mixtures") else command[1:2]
    arguments = command[1 : command.index("&&") if "&&" in command else None] if runs else [*parts, "--help"]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    assert not end.value.code, said.err
    if not runs:
        for option in (word for word in command if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", said.out), f"{command[1]} knows no {option}"


def test_documents_hold_examples() -> None:
    assert len(PYTHON) >= 3
    assert {command[1] for _, command in COMMANDS} >= {"extract", "models", "train", "evaluate"}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} points at {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{page.name} points at {target}; {file.name} has {', '.join(anchors)}"


def test_recipes_and_files_named_in_documents_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:recipes|src|tests|benchmarks|docs)/[\w./-]+)`", page.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_tables_match_what_was_measured() -> None:
    script = ROOT / "benchmarks" / "write_tables.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert cited is not None
    assert project["version"] == soundsieve.__version__ == cited[1]


def test_every_requirement_is_pinned_and_names_no_place() -> None:
    def name_of(requirement: str) -> str:
        match = re.match(r"[\w.-]+", requirement)
        assert match is not None, requirement
        return re.sub(r"[-_.]+", "-", match[0]).lower()

    lines = [
        line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")
    ]
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line), line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    missing = {name_of(one) for one in wanted} - {name_of(line) for line in lines} - {"soundsieve"}
    assert not missing


def test_bundled_clips_are_listed_credited_and_test_clips() -> None:
    with (CLIPS / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {str(path.relative_to(CLIPS)) for path in CLIPS.rglob("*.ogg")}
    assert {row["split"] for row in rows} == {"test"}
    assert all(row["licence"] and row["credit"] for row in rows)
    sources = (CLIPS / "LICENCES.md").read_text("utf-8")
    assert all(f"| {source} |" in sources for source in {row["source"] for row in rows})


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_checkout_stays_small() -> None:
    total = sum(path.stat().st_size for path in tracked())
    assert total < 48 * 2**20, f"{total / 2**20:.1f} MiB are tracked"


def test_no_file_of_the_package_is_ignored() -> None:
    """What git ignores is left out of the wheel."""
    tracked()
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "src"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.splitlines() if "__pycache__" not in name and ".egg-info" not in name] == []
