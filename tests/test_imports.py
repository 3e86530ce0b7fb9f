"""Which way imports may point, and what a plain install can import: the shape of the house, as a test."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "soundsieve"

# Each room and the rooms it may look into; everybody may look into itself.
GROUND = {"errors", "files", "embedded"}
SIGNALS = GROUND | {"audio", "dsp", "query"}
BLOCKS = SIGNALS | {"nn"}
MODELS = BLOCKS | {"encoders", "systems"}
PARTS = {"segments", "presence", "recordings", "streaming", "asking", "pouring", "results"}  # of the separator
LIBRARY = MODELS | PARTS | {"naming", "weights", "separator"}
PURE = {"losses", "metrics"}
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "naming": set(),
    "embedded": set(),
    "audio": GROUND | {"dsp"},
    "dsp": GROUND,
    "query": GROUND,
    "nn": SIGNALS,
    "encoders": BLOCKS,
    "systems": MODELS,
    "weights": MODELS,
    "segments": MODELS,
    "presence": MODELS,
    "recordings": SIGNALS,
    "asking": SIGNALS | {"recordings"},
    "streaming": MODELS | {"segments", "presence"},
    "pouring": SIGNALS | {"streaming"},
    "results": SIGNALS | {"presence", "pouring"},
    "separator": LIBRARY,
    "soundsieve": LIBRARY,  # __init__.py: the public names
    "losses": {"errors", "dsp"},
    "metrics": {"errors", "dsp"},
    "training": LIBRARY | PURE | {"soundsieve", "evaluation"},  # validation measures as the evaluation does
    "evaluation": LIBRARY | PURE | {"soundsieve"},
    "studio": LIBRARY | PURE | {"soundsieve"},
    "cli": LIBRARY | PURE | {"soundsieve", "training", "evaluation", "studio"},
}
# cli may import these inside a function only: a plain install lacks what they need
LAZY = {"training", "evaluation", "studio"}
NEEDS_NOTHING = {"soundsieve.studio.limits"}  # but for this, which options are made of

# Packages that only some rooms may import.
OWNERS: dict[str, set[str]] = {
    "soundfile": {"audio"},
    "soxr": {"audio"},
    "lightning": {"training"},
    "yaml": {"training", "cli"},
    "torchmetrics": {"tests"},
    "pesq": {"metrics"},
    "scipy": {"training", "evaluation"},
    "sklearn": {"evaluation"},
    "matplotlib": {"training", "evaluation"},
    "typer": {"cli"},
    "faiss": {"training"},
    "gradio": {"studio"},
    "fastapi": {"studio"},
    "starlette": {"studio"},
    "uvicorn": {"studio"},
}
EXTRAS = (
    "lightning",
    "yaml",
    "torchmetrics",
    "pesq",
    "scipy",
    "sklearn",
    "matplotlib",
    "faiss",
    "gradio",
    "fastapi",
    "uvicorn",
)
SLOW_TO_IMPORT = ("transformers", *EXTRAS)


@dataclass(frozen=True)
class Import:
    """One imported module, where it is imported, and whether that happens when the file is loaded."""

    module: str
    line: int
    at_load: bool


def imports_of(tree: ast.AST, module: str) -> Iterator[Import]:
    """Every import in a file, by absolute name; ``from soundsieve import x`` names the room x where it is one."""

    def walk(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                is_room = base == "soundsieve" and alias.name in ARROWS
                yield Import(f"{base}.{alias.name}" if is_room else base, node.lineno, at_load)
        later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_load and not later)

    return walk(tree, True)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "soundsieve"


def wrong_arrows(source: str, module: str) -> list[str]:
    """What is wrong with the imports of one file, one sentence each."""
    room, found = room_of(module), []
    if room not in ARROWS:
        return [f"{module}: the room '{room}' is not on the plan; add it to ARROWS with what it may import"]
    for imported in imports_of(ast.parse(source), module):
        where = f"{module.replace('.', '/')}.py:{imported.line}"
        top = imported.module.split(".")[0]
        if top in OWNERS and room not in OWNERS[top]:
            found.append(f"{where}: {room} -> {top}, which is for {', '.join(sorted(OWNERS[top]))} only")
        if top != "soundsieve":
            continue
        other = room_of(imported.module)
        if other != room and other not in ARROWS[room]:
            found.append(f"{where}: {room} -> {other} points the wrong way")
        elif room == "cli" and other in LAZY and imported.at_load and imported.module not in NEEDS_NOTHING:
            found.append(f"{where}: {room} -> {other} has to stand inside a function")
    return found


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(("soundsieve", *(part for part in parts if part != "__init__")))] = path
    return found


def test_imports_point_one_way() -> None:
    found = [line for name, path in modules().items() for line in wrong_arrows(path.read_text("utf-8"), name)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("soundsieve.dsp.stft", "from soundsieve.systems.base import System", "dsp -> systems points the wrong way"),
        ("soundsieve.metrics.speech", "import soundsieve.training.fit", "metrics -> training points the wrong way"),
        ("soundsieve.separator", "def f():\n    from soundsieve.training import fit", "separator -> training"),
        ("soundsieve.separator", "from soundsieve import metrics", "separator -> metrics"),
        ("soundsieve.query", "from .systems.base import System", "query -> systems"),
        ("soundsieve.systems.sieve", "from ..cli import main", "systems -> cli"),
        ("soundsieve.cli.train", "from soundsieve.training.fit import fit", "has to stand inside a function"),
        ("soundsieve.separator", "import soundfile as sf", "separator -> soundfile, which is for audio only"),
        ("soundsieve.systems.sieve", "import scipy.signal", "systems -> scipy"),
        ("soundsieve.attic.old", "", "'attic' is not on the plan"),
    ],
)
def test_a_wrong_arrow_is_named(module: str, source: str, complaint: str) -> None:
    found = wrong_arrows(source, module)
    assert len(found) == 1
    assert complaint in found[0]
    assert module.split(".")[-1] in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("soundsieve.cli.train", "def train():\n    from soundsieve.training.fit import fit"),
        ("soundsieve.cli.train", "if TYPE_CHECKING:\n    from soundsieve.training.fit import Fit"),
        ("soundsieve.separator", "from soundsieve import audio\nfrom soundsieve.errors import SoundsieveError"),
        ("soundsieve.training.fit", "import lightning\nfrom soundsieve.losses import sdr_loss"),
        ("soundsieve.systems.sieve", "from .base import System\nfrom ..query import Query"),
    ],
)
def test_a_right_arrow_passes(module: str, source: str) -> None:
    assert wrong_arrows(source, module) == []


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)


def test_the_library_needs_no_extras() -> None:
    names = [name for name in modules() if room_of(name) not in LAZY and not name.endswith("__main__")]
    code = f"""
import importlib, sys
for name in {EXTRAS!r}:
    sys.modules[name] = None  # any import of it fails, as if it were not installed
for name in {names!r}:
    importlib.import_module(name)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr[-2000:]


def test_importing_soundsieve_does_not_wait_for_heavy_packages() -> None:
    done = run_python(f"import sys, soundsieve; print(*[n for n in {SLOW_TO_IMPORT!r} if n in sys.modules])")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == []


def test_help_does_not_wait_for_torch() -> None:
    done = run_python(
        "import sys; sys.argv = ['soundsieve', '--help']\n"
        "from soundsieve.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('imported:', *[n for n in {('torch', *SLOW_TO_IMPORT)!r} if n in sys.modules])"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].split() == ["imported:"]
