import json
from pathlib import Path

import pytest

from soundsieve.errors import ConfigError
from soundsieve.evaluation.rows import group_of, kept, key_of, read_rows, write_rows

RUN = {"model": "toy", "limit": None, "metrics": ("sdr", "si_sdr")}
ROWS = [
    {"pair": 0, "direction": 1, "condition": "text", "label": "naïve\n", "sdr": 1.5},
    {"pair": 1, "direction": None, "condition": "absent", "presence": None},
    {"pair": 1, "direction": 0, "condition": "text", "sdr": -2.0},
]


class CutError(Exception):
    """The end of a run that nobody expected."""


def begin(path: Path, rows: list[dict], run: dict = RUN) -> None:
    """A run that measures ``rows`` and is cut short."""
    with pytest.raises(CutError), kept(path, run) as file:  # noqa: PT012
        for row in rows:
            file.append(row)
        raise CutError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "toy.jsonl"


def part(path: Path) -> Path:
    return path.with_name("toy.jsonl.part")


def test_a_finished_file_holds_rows_alone(path: Path):
    with kept(path, RUN) as file:
        for row in ROWS:
            file.append(row)
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == ROWS
    assert read_rows(path) == ROWS
    assert list(path.parent.iterdir()) == [path]


def test_a_run_goes_on_where_it_stopped(path: Path):
    begin(path, ROWS[:2])
    assert not path.exists()
    assert read_rows(part(path)) == ROWS[:2]
    with kept(path, RUN) as file:
        assert file.rows == ROWS[:2]
        file.append(ROWS[2])
    assert read_rows(path) == ROWS
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("lost", [1, 5, 40])
def test_a_row_that_was_cut_short_is_measured_again(path: Path, lost: int):
    begin(path, ROWS)
    whole = part(path).read_bytes()
    part(path).write_bytes(whole[:-lost])
    with kept(path, RUN) as file:
        assert file.rows == ROWS[:2]
        file.append(ROWS[2])
    assert path.read_bytes() == whole.split(b"\n", 1)[1]


def test_a_run_that_had_hardly_begun_starts_anew(path: Path):
    path.parent.mkdir()
    for stump in (b"", b'{"run": {"mod'):
        part(path).write_bytes(stump)
        begin(path, ROWS[:1])
        assert read_rows(part(path)) == ROWS[:1]


def test_rows_of_another_run_are_refused_and_kept(path: Path):
    begin(path, ROWS)
    before = part(path).read_bytes()
    for other, said in (
        ({"model": "b"}, "model: toy, here b"),
        ({"limit": 3}, "limit: None, here 3"),
        ({"a": 1}, "a: "),
    ):
        with (
            pytest.raises(ConfigError, match=rf"toy\.jsonl\.part holds rows of another run \({said}.*than toy\.json$"),
            kept(path, RUN | other),
        ):
            pytest.fail("the file was opened")
    assert part(path).read_bytes() == before


@pytest.mark.parametrize("text", ['{"pair": 0}\n', "a\nb\n", '{"run": {"model": "toy"}}\nnonsense\n', "[1]\n"])
def test_what_is_no_run_is_refused(path: Path, text: str):
    path.parent.mkdir()
    part(path).write_text(text)
    with pytest.raises(ConfigError, match="does not hold the rows"), kept(path, {"model": "toy"}):
        pytest.fail("the file was opened")
    assert part(path).read_text() == text


def test_rows_need_no_file():
    with kept(None, RUN) as file:
        file.append(ROWS[0])
    assert file.rows == ROWS[:1]


def test_what_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot read .*none\.jsonl"):
        read_rows(tmp_path / "none.jsonl")
    write_rows(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "a.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes() + b"3\n")
    with pytest.raises(ConfigError, match=r"a\.jsonl, line 4: not a row"):
        read_rows(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_rows(tmp_path / "b.jsonl", [{"sdr": float("nan")}])
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    "line",
    [
        '{"pair": 0, "condition": "text", "sdri": NaN}',
        '{"pair": 0, "condition": "text", "sdri": -Infinity}',
        '{"pair": 0, "condition": "text", "sdri": 1e999}',
        '{"pair": 0, "condition": "text", "sdri": 1' + "0" * 400 + "}",
        '{"pair": 0, "condition": "text", "sdri": "7.1"}',
        '{"pair": 0, "condition": "text", "sdri": [7.1]}',
        '{"pair": [0], "condition": "text"}',
        '{"pair": 0, "condition": ["text"]}',
        '{"example": {}, "condition": "text"}',
        '{"pair": 0, "condition": "text", "target": [1]}',
        "[" * 100_000,
    ],
)
def test_what_no_run_writes_is_no_row(tmp_path: Path, line: str):
    good = '{"pair": 0, "condition": "text", "sdri": null}\n'
    (tmp_path / "a.jsonl").write_text(good + line)
    with pytest.raises(ConfigError, match=r"a\.jsonl, line 2: not a row"):
        read_rows(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text(good)
    assert len(read_rows(tmp_path / "a.jsonl")) == 1


def test_rows_have_names():
    assert len({key_of(row) for row in ROWS}) == 3
    assert [group_of(row) for row in ROWS] == [0, 1, 1]
    assert group_of({"example": "a", "target": ""}) == "a"
    assert group_of({"example": "a", "target": "dog.wav"}) == "dog.wav"  # lists mix a target several times
