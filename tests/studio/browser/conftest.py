"""A real browser: Debian's chromium, installed where it can be, driven by playwright, with no network but loopback."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from live_studio import LiveStudio, live_studio
from playwright.sync_api import Browser, BrowserContext, Error, sync_playwright
from studio_page import LISTENS, PATIENCE_MS, StudioPage

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
INSTALL_WITHIN_S = 240

FLAGS = (
    "--no-sandbox",  # containers run as root
    "--disable-dev-shm-usage",  # which have little of it
    "--no-proxy-server",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",  # the microphone is allowed without a question
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # there is no other machine
)


def _installed() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@functools.cache
def _why_not_installed() -> str:
    """Install the browser, or try to, once; empty if that went well."""
    apt = shutil.which("apt-get")
    if apt is None:
        return "no chromium, and no apt-get to install it with"
    if os.geteuid() != 0:
        return "no chromium, and not root to install it"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        command = [apt, "-q", *arguments]
        try:
            subprocess.run(command, env=environment, check=True, timeout=INSTALL_WITHIN_S, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            return f"no chromium, and it could not be installed: {error}"
    return "" if _installed() else "apt-get installed no chromium"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser; gone after each file of tests: playwright keeps an event loop in this thread while it lives."""
    if _installed() is None and (reason := _why_not_installed()):
        pytest.skip(reason)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=_installed(), args=list(FLAGS), timeout=PATIENCE_MS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def studio(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStudio]:
    """A studio with the embedded model, shared by the tests of a file."""
    with live_studio(tmp_path_factory.mktemp("studio")) as running:
        yield running


Open = Callable[..., StudioPage]


@pytest.fixture
def open_page(browser: Browser, studio: LiveStudio) -> Iterator[Open]:
    """Opens the page as a person of its own, with the options of a browser context.

    Afterwards the page has to have asked nobody but its server, and to have thrown no error.
    """
    contexts: list[BrowserContext] = []
    requests: list[str] = []
    failures: list[str] = []

    def open_one(url: str = studio.url, **options: object) -> StudioPage:
        context = browser.new_context(accept_downloads=True, permissions=["microphone"], **options)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.on("request", lambda request: requests.append(request.url))
        context.on("weberror", lambda error: failures.append(str(error.error)))
        context.add_init_script(LISTENS)
        sieve = StudioPage(context.new_page())
        sieve.page.goto(url)
        sieve.wait_until_there()
        return sieve

    yield open_one
    for context in contexts:
        with suppress(Error):  # closed by the test
            context.close()
    foreign = [url for url in requests if not url.startswith((studio.url, "http://127.0.0.1:", "data:", "blob:"))]
    assert foreign == []
    assert failures == []


@pytest.fixture
def demo_mixture(tmp_path: Path) -> Path:
    """A dog in the rain."""
    from soundsieve import audio
    from soundsieve.cli.demo import bundled_clips

    clips, sample_rate = bundled_clips()
    path = tmp_path / "street.wav"
    audio.encode(path, sum(clips.values()), sample_rate)  # type: ignore[arg-type]
    return path
