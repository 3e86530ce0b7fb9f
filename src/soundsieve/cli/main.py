"""The ``soundsieve`` command: a table of commands, and what an error looks like.

Only the command that was asked for is imported, so ``soundsieve --help`` is quick.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

from soundsieve.errors import SoundsieveError

COMMANDS: dict[str, tuple[str, str]] = {
    "extract": ("soundsieve.cli.extract", "Take one sound out of recordings."),
    "split": ("soundsieve.cli.split", "Divide recordings among several sounds."),
    "find": ("soundsieve.cli.find", "Tell where a sound is in recordings."),
    "models": ("soundsieve.cli.models", "List the models that have a name."),
    "demo": ("soundsieve.cli.demo", "Separate a bundled recording, and show what came out."),
    "convert": ("soundsieve.cli.convert", "Make one file of published weights, or the reverse."),
    "train": ("soundsieve.cli.train", "Train a model from a recipe."),
    "evaluate": ("soundsieve.cli.evaluate", "Measure a model on test mixtures."),
    "compare": ("soundsieve.cli.compare", "Tell whether one run of evaluate beats another."),
    "report": ("soundsieve.cli.report", "Make a page of what was measured: tables, figures, examples."),
    "listen": ("soundsieve.cli.listen", "Make a listening test, or tell how its raters rated."),
    "mixtures": ("soundsieve.cli.mixtures", "Write the mixtures of a benchmark's list, or check them."),
    "studio": ("soundsieve.cli.studio", "Open the studio: a web page for all of this, and an HTTP API."),
    "cache": ("soundsieve.cli.cache", "Write captions, embed them, and look up what a sound retrieves."),
}
"""Command -> its module, which holds a plain function of the same name, and a line for ``--help``.

A command of several parts has in place of the function a table of them: part -> function and line.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line and leave with its exit code.

    0: all done; 1: some files failed; 2: the request cannot be met as it is, one line on stderr says why;
    130: interrupted; 143: terminated (SIGTERM), which ends it as Ctrl-C does; 141: nobody reads the output any more.
    (`find` has exit codes like grep's.)
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with _terminated_like_interrupted() as terminated:
        code = _run(arguments)
    sys.exit(143 if code == 130 and terminated else code)


def _run(arguments: list[str]) -> int:
    code: Any
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be text
        code = _app(arguments)(arguments, prog_name="soundsieve", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:  # while a command is being imported
        code = _interrupted()
    except BrokenPipeError:
        code = _unread()
    except Exception as error:
        if not hasattr(error, "format_message"):  # what the parser has to say about the arguments
            raise
        code = _misused(arguments, error.format_message())
    return code if isinstance(code, int) else 0


@contextmanager
def _terminated_like_interrupted() -> Iterator[list[int]]:
    """In here SIGTERM does what Ctrl-C does, whatever that is at the time; what is yielded tells whether it came."""
    came: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield came  # somebody has other plans, or signals are not ours to handle
        return

    def interrupt(number: int, frame: Any) -> None:
        came.append(number)
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:  # a shell that starts it in the background has Ctrl-C ignored
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _app(arguments: Sequence[str]) -> typer.Typer:
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    for name, (module, summary) in COMMANDS.items():
        if arguments and arguments[0] == name:
            command = getattr(importlib.import_module(module), name)
            if callable(command):
                app.command(name)(_telling_errors(command))
            else:
                parts = typer.Typer()
                for part, (function, line) in command.items():
                    parts.command(part, help=line)(_telling_errors(function))
                app.add_typer(parts, name=name, help=summary)
        else:
            app.command(name, help=summary)(_placeholder())
    return app


def _telling_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with errors that are the caller's to mend told in one line instead of a traceback."""

    @functools.wraps(command)
    def told(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SoundsieveError as error:
            print(f"soundsieve: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(_interrupted()) from error
        except BrokenPipeError as error:
            raise typer.Exit(_unread()) from error
        except OSError as error:  # a place that cannot be written, a full disk
            where = f"{error.filename}: " if error.filename else ""
            print(f"soundsieve: {where}{error.strerror or error}", file=sys.stderr)
            raise typer.Exit(2) from error

    return told


def _misused(arguments: Sequence[str], complaint: str) -> int:
    """Say what is wrong with the arguments in one line; without any arguments it is the help."""
    if arguments:
        command = " ".join(["soundsieve", *(name for name in arguments[:1] if name in COMMANDS)])
        complaint = f"soundsieve: {' '.join(complaint.split()).rstrip('.')}: {command} --help says what there is"
    print(complaint, file=sys.stderr)
    return 2


def _unread() -> int:
    """End without a word, as others do when ``head`` has read enough."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
    return 141


def _interrupted() -> int:
    sys.stderr.write("soundsieve: interrupted\n")  # in one piece: other threads may have notes to tell
    return 130


def _placeholder() -> Callable[[], None]:
    """Stands for a command in ``--help``; a command that runs is imported instead."""

    def not_asked_for() -> None: ...

    return not_asked_for


def _version(value: bool) -> Any:
    if value:
        from soundsieve import __version__

        print(f"soundsieve {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Describe a sound, get that sound alone: grep for recordings."""


if __name__ == "__main__":
    main()
