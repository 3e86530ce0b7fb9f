"""A chat-completions endpoint of one's own, on this machine, that behaves as badly as it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler", dict[str, Any]], None]
"""Sends an answer to a request."""


class Handler(BaseHTTPRequestHandler):
    """Answers with the next reply of the server's script, and with the last one from then on."""

    server: FakeEndpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append(body)
            self.server.headers.append(dict(self.headers))
            self.server.paths.append(self.path)
        script = self.server.script
        script[min(number, len(script) - 1)](self, body)

    def send(self, data: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class FakeEndpoint(ThreadingHTTPServer):
    """Attributes: what was asked, in order: ``requests`` (bodies), ``headers``, ``paths``."""

    daemon_threads = True

    def __init__(self, script: list[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.lock = script, threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []

    def handle_error(self, *_: object) -> None:
        """Nothing on stderr when a client has gone."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def serving(*script: Reply) -> Iterator[FakeEndpoint]:
    server = FakeEndpoint(list(script))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str | None, reason: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": reason}]}).encode()


def says(text: str | None, reason: str = "stop") -> Reply:
    return lambda handler, _: handler.send(completion(text, reason))


def captions(handler: Handler, body: dict[str, Any]) -> None:
    """Ten captions that only this request gets: its text is their seed."""
    number = sum(body["messages"][-1]["content"].encode()) % 99991
    things = ("dog", "cat", "bird", "horn", "bell", "door", "drum", "fan", "train", "bee")
    lines = [f"{place}. A {thing}{number} makes a sound." for place, thing in enumerate(things, 1)]
    handler.send(completion("Sure, here they are:\n" + "\n".join(lines)))


def fails(status: int, text: str = "{}", **headers: str) -> Reply:
    return lambda handler, _: handler.send(text.encode(), status=status, **headers)


def raw(data: bytes, kind: str = "application/json") -> Reply:
    return lambda handler, _: handler.send(data, kind=kind)


def cut_off(handler: Handler, _: dict[str, Any]) -> None:
    """Announces more than it sends."""
    handler.send(completion("A dog barks")[:20], Content_Length="500")


def hangs(seconds: float) -> Reply:
    def reply(handler: Handler, _: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.send(completion("too late"))

    return reply


def drips(handler: Handler, _: dict[str, Any]) -> None:
    """A byte now and then, each in time."""
    data = completion("A dog barks loudly")
    handler.send(b"", Content_Length=str(len(data)))
    for place in range(len(data)):
        handler.wfile.write(data[place : place + 1])
        handler.wfile.flush()
        time.sleep(0.05)


def hangs_up(handler: Handler, _: dict[str, Any]) -> None:
    handler.connection.close()
