"""The web server: the page, the API and their guard in one application, and what runs it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from soundsieve import __version__
from soundsieve.errors import ConfigError, SoundsieveError
from soundsieve.studio import api, reference
from soundsieve.studio.engine import Engine
from soundsieve.studio.guard import Guard, checked_auth
from soundsieve.studio.limits import Limits

_ABOUT = """Recordings go in, questions about them are asked, and what was asked for comes out as tracks.
Ids are secrets: who knows the id of a recording may use it, and nothing lists those of others.
Recordings are deleted when nobody has used them for a while."""
_SHUTDOWN_S = 2
_CONNECTIONS = 512

# Gradio asks home for its version and reports how it is used, unless it is told not to before it is imported.
_SILENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False"}


def build(
    engine: Engine,
    limits: Limits | None = None,
    auth: str | None = None,
    **guard: Any,
) -> FastAPI:
    """The studio as an ASGI application. It starts the engine, and when it shuts down it deletes all recordings.

    Args:
        engine: what answers, with its store.
        limits: by default the engine's.
        auth: ``user:password``, asked for (HTTP Basic) by everything but ``/health``; None lets everybody in.
        guard: ``hosts``, ``addresses``, ``origins`` and ``frames`` of `Guard`; by default it is known as what this
            machine calls itself, and its own pages alone may use it.

    Raises:
        ConfigError: ``auth`` is not of that form.
    """
    os.environ.update(_SILENT)
    os.environ["GRADIO_TEMP_DIR"] = str(engine.store.incoming)  # what is uploaded by way of the page lands here
    limits = limits or engine.limits
    import gradio

    from soundsieve.studio import page, player

    _keep_uploads_apart()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        try:
            yield
        finally:
            engine.close()
            engine.store.close()

    app = FastAPI(
        title="soundsieve studio",
        description=_ABOUT,
        version=__version__,
        docs_url=None,  # FastAPI's own pages load their scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
    )
    api.tell_errors(app)
    app.include_router(api.routes(engine))
    app.include_router(player.routes(engine.store))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(reference.page(app.openapi()))

    if auth is not None:
        checked_auth(auth)
    app.add_middleware(Guard, limits=limits, room=engine.store.room, auth=auth, **guard)

    def mount() -> None:
        gradio.mount_gradio_app(
            app, page.build(engine, limits), path="/", max_file_size=limits.max_bytes, mcp_server=False, **page.look()
        )

    _in_a_loop(mount)
    return app


def _in_a_loop(make: Callable[[], None]) -> None:
    """Call it while an event loop runs: outside of one Gradio makes one for every lock, and leaves it open."""

    async def made() -> None:
        make()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(made())
    else:
        make()


@cache
def _keep_uploads_apart() -> None:
    """Gradio puts an upload where its content says: who sends the same file shares it with who deletes it first."""
    from gradio import route_utils

    class OwnUpload(route_utils.GradioUploadFile):
        """A file whose place cannot be told from its content."""

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            self.sha.update(secrets.token_bytes(16))

    route_utils.GradioUploadFile = OwnUpload  # type: ignore[misc]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: there is no such address here, or the port is taken.
    """
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot listen at {host}, port {port}: {why}: choose another --port, or --host") from error


def serve(app: FastAPI, at: socket.socket, on_started: Callable[[], None] = lambda: None) -> None:
    """Serve an application at a socket until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # addresses hold ids, which are secrets
        server_header=False,
        ws="none",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    server = uvicorn.Server(config)

    def tell() -> None:
        while not server.started:
            if stopped.wait(0.02):
                return
        on_started()

    stopped = threading.Event()
    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    try:
        server.run(sockets=[at])
    finally:
        stopped.set()


def share(port: int) -> str:
    """Open a tunnel from Gradio's servers to a port of this machine; its public address.

    Raises:
        SoundsieveError: there is no way to them.
    """
    from gradio import networking

    try:
        return networking.setup_tunnel("127.0.0.1", port, secrets.token_urlsafe(32), None, None)
    except Exception as error:
        raise SoundsieveError(f"Gradio's servers, which --share goes through, cannot be reached: {error}") from error
