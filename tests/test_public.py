"""The public surface: what it is, that it keeps together, and that it is light."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import soundsieve
from soundsieve import errors
from soundsieve.query import Query
from soundsieve.separator import Separator

PUBLIC = [
    "AudioError",
    "Block",
    "ConfigError",
    "Extraction",
    "Query",
    "QueryError",
    "Separation",
    "Separator",
    "SoundsieveError",
    "Span",
    "Splits",
    "Stream",
    "UnreadableError",
    "WeightsError",
    "__version__",
    "load",
]


def test_the_public_names() -> None:
    assert soundsieve.__all__ == PUBLIC
    assert dir(soundsieve) == PUBLIC
    for name in PUBLIC:
        assert getattr(soundsieve, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'sieve'"):
        _ = soundsieve.sieve


def test_every_error_is_public_and_of_one_family() -> None:
    found = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert found == {name for name in PUBLIC if name.endswith("Error")}
    assert all(issubclass(getattr(errors, name), errors.SoundsieveError) for name in found)


def test_the_version_is_the_packages() -> None:
    assert version("soundsieve") == soundsieve.__version__


def test_separate_and_query_name_things_alike() -> None:
    asked = list(inspect.signature(Query).parameters)
    taken = inspect.signature(Separator.separate).parameters
    assert [name for name in taken if name in asked] == asked
    assert all(taken[name].default is None for name in asked)
    positional = [name for name, p in taken.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == ["self", "mixture", "text"]


@pytest.mark.parametrize(
    "module", ["soundsieve", "soundsieve.cli.main", "soundsieve.cli.extract", "soundsieve.cli.models"]
)
def test_importing_is_light(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'numpy', 'transformers', 'soundfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom soundsieve.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit as e: print('code', e.code)\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["code 0", "False False"]
    assert "extract" in done.stdout


def test_the_package_ships_its_types() -> None:
    assert (Path(soundsieve.__file__).parent / "py.typed").exists()


def test_errors_are_one_line_in_source() -> None:
    """No message is written with a line break in it."""
    for path in Path(soundsieve.__file__).parent.rglob("*.py"):
        assert not re.search(r"raise \w+Error\([^)]*\\n", path.read_text("utf-8")), path
