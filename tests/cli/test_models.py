from __future__ import annotations

import pytest
from fake_hub import FakeHub, hub

from soundsieve.cli.main import main

__all__ = ["hub"]  # a fixture


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def test_models_are_listed(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "RATE", "LICENCE", "AT", "HAND", "WHAT", "IT", "IS"]
    names = ["starter", "debug", "clapsep", "audiosep", "lassnet", "uss", "flowsep"]
    assert [line.split()[0] for line in lines[1:]] == names
    assert "32000 Hz" in lines[2]
    assert "yes" in lines[2]
    at = lines[0].index("AT HAND")
    assert all(line[at:].startswith("no ") for line in lines[3:])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from soundsieve import __version__

    assert run("--version") == 0
    assert capsys.readouterr().out == f"soundsieve {__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for name in ("extract", "split", "find", "models", "demo", "convert", "train", "evaluate"):
        assert f" {name} " in out


@pytest.mark.parametrize("name", ["extract", "split", "find", "models", "demo", "convert", "train", "evaluate"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert f"soundsieve {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("nonesuch",), ("models", "--nonesuch"), ("extract",), ("--nonesuch",)])
def test_usage_errors_leave_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
