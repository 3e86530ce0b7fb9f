"""What stands before every request: who may ask, how much may be sent, and what a page may load.

A studio on loopback is within reach of every web page that its owner looks at. So requests have to name a host under
which the studio is known (a foreign name that resolves to 127.0.0.1, "DNS rebinding", does not help), and what another
page sends is refused by its origin.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from soundsieve.errors import ConfigError
from soundsieve.studio.limits import FullError, Limits, TooLargeError

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of the machine itself."""

OPEN_PATH = "/health"
"""What needs no password."""

_UPLOADS = ("/api/recordings", "/gradio_api/upload")
_REFUSED = re.compile(r"/(proxy=|file=https?:|vibe-)", re.IGNORECASE)
"""Where Gradio would fetch from other hosts for whoever asks."""
_SMALL_BYTES = 1_000_000
_AROUND_BYTES = 100_000  # what a form puts around a file
_PATIENCE_S = 60.0
_DRAINED = 3
_WRONG_S = 0.5

# Gradio's page has scripts in its HTML and makes functions of strings. Whatever they want, it is from here.
_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


class Guard:
    """An ASGI application around another one.

    Args:
        app: what is guarded.
        limits: how large an upload may be.
        room: holds so many bytes of disk for an upload while it comes in; see `Store.room`.
        auth: ``user:password`` for HTTP Basic; None lets everybody in.
        hosts: names, without ports, under which the studio may be asked for; what is added later counts too.
        addresses: whether any IP address will do as well, for a studio that others can reach.
        origins: hosts of pages that may send something here besides our own: for a proxy that changes the name.
        frames: pages that may show this one in a frame, as a Content-Security-Policy has it.

    Raises:
        ConfigError: ``auth`` is not of that form.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits,
        room: Callable[[int], AbstractContextManager[None]],
        auth: str | None = None,
        hosts: Collection[str] = LOOPBACK,
        addresses: bool = False,
        origins: Iterable[str] = (),
        frames: str = "'self'",
    ) -> None:
        self.app, self.limits, self.room = app, limits, room
        self.hosts, self.addresses = hosts, addresses
        self.origins = set(origins)
        self._auth = None if auth is None else checked_auth(auth).encode()
        self._headers = {**_HEADERS, "Content-Security-Policy": _CSP.format(frames=frames)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            else:  # nothing here speaks WebSocket
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(scope, headers)
        if refused is not None:
            if refused[0] == 401 and "authorization" in headers:
                await asyncio.sleep(_WRONG_S)  # guessing takes time
            await self._say(*refused, send=send)
            return
        await self._passed(scope, headers, receive, send)

    def _refused(self, scope: Message, headers: dict[str, str]) -> tuple[int, str, dict[str, str]] | None:
        """Status, sentence and headers of a refusal by what the head of a request says; None if there is none."""
        host = headers.get("host", "")
        if _name(host) not in self.hosts and not (self.addresses and _is_address(_name(host))):
            return 403, f"the studio is not known as '{_name(host)}' (--allow-host adds a name)", {}
        if not self._from_here(host, headers):
            return 403, "other web pages may not use the studio (--allow-origin adds one)", {}
        if _REFUSED.search(scope["path"]):
            return 403, "the studio fetches nothing from other hosts", {}
        if self._auth is not None and scope["path"] != OPEN_PATH and not self._knows(headers.get("authorization", "")):
            return 401, "user and password, please", {"WWW-Authenticate": 'Basic realm="soundsieve", charset="UTF-8"'}
        return None

    def _from_here(self, host: str, headers: dict[str, str]) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            # A page sends "null" for a file, a sandboxed frame or after a redirect: none of them is ours.
            return urlsplit(origin).netloc == host or _name(urlsplit(origin).netloc) in self.origins
        fetched = headers.get("sec-fetch-site", "none")
        return fetched != "cross-site" or headers.get("sec-fetch-mode") == "navigate"

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        try:
            said = base64.b64decode(given, validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            said = b""
        return self._auth is not None and hmac.compare_digest(said, self._auth)

    async def _passed(self, scope: Message, headers: dict[str, str], receive: Receive, send: Send) -> None:
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") in _UPLOADS
        length = headers.get("content-length", "")
        body = _Body(receive, (self.limits.max_bytes + _AROUND_BYTES) if is_upload else _SMALL_BYTES)
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if body.refused is not None and not started:
                return  # what the application makes of a body that was cut off is not the answer
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = self._sealed(message.get("headers", ()))
            await send(message)

        try:
            with ExitStack() as stack:
                if length.isdecimal() and int(length) > body.most:
                    body.refuse(413)
                if is_upload:
                    expected = int(length) if length.isdecimal() else body.most
                    await asyncio.to_thread(stack.enter_context, self.room(expected))
                await self.app(scope, body.receive, sent)
        except FullError as error:
            await self._say(503, str(error), {"Retry-After": "60"}, send=send)
            return
        except Exception:
            if body.refused is None or started:
                raise
        if body.refused is not None and not started:
            await body.drain()
            await self._say(body.refused, self._why(body.refused, is_upload), {"Connection": "close"}, send=send)

    def _why(self, status: int, is_upload: bool) -> str:
        if status == 408:
            return f"nothing came for {_PATIENCE_S:g} s: send it again"
        return self.limits.too_large if is_upload else "the request is larger than any question has to be"

    def _sealed(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Headers of an answer: no other page may read it, and it may load nothing from elsewhere."""
        ours = {name.lower().encode(): value.encode("latin-1") for name, value in self._headers.items()}
        kept = [(name, value) for name, value in headers if not name.lower().startswith(b"access-control-")]
        own = {name.lower() for name, _ in kept}
        return kept + [(name, value) for name, value in ours.items() if name not in own]

    async def _say(self, status: int, words: str, headers: dict[str, str], *, send: Send) -> None:
        body = json.dumps({"error": words}).encode()
        said = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        head = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in said.items()]
        await send({"type": "http.response.start", "status": status, "headers": self._sealed(head)})
        await send({"type": "http.response.body", "body": body})


def checked_auth(auth: str) -> str:
    """``user:password``, with both there.

    Raises:
        ConfigError: it is not.
    """
    user, colon, password = auth.partition(":")
    if not (user and colon and password):
        raise ConfigError("--auth takes USER:PASSWORD, neither of them empty")
    return auth


class _Body:
    """What is received, up to so many bytes; whoever sends more, or nothing for a while, is cut off."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._taken, self._whole = receive, 0, False
        self.most = most
        self.refused: int | None = None

    def refuse(self, status: int) -> None:
        self.refused = status
        raise TooLargeError("cut off")

    async def receive(self) -> Message:
        if self._whole:  # what comes now is that the client went away
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), _PATIENCE_S)
        except TimeoutError:
            self.refuse(408)
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._taken > self.most:
                self.refuse(413)
        return message

    async def drain(self) -> None:
        """Let go by what still comes, as far as that is bearable: browsers read no answer before all is sent."""
        while self.refused == 413 and not self._whole and self._taken < _DRAINED * self.most:
            try:
                message = await asyncio.wait_for(self._receive(), _PATIENCE_S)
            except TimeoutError:
                return
            if message["type"] != "http.request":
                return
            self._taken += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)


def _name(netloc: str) -> str:
    """The name in ``name:port``, lower case; of an IPv6 address without its brackets."""
    try:
        return "" if "@" in netloc else (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
