from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from soundsieve.errors import ConfigError
from soundsieve.studio import guard as module
from soundsieve.studio.guard import Guard
from soundsieve.studio.limits import FullError, Limits

LIMITS = Limits(max_megabytes=0.1)
MOST = 200_000  # what a form puts around it included


class Echo:
    """Answers with the size of what it got, and with headers that another page would need to read it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        headers = [(b"content-type", b"text/plain"), (b"access-control-allow-origin", b"*")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


class Answer:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


def request(
    app: Any,
    path: str = "/",
    method: str = "GET",
    body: Iterable[bytes] = (b"",),
    **headers: str,
) -> Answer:
    chunks = list(body)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not chunks:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = {"host": "127.0.0.1:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    asyncio.run(app(scope, receive, send))
    return Answer(sent)


def room(size: int) -> AbstractContextManager[None]:
    return nullcontext()


def guard(app: Any = None, **options: Any) -> Guard:
    return Guard(app or Echo(), **{"limits": LIMITS, "room": room, **options})


def basic(words: str) -> str:
    return "Basic " + base64.b64encode(words.encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7860", "LOCALHOST:80", "[::1]:7860", "localhost.:7860"])
def test_the_machines_own_names_are_answered(host: str) -> None:
    assert request(guard(), host=host).status == 200


@pytest.mark.parametrize(
    "host", ["", "evil.com", "evil.com:7860", "127.0.0.1.evil.com", "192.168.0.3", "[::1", "a@127.0.0.1:x"]
)
def test_a_foreign_name_that_leads_here_is_refused(host: str) -> None:
    answer = request(guard(), host=host)
    assert answer.status == 403
    assert "the studio is not known as" in answer.error


def test_names_can_be_added_and_addresses_allowed() -> None:
    hosts = {"localhost"}
    reachable = guard(hosts=hosts, addresses=True)
    for host in ("192.168.0.3:7860", "[fe80::1]:7860", "localhost"):
        assert request(reachable, host=host).status == 200
    assert request(reachable, host="studio.example").status == 403
    hosts.add("studio.example")
    assert request(reachable, host="Studio.Example:443").status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://127.0.0.1:7861"}, 403),
        ({"origin": "http://localhost:7860"}, 403),
        ({"origin": "https://evil.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
        ({"origin": "https://friend.example"}, 200),
    ],
)
def test_other_pages_cannot_use_the_studio(method: str, headers: dict[str, str], status: int) -> None:
    echo = Echo()
    answer = request(guard(echo, origins=["friend.example"]), method=method, **headers)
    assert answer.status == status
    assert len(echo.bodies) == (status == 200)


def test_no_other_page_may_read_an_answer_or_lend_it_scripts() -> None:
    for answer in (request(guard()), request(guard(), host="evil.com")):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == "'self'"
        sources = {source for value in policy.values() for source in value.split()}
        assert sources == {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}
    framed = request(guard(frames="'self' https://huggingface.co"))
    assert framed.headers["content-security-policy"].endswith("frame-ancestors 'self' https://huggingface.co")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (basic("me:pass:word"), 200),
        (basic("me:pass:word").replace("Basic", "basic"), 200),
        (basic("me:pass"), 401),
        (basic("me"), 401),
        ("Basic !!!", 401),
        ("Basic", 401),
        ("Bearer me:pass:word", 401),
        ("", 401),
    ],
)
def test_a_password_is_asked_for(given: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WRONG_S", 0.01)
    answer = request(guard(auth="me:pass:word"), "/api/recordings/x", authorization=given)
    assert answer.status == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic realm=")


def test_whether_it_is_there_needs_no_password() -> None:
    assert request(guard(auth="me:word"), "/health").status == 200
    assert request(guard(auth="me:word"), "/health/x").status == 401


@pytest.mark.parametrize("auth", ["", "me", "me:", ":word"])
def test_half_a_password_is_none(auth: str) -> None:
    with pytest.raises(ConfigError, match="USER:PASSWORD"):
        guard(auth=auth)


@pytest.mark.parametrize("path", ["/api/recordings", "/gradio_api/upload"])
def test_an_upload_has_a_limit_told_or_not(path: str) -> None:
    echo = Echo()
    assert request(guard(echo), path, "POST", [bytes(MOST)]).body == str(MOST).encode()
    told = request(guard(echo), path, "POST", [bytes(MOST + 1)], content_length=str(MOST + 1))
    untold = request(guard(echo), path, "POST", [bytes(1000)] * 201)
    lied = request(guard(echo), path, "POST", [bytes(1000)] * 201, content_length="10")
    for answer in (told, untold, lied):
        assert answer.status == 413
        assert answer.error.startswith("the file is larger than 0.1 MB, the most that is taken here")
    assert len(echo.bodies) == 1


def test_whatever_else_is_sent_is_small() -> None:
    assert request(guard(), "/api/recordings/x/tracks", "POST", [bytes(1_000_000)]).status == 200
    answer = request(guard(), "/api/recordings/x/tracks", "POST", [bytes(1_000_001)])
    assert (answer.status, answer.error) == (413, "the request is larger than any question has to be")


def test_room_is_held_while_an_upload_comes_in() -> None:
    held: list[int] = []

    @contextmanager
    def counted(size: int) -> Any:
        held.append(size)
        yield
        held.append(-size)

    @contextmanager
    def full(size: int) -> Any:
        raise FullError("no room")
        yield

    request(guard(room=counted), "/api/recordings", "POST", [b"12345"], content_length="5")
    request(guard(room=counted), "/gradio_api/upload", "POST", [b"12345"])
    request(guard(room=counted), "/gradio_api/queue/join", "POST", [b"12345"])
    assert held == [5, -5, MOST, -MOST]
    echo = Echo()
    answer = request(guard(echo, room=full), "/api/recordings", "POST", [b"12345"])
    assert (answer.status, answer.error, answer.headers["retry-after"]) == (503, "no room", "60")
    assert echo.bodies == []


def test_who_sends_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    answer = request(guard(), "/api/recordings", "POST", [])
    assert answer.status == 408
    assert answer.error.startswith("nothing came for")


def test_an_application_that_fails_on_a_cut_body_does_not_answer_for_it() -> None:
    class Failing(Echo):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await super().__call__(scope, receive, send)
            except Exception:
                await send({"type": "http.response.start", "status": 500, "headers": []})
                await send({"type": "http.response.body", "body": b"oops"})
                raise

    assert request(guard(Failing()), "/gradio_api/upload", "POST", [bytes(1000)] * 201).status == 413


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/proxy=https://evil.com/x", "/gradio_api/file=https://evil.com/x", "/gradio_api/file=HTTP://e/"],
)
def test_nothing_is_fetched_for_others(path: str) -> None:
    echo = Echo()
    answer = request(guard(echo), path)
    assert (answer.status, echo.bodies) == (403, [])
    assert "fetches nothing from other hosts" in answer.error


def test_there_are_no_websockets() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(guard()({"type": "websocket", "path": "/", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]
