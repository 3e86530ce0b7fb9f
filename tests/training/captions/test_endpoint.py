from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

import pytest
from fake_endpoint import (
    Handler,
    Reply,
    captions,
    completion,
    cut_off,
    drips,
    fails,
    hangs,
    hangs_up,
    raw,
    says,
    serving,
)

from soundsieve.errors import ConfigError
from soundsieve.training.captions.endpoint import Endpoint
from soundsieve.training.captions.language_model import Answer

KEY = "sk-very-secret-0123456789"
GOOD = says("A dog barks")


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between this machine and itself."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def ask(pauses: list[float]) -> Callable[..., list[Answer]]:
    def ask(url: str, prompts: tuple[str, ...] = ("dog?",), **options: object) -> list[Answer]:
        settings = {"key": KEY, "timeout_s": 0.5, "parallel": 1, "sleep": pauses.append, **options}
        endpoint = Endpoint(url, "tiny", **settings)  # type: ignore[arg-type]
        return [answer for part in endpoint.answer("You write.", prompts, 0) for answer in part]

    return ask


def test_a_request_is_what_the_interface_says(ask: Callable[..., list[Answer]]) -> None:
    with serving(GOOD) as server:
        assert ask(server.url + "/", temperature=0.7, max_tokens=50) == [Answer("A dog barks")]
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.requests == [
        {
            "model": "tiny",
            "temperature": 0.7,
            "max_tokens": 50,
            "messages": [{"role": "system", "content": "You write."}, {"role": "user", "content": "dog?"}],
        }
    ]


def test_without_a_key_none_is_sent(ask: Callable[..., list[Answer]]) -> None:
    with serving(GOOD) as server:
        ask(server.url, key=None)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "bad",
    [
        fails(429), fails(500, "<html>"), fails(503), hangs(0.8), drips, cut_off, hangs_up, raw(b'{"choices": [{"mess'),
        raw(b"[]"), raw(b'{"choices": []}'), raw(b'{"error": "busy"}'), raw(b"null"), raw(b"\xff\xfe"), says(None),
        says("  \n"), raw(completion("A dog"), "text/html"), raw(b""),
    ],
    ids=[
        "429", "500", "503", "slow", "drip", "cut off", "hang up", "half", "list", "no choices", "error", "null",
        "bytes", "no text", "blank", "html", "empty",
    ],
)  # fmt: skip
def test_what_goes_wrong_is_tried_again(ask: Callable[..., list[Answer]], pauses: list[float], bad: Reply) -> None:
    with serving(bad, bad, GOOD) as server:
        assert ask(server.url, pause_s=2.0) == [Answer("A dog barks")]
    assert len(server.requests) == 3
    assert 1.5 <= pauses[0] <= 2.5
    assert 3.0 <= pauses[1] <= 5.0


@pytest.mark.parametrize("bad", [fails(429), hangs_up, raw(b"{}"), raw(KEY.encode(), "text/plain")])
def test_it_is_given_up_in_the_end(ask: Callable[..., list[Answer]], pauses: list[float], bad: Reply) -> None:
    with (
        serving(bad) as server,
        pytest.raises(ConfigError, match=r"no answer from http.* in 3 tries, the last: ") as e,
    ):
        ask(server.url, tries=3)
    assert len(server.requests) == 3
    assert len(pauses) == 2
    assert KEY not in str(e.value)
    assert "\n" not in str(e.value)


def test_nobody_there(ask: Callable[..., list[Answer]]) -> None:
    with serving(GOOD) as server:
        url = server.url
    with pytest.raises(ConfigError, match=r"in 2 tries, the last: .*refused"):
        ask(url, tries=2)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("date", 25, 30),
        ("90000", 600, 600),
        ("soon", 0.7, 1.3),
        ("inf", 0.7, 1.3),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0.7, 1.3),
    ],
)
def test_retry_after_is_followed(
    ask: Callable[..., list[Answer]], pauses: list[float], value: str, least: float, most: float
) -> None:
    if value == "date":
        value = email.utils.formatdate(time.time() + 30, usegmt=True)
    with serving(fails(429, Retry_After=value), GOOD) as server:
        ask(server.url)
    assert least <= pauses[0] <= most


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_is_told_at_once_and_without_the_key(
    ask: Callable[..., list[Answer]], pauses: list[float], status: int
) -> None:
    said = f'{{"error": "{KEY} is\n not known"}}'
    with (
        serving(fails(status, said)) as server,
        pytest.raises(ConfigError, match=rf"refuses: {status} .*\*\*\* is") as e,
    ):
        ask(server.url)
    assert len(server.requests) == 1
    assert pauses == []
    assert KEY not in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("before", [0, 150, 190, 210, 4090])
def test_no_part_of_the_key_is_told_where_a_message_is_cut_off(ask: Callable[..., list[Answer]], before: int) -> None:
    for bad in (fails(400, "y" * before + KEY), fails(400, " " * before + KEY), fails(503, "", Retry_After=KEY)):
        with serving(bad) as server, pytest.raises(ConfigError) as e:
            ask(server.url, tries=1)
        assert KEY[:5] not in str(e.value)


