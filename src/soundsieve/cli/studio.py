"""``soundsieve studio``: a web page, and an HTTP API, for describing sounds and hearing them."""

from __future__ import annotations

import ipaddress
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsieve.cli import options
from soundsieve.cli.model_options import ClapOption, PrecisionOption, TokenizerOption, WeightsOption
from soundsieve.errors import ConfigError
from soundsieve.studio.limits import Limits

if TYPE_CHECKING:
    from soundsieve.separator import Separator

_REACH, _TAKE = "Who can reach it", "How much it takes on"


def studio(
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 for everybody in the network.", rich_help_panel=_REACH)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.", rich_help_panel=_REACH)] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="USER:PASSWORD",
            envvar="SOUNDSIEVE_AUTH",
            show_envvar=True,
            help="Ask for a password.",
            rich_help_panel=_REACH,
        ),
    ] = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Get a public address for 72 hours. All that is sent and heard goes through Gradio's servers.",
            rich_help_panel=_REACH,
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="One more name under which it is known, such as a proxy's.", rich_help_panel=_REACH
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Let the pages of this host use it.", rich_help_panel=_REACH),
    ] = None,
    allow_frame: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Let this page show it in a frame.", rich_help_panel=_REACH),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    model: options.ModelOption = "starter",
    weights: WeightsOption = None,
    clap: ClapOption = None,
    tokenizer: TokenizerOption = None,
    precision: PrecisionOption = "float32",
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    max_minutes: Annotated[
        float, typer.Option(help="The longest recording.", rich_help_panel=_TAKE)
    ] = Limits.max_minutes,
    max_megabytes: Annotated[
        float, typer.Option(help="The largest upload.", rich_help_panel=_TAKE)
    ] = Limits.max_megabytes,
    max_channels: Annotated[
        int, typer.Option(help="The most channels of a recording.", rich_help_panel=_TAKE)
    ] = Limits.max_channels,
    max_example_s: Annotated[
        float, typer.Option(help="The longest example clip or region, in seconds.", rich_help_panel=_TAKE)
    ] = Limits.max_example_s,
    max_working: Annotated[
        int, typer.Option(help="Questions worked on at the same time.", rich_help_panel=_TAKE)
    ] = Limits.max_working,
    max_waiting: Annotated[
        int, typer.Option(help="Questions that may wait, of all people.", rich_help_panel=_TAKE)
    ] = Limits.max_waiting,
    max_waiting_each: Annotated[
        int, typer.Option(help="Questions that may wait, of one person.", rich_help_panel=_TAKE)
    ] = Limits.max_waiting_each,
    max_recordings: Annotated[
        int, typer.Option(help="Recordings and example clips, of all people.", rich_help_panel=_TAKE)
    ] = Limits.max_recordings,
    max_recordings_each: Annotated[
        int, typer.Option(help="Those of one person.", rich_help_panel=_TAKE)
    ] = Limits.max_recordings_each,
    max_tracks: Annotated[
        int, typer.Option(help="Tracks of one recording.", rich_help_panel=_TAKE)
    ] = Limits.max_tracks,
    max_gigabytes: Annotated[
        float, typer.Option(help="Disk space for all files.", rich_help_panel=_TAKE)
    ] = Limits.max_gigabytes,
    keep_minutes: Annotated[
        float, typer.Option(help="How long a recording is kept after its last use.", rich_help_panel=_TAKE)
    ] = Limits.keep_minutes,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where its private folder is made; by default where temporary files are."),
    ] = None,
) -> None:
    """Open the studio, until Ctrl-C: describe a sound, hear it, ask for the next one.

    soundsieve studio prints the address of the page, which works with the embedded model at once and only on this
    machine. /docs there describes the HTTP API. Recordings lie in a private folder, which is deleted in the end.
    """
    try:
        from soundsieve.studio import server
        from soundsieve.studio.engine import Engine
        from soundsieve.studio.guard import LOOPBACK, checked_auth
        from soundsieve.studio.store import Store
    except ModuleNotFoundError as error:
        raise ConfigError(f"the studio needs {error.name}: install soundsieve with its extra 'studio'") from error

    limits = Limits(
        max_minutes=max_minutes,
        max_megabytes=max_megabytes,
        max_channels=max_channels,
        max_example_s=max_example_s,
        max_waiting=max_waiting,
        max_waiting_each=max_waiting_each,
        max_recordings=max_recordings,
        max_recordings_each=max_recordings_each,
        max_tracks=max_tracks,
        max_gigabytes=max_gigabytes,
        max_working=max_working,
        keep_minutes=keep_minutes,
    )
    if auth is not None:
        checked_auth(auth)
    at = server.listen(host, port)
    port = at.getsockname()[1]
    is_open = not _is_loopback(at.getsockname()[0])
    if (is_open or share) and auth is None:
        whom = "everybody who has the address" if share else f"everybody who can reach {host}"
        print(f"soundsieve: {whom} may use this studio; --auth USER:PASSWORD asks for a password", file=sys.stderr)
    hosts = {*LOOPBACK, *(name.lower() for name in allow_host or ())}
    if is_open:
        hosts |= {host.lower(), socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}

    def load() -> Separator:
        from soundsieve.separator import load

        return load(model, device, weights=weights, clap=clap, tokenizer=tokenizer, precision=precision)

    def started() -> None:
        address = f"http://{'localhost' if host in ('0.0.0.0', '::') else _in_url(host)}:{port}"
        print(address, flush=True)
        if share:
            public = server.share(port)
            hosts.add(public.partition("//")[2].partition("/")[0])
            print(public, flush=True)
        if open_page:
            webbrowser.open(address)

    before = tempfile.tempdir
    with at, Store(limits, folder) as store:
        tempfile.tempdir = str(store.incoming)  # nothing of a recording lies anywhere else
        try:
            app = server.build(
                Engine(store, model, load=load, threads=threads, start=False),
                limits,
                auth,
                hosts=hosts,
                addresses=is_open,
                origins=[name.lower() for name in allow_origin or ()],
                frames=" ".join(["'self'", *(allow_frame or ())]),
            )
            server.serve(app, at, started)
        finally:
            tempfile.tempdir = before


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
