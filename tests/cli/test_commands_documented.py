from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import typer.main

from soundsieve.cli.main import COMMANDS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "commands.md").read_text("utf-8")


def options_of(name: str) -> set[str]:
    found = getattr(importlib.import_module(COMMANDS[name][0]), name)
    options = set()
    for function in (part for part, _ in found.values()) if isinstance(found, dict) else (found,):
        app = typer.Typer(add_completion=False)
        app.command()(function)
        options |= {name for parameter in typer.main.get_command(app).params for name in parameter.opts}
    return {option for option in options if option[0] == "-"}


@pytest.mark.parametrize("name", ["extract", "split", "find", "models", "demo", "convert", "cache"])
def test_every_option_is_documented(name: str) -> None:
    missing = {option for option in options_of(name) if not re.search(rf"`{re.escape(option)}[` ]", PAGE)}
    assert not missing


def test_every_command_is_documented() -> None:
    assert set(COMMANDS) <= set(re.findall(r"[a-z]+", PAGE))


def test_no_option_is_made_up() -> None:
    known = {"--help", "--version"}.union(*map(options_of, COMMANDS))
    assert set(re.findall(r"(?<=`)--?[a-z][\w-]*", PAGE)) <= known
