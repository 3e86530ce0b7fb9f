"""A language model behind an endpoint that speaks OpenAI's chat completions: hosted, or vLLM, llama.cpp, Ollama, ...

What goes wrong on the way is tried again, with growing pauses; what a second try cannot mend is told at once. The key
goes into one header and nowhere else: no message and no answer that is kept holds it, and no redirection takes it to
another host.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import random
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from soundsieve.errors import ConfigError
from soundsieve.training.captions.language_model import Answer

_LONGEST_ANSWER = 4 << 20
_LONGEST_PAUSE_S = 600.0
_SHORTEST_KEY = 8


class _TryAgainError(Exception):
    """Something that may well work the next time; after so many seconds, if the other side said."""

    def __init__(self, what: str, after_s: float | None = None) -> None:
        super().__init__(what)
        self.after_s = after_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is an error: the key was given for one host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Endpoint:
    """Asks for chat completions.

    Args:
        url: of the interface, such as ``https://api.example.com/v1``; ``/chat/completions`` is added.
        model: its name there.
        key: sent as ``Authorization: Bearer``; None for endpoints that ask for none.
        parallel: requests under way at once.
        per_minute: requests begun in a minute, at most; 0 for no limit.
        timeout_s: a request that takes longer has failed.
        tries: times that a request is made before it is given up.
        temperature: of sampling.
        max_tokens: of an answer.
        pause_s: before the second try; it doubles with every further one, up to a minute, and varies by a quarter. A
            ``Retry-After`` of the endpoint is followed in its place, up to ten minutes.

    Raises:
        ConfigError: the address or the key is none, or a number is out of range.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        *,
        parallel: int = 4,
        per_minute: float = 0.0,
        timeout_s: float = 120.0,
        tries: int = 6,
        temperature: float = 1.0,
        max_tokens: int = 600,
        pause_s: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not _is_address(url):
            raise ConfigError("--endpoint takes an address such as https://api.example.com/v1, without key or question")
        key = (key or "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigError("the key holds signs that no key has: look at the environment variable it is in")
        numbers = (per_minute, temperature, pause_s, timeout_s)
        if min(parallel, tries, max_tokens) < 1 or not all(0 <= one < math.inf for one in numbers) or not timeout_s:
            raise ConfigError("endpoint: parallel, tries and max_tokens are at least 1, and no number is negative")
        self.url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self.name, self.batch_size = model, parallel
        self._key, self._tries, self._timeout_s, self._pause_s = key, tries, timeout_s, pause_s
        self._every_s = 60.0 / per_minute if per_minute else 0.0
        self._settings = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self._sleep, self._turn, self._next_at = sleep, threading.Lock(), 0.0
        self._opener = urllib.request.build_opener(_NoRedirect)

    def answer(self, system: str, prompts: Sequence[str], first: int) -> Iterator[list[Answer]]:
        """See `LanguageModel.answer`: one by one, as they come; empty, where the model keeps saying nothing.

        Raises:
            ConfigError: a request was refused, or failed as often as it may.
        """
        del first
        waiting: list[Future[Answer]] = []
        for prompt in prompts:
            waiting.append(Future())
            # Not a pool, which a program that ends waits for: nobody waits for these.
            threading.Thread(target=self._fulfil, args=(waiting[-1], system, prompt), daemon=True).start()
        for one in waiting:
            yield [one.result()]

    def _fulfil(self, promise: Future[Answer], system: str, prompt: str) -> None:
        try:
            promise.set_result(self._ask(system, prompt))
        except BaseException as error:
            promise.set_exception(error)

    def _ask(self, system: str, prompt: str) -> Answer:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        body = json.dumps({**self._settings, "messages": messages}).encode()
        for number in range(1, self._tries + 1):
            self._wait_for_turn()
            try:
                answer = _read_answer(self._post(body))
                if not answer.text.strip() and number < self._tries:
                    raise _TryAgainError("the answer is empty")
                return replace(answer, text=self._without_key(answer.text))
            except _TryAgainError as error:
                if number == self._tries:
                    what = _short(self._without_key(str(error)))
                    raise ConfigError(f"no answer from {self.url} in {number} tries, the last: {what}") from None
                pause = min(60.0, self._pause_s * 2 ** (number - 1)) * random.uniform(0.75, 1.25)
                self._sleep(min(_LONGEST_PAUSE_S, pause if error.after_s is None else max(0.0, error.after_s)))
        raise AssertionError("unreachable")

    def _wait_for_turn(self) -> None:
        """Begin no more requests than ``per_minute``, whichever thread begins them."""
        if not self._every_s:
            return
        with self._turn:
            now = time.monotonic()
            wait = max(0.0, self._next_at - now)
            self._next_at = now + wait + self._every_s
        self._sleep(wait)

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.url, body, headers)
        until = time.monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                kind = response.headers.get_content_type()
                data = _read_until(response, until)
        except urllib.error.HTTPError as error:
            raise self._status(error, until) from None
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            reason = getattr(error, "reason", error)
            raise _TryAgainError(str(reason) or type(error).__name__) from None
        if kind != "application/json":
            raise _TryAgainError(f"the answer is {kind}, not JSON")
        return data

    def _status(self, error: urllib.error.HTTPError, until: float) -> Exception:
        """What a status other than success means: try again, or give up."""
        with error:
            what = f"{error.code} {error.reason}"
            if error.code in (408, 409, 425, 429) or error.code >= 500:
                return _TryAgainError(what, _retry_after(error.headers.get("Retry-After")))
            said = ""
            if error.code != 401:  # which may be told with some letters of the key
                with suppress(OSError, http.client.HTTPException, _TryAgainError):
                    said = _read_until(error, until).decode("utf-8", "replace")
        advice = {401: "is the key right?", 403: "is the key right?", 404: "are address and model right?"}
        hint = advice.get(error.code, "the address has changed" if error.code < 400 else "")
        return ConfigError(_short(self._without_key(f"{self.url} refuses: {what}. {hint} {said}"), 300))

    def _without_key(self, text: str) -> str:
        """Before anything is cut off: what is left of a key would not be found. Local servers take any short word."""
        return text.replace(self._key, "***") if len(self._key) >= _SHORTEST_KEY else text


def _is_address(url: str) -> bool:
    """Whether this is an address without a name, a password, a question or a sign that none may hold."""
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        return False
    return bool(whole) and re.fullmatch(r"[!-~]+", url) is not None and not set("@?#") & set(url)


def _read_until(response: Any, until: float) -> bytes:
    """The body, within the time that is left; a connection that drips along is given up."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if time.monotonic() > until:
            raise TimeoutError("the answer took too long")
        if size > _LONGEST_ANSWER:
            raise _TryAgainError(f"the answer has more than {_LONGEST_ANSWER >> 20} MiB")
    if response.length:  # what was announced and did not come
        raise http.client.IncompleteRead(b"".join(parts), response.length)
    return b"".join(parts)


def _read_answer(data: bytes) -> Answer:
    try:
        choice = json.loads(data)["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise _TryAgainError("the answer is no chat completion") from error
    if not isinstance(text, str | None):
        raise _TryAgainError("the answer is no text")
    return Answer(text or "", cut_off=reason == "length")


def _retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value)) if float(value) < float("inf") else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _short(text: str, most: int = 120) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else words[: most - 3] + "..."
