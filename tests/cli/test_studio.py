from __future__ import annotations

import os
import re
import runpy
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from live_studio import live_studio

from soundsieve.cli.main import main
from soundsieve.studio import server
from soundsieve.studio.engine import Engine
from soundsieve.studio.limits import Limits

Run = Callable[..., tuple[int, str, str]]
APP = Path(__file__).parent.parent.parent / "app.py"


class Served:
    """What the command would have served."""

    engine: Engine
    limits: Limits
    auth: str | None
    guard: dict[str, Any]
    folder: Path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Builds and serves nothing, but says that it started."""
    found = Served()

    def build(engine: Engine, limits: Limits, auth: str | None, **guard: Any) -> None:
        found.engine, found.limits, found.auth, found.guard = engine, limits, auth, guard
        found.folder = engine.store.folder

    def serve(app: None, at: socket.socket, started: Callable[[], None]) -> None:
        assert found.folder.is_dir()
        started()

    monkeypatch.setattr(server, "build", build)
    monkeypatch.setattr(server, "serve", serve)
    return found


@pytest.fixture
def studio(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command: exit code, standard output, standard error."""
    monkeypatch.delenv("SOUNDSIEVE_AUTH", raising=False)

    def run(*options: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["studio", "--port", "0", *options])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def test_every_limit_is_an_option_with_its_default(studio: Run, served: Served) -> None:
    assert studio()[0] == 0
    assert served.limits == Limits()
    values = {field.name: getattr(Limits, field.name) + 1 for field in fields(Limits)}
    given = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert studio(*given)[0] == 0
    assert asdict(served.limits) == values


def test_it_listens_on_loopback_and_prints_the_address(studio: Run, served: Served) -> None:
    code, out, err = studio()
    assert (code, err, served.auth) == (0, "", None)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", out)
    assert served.guard["hosts"] == {"localhost", "127.0.0.1", "::1"}
    assert served.guard["addresses"] is False
    assert not served.folder.exists()


def test_whoever_opens_it_to_others_is_warned(studio: Run, served: Served) -> None:
    _, out, err = studio("--host", "0.0.0.0", "--allow-host", "Studio.Example")
    assert "everybody who can reach 0.0.0.0 may use this studio; --auth USER:PASSWORD asks for a password" in err
    assert out.startswith("http://localhost:")
    assert served.guard["addresses"] is True
    assert served.guard["hosts"] >= {"localhost", "studio.example", socket.gethostname().lower()}
    assert studio("--host", "0.0.0.0", "--auth", "me:word")[2] == ""
    assert served.auth == "me:word"


def test_the_password_may_come_by_the_environment(studio: Run, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDSIEVE_AUTH", "me:word")
    assert studio()[0] == 0
    assert served.auth == "me:word"


def test_sharing_is_asked_for_warned_of_and_lets_its_name_in(
    studio: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []

    def share(port: int) -> str:
        ports.append(port)
        return "https://abc.gradio.live"

    monkeypatch.setattr(server, "share", share)
    studio()
    assert ports == []
    _, out, err = studio("--share")
    assert out.splitlines() == [f"http://127.0.0.1:{ports[0]}", "https://abc.gradio.live"]
    assert "everybody who has the address may use this studio" in err
    assert "abc.gradio.live" in served.guard["hosts"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--auth", "me"], "--auth takes USER:PASSWORD"),
        (["--max-minutes", "0"], "max_minutes is 0.0: a limit is a number above 0"),
        (["--max-working", "-1"], "max_working is -1"),
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid"),
        (["--host", "192.0.2.1"], "cannot listen at 192.0.2.1"),
        (["--port", "99999"], "65535"),
        (["--max-fun", "3"], "--max-fun"),
    ],
)
def test_a_mistake_is_one_line(options: list[str], complaint: str, studio: Run, served: Served) -> None:
    code, out, err = studio(*options)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_a_port_that_is_taken(studio: Run, served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = studio("--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "choose another --port" in err


def test_without_gradio_it_says_what_to_install(studio: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("soundsieve.studio.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("soundsieve.studio.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = studio()
    assert code == 2
    assert "install soundsieve with its extra 'studio'" in err


def test_a_space_runs_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("soundsieve.cli.studio.studio", lambda **options: asked.update(options))
    monkeypatch.setenv("SPACE_HOST", "me-studio.hf.space")
    monkeypatch.delenv("SOUNDSIEVE_AUTH", raising=False)
    runpy.run_path(str(APP), run_name="app")
    assert asked == {}, "importing it starts nothing"
    runpy.run_path(str(APP), run_name="__main__")
    assert (asked["host"], asked["port"], asked["auth"]) == ("0.0.0.0", 7860, None)
    assert asked["allow_host"] == ["me-studio.hf.space"]
    assert asked["allow_frame"] == ["https://huggingface.co"]


def test_a_studio_that_is_terminated_leaves_nothing(tmp_path: Path) -> None:
    with live_studio(tmp_path, "--model", "debug") as running:
        assert len(os.listdir(running.temp)) == 1
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 143
        assert os.listdir(running.temp) == []
        assert running.other_hosts == []
        assert running.log.read_text("utf-8").splitlines()[1:] == ["soundsieve: interrupted"]