def test_an_endpoint_that_knows_no_such_key_may_tell_letters_of_it(ask: Callable[..., list[Answer]]) -> None:
    said = f"Incorrect key provided: {KEY[:9]}***{KEY[-4:]}"
    with serving(fails(401, said)) as server, pytest.raises(ConfigError, match=r"401 .*is the key right\?$") as e:
        ask(server.url)
    assert KEY[-4:] not in str(e.value)
    assert len(server.requests) == 1


def test_an_answer_that_repeats_the_key_is_kept_without_it(ask: Callable[..., list[Answer]]) -> None:
    with serving(says(f"A dog barks {KEY}")) as server:
        assert ask(server.url) == [Answer("A dog barks ***")]
        assert ask(server.url, key="dog") == [Answer(f"A dog barks {KEY}")]  # what local servers take for a key


def test_a_model_that_keeps_saying_nothing_does_not_end_the_run(ask: Callable[..., list[Answer]]) -> None:
    """It would be asked the same again whenever the run goes on."""

    def refuses_one(handler: Handler, body: dict[str, list[dict[str, str]]]) -> None:
        handler.send(completion(None if body["messages"][-1]["content"] == "gun?" else "A dog barks"))

    with serving(refuses_one) as server:  # type: ignore[arg-type]
        answers = ask(server.url, ("dog?", "gun?", "cat?"), tries=2, timeout_s=5.0)
    assert [answer.text for answer in answers] == ["A dog barks", "", "A dog barks"]
    assert len(server.requests) == 4


def test_a_refusal_that_drips_along_is_not_waited_for(ask: Callable[..., list[Answer]]) -> None:
    def refuses(handler: Handler, _: dict[str, object]) -> None:
        handler.send(b"", status=404, Content_Length="1000")
        for _place in range(1000):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    began = time.monotonic()
    with serving(refuses) as server, pytest.raises(ConfigError, match="are address and model right"):
        ask(server.url)
    assert time.monotonic() - began < 5


def test_no_redirection_takes_the_key_away(ask: Callable[..., list[Answer]]) -> None:
    refused = pytest.raises(ConfigError, match=r"refuses: 307 .*the address has changed")
    with serving(GOOD) as other, serving(fails(307, Location=other.url)) as server, refused:
        ask(server.url)
    assert other.requests == []


def test_an_answer_that_was_stopped_is_marked(ask: Callable[..., list[Answer]]) -> None:
    with serving(says("A dog barks and a", "length")) as server:
        assert ask(server.url) == [Answer("A dog barks and a", cut_off=True)]


def test_answers_come_in_the_order_of_the_questions(ask: Callable[..., list[Answer]]) -> None:
    def echo(handler: object, body: dict[str, list[dict[str, str]]]) -> None:
        question = body["messages"][-1]["content"]
        time.sleep(0.2 if question == "first" else 0)
        handler.send(completion(question))  # type: ignore[attr-defined]

    with serving(echo) as server:  # type: ignore[arg-type]
        began = time.monotonic()
        answers = ask(server.url, ("first", "second", "third"), parallel=3, timeout_s=5.0)
    assert [answer.text for answer in answers] == ["first", "second", "third"]
    assert time.monotonic() - began < 5
    assert len(server.requests) == 3


def test_requests_are_no_more_than_allowed_in_a_minute(ask: Callable[..., list[Answer]], pauses: list[float]) -> None:
    with serving(captions) as server:
        ask(server.url, tuple("abcdef"), parallel=3, per_minute=30, timeout_s=5.0)
    begun = sorted(pauses)  # all threads ask at once and are told when their turn is
    assert begun[0] == 0
    assert [round(one) for one in begun] == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize(
    "url",
    ["api.example.com", "ftp://x/v1", "http://", "https://me:secret@x/v1", "https://:secret@x/v1", "http://x?key=secret",
     "http://x/v1#f", "http://[::1", "http://x:secret/v1", "http://x y/v1", "http://x/v1\n", "http://x/\xfc", ""],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="takes an address") as caught:
        Endpoint(url, "tiny")
    assert "secret" not in str(caught.value)


def test_a_key_that_is_none_is_not_repeated() -> None:
    for key in ("two words", "line\nbreak", "schlüssel"):
        with pytest.raises(ConfigError, match="holds signs that no key has") as caught:
            Endpoint("http://x/v1", "tiny", key)
        assert key not in str(caught.value)
    assert "two" not in repr(vars(Endpoint("http://x/v1", "tiny", " padded\n"))).replace("padded", "")


def test_numbers_out_of_range_are_refused() -> None:
    for option in (
        {"parallel": 0},
        {"tries": 0},
        {"timeout_s": 0.0},
        {"timeout_s": float("nan")},
        {"per_minute": -1.0},
    ):
        with pytest.raises(ConfigError, match="at least 1"):
            Endpoint("http://x/v1", "tiny", **option)  # type: ignore[arg-type]
