"""What goes wrong, is given up, or is nobody else's business."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from live_studio import LiveStudio, live_studio
from playwright.sync_api import Browser, expect
from studio_page import StudioPage

from soundsieve import audio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Open = Callable[..., StudioPage]


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine minutes of noise: seconds of work."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 60 * 48000)).astype(np.float32)
    with audio.Writer(path, 48000, 2, subtype="PCM_16") as writer:
        for _ in range(9):
            writer.write(noise)
    return path


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("nothing.wav", b"", "empty"),
        ("my letter.txt", b"Dear all,\n" * 50, "my letter.txt is"),
        ("cut.wav", b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00", "cut.wav"),
    ],
)
def test_a_bad_file_is_refused_beside_its_field(
    open_page: Open, tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    sieve = open_page()
    path = tmp_path / name
    path.write_bytes(content)
    sieve.upload(path)
    refusal = sieve.page.locator("#wrong-source")
    expect(refusal).to_contain_text(told)
    sentence = refusal.inner_text()
    assert sentence.startswith(name)
    assert sentence.endswith(".")
    assert not any(word in sentence for word in ("Traceback", "/tmp", "\n"))
    field = sieve.page.locator("#source-file input[type=file]")
    expect(field).to_have_attribute("aria-describedby", "wrong-source")
    gap = sieve.page.evaluate(
        """() => document.getElementById("wrong-source").getBoundingClientRect().top
             - document.getElementById("sources").getBoundingClientRect().bottom"""
    )
    assert -1 < gap < 150  # px below the fields


def test_a_refused_file_leaves_the_recording_that_was_open(open_page: Open, demo_mixture: Path, tmp_path: Path) -> None:
    sieve = open_page()
    page = sieve.page
    sieve.open(demo_mixture)
    page.get_by_role("button", name="Choose another recording").click()
    path = tmp_path / "letter.txt"
    path.write_text("Dear all")
    sieve.upload(path)
    expect(page.locator("#wrong-source")).to_contain_text("letter.txt")
    page.get_by_role("button", name="Back to the recording").click()
    sieve.ask("a dog barking")
    sieve.page.get_by_role("button", name="Choose another recording").click()
    expect(page.locator("#wrong-source")).to_be_empty()


def test_a_bad_example_clip_is_told_beside_it(open_page: Open, demo_mixture: Path, tmp_path: Path) -> None:
    sieve = open_page()
    page = sieve.page
    sieve.open(demo_mixture)
    page.get_by_role("button", name="Add example clips").click()
    path = tmp_path / "letter.txt"
    path.write_text("Dear all")
    page.locator("#ask-like input[type=file]").set_input_files(path)
    expect(page.locator("#ask-like")).to_contain_text("letter")
    sieve.ask_button.click()
    expect(page.locator("#wrong-like")).to_contain_text("letter.txt")
    expect(page.locator("#wrong-unlike, #wrong-text").filter(has_text="letter")).to_have_count(0)


def test_long_work_shows_progress_and_is_cancelled(open_page: Open, long_recording: Path, studio: LiveStudio) -> None:
    sieve = open_page()
    page = sieve.page
    sieve.open(long_recording)
    sieve.query.fill("a dog barking")
    sieve.query.press("Enter")
    progress = page.locator("#progress")
    expect(progress).to_be_visible()
    page.wait_for_function("() => document.getElementById('progress').position > 0.05")
    sieve.cancel.click()
    expect(sieve.status).to_have_text("Cancelled.")
    expect(progress).to_be_hidden()
    expect(sieve.tracks).to_have_count(0)
    page.get_by_role("button", name="Choose another recording").click()  # and the next question is answered
    page.get_by_role("button", name="A dog in the rain").click()
    expect(sieve.name).to_contain_text("dog")
    sieve.ask("rain falling")


def test_two_people_do_not_see_each_other(open_page: Open, demo_mixture: Path, tmp_path: Path) -> None:
    ann, ben = open_page(), open_page()
    ann.upload(demo_mixture)  # the same file at the same time
    ben.upload(demo_mixture)
    for one in (ann, ben):
        expect(one.name).to_have_text("street.wav")
    other = tmp_path / "market.wav"
    other.write_bytes(demo_mixture.read_bytes())
    ben.page.get_by_role("button", name="Choose another recording").click()
    ben.open(other)
    for one, text in ((ann, "a dog barking"), (ben, "rain falling")):  # at the same time
        one.query.fill(text)
        one.query.press("Enter")
    ann.answered("a dog barking")
    ben.answered("rain falling")
    for one, name, text in ((ann, "street", "a dog barking"), (ben, "market", "rain falling")):
        expect(one.tracks).to_have_count(1)
        expect(one.name).to_contain_text(name)
        assert name in one.download(one.page.get_by_role("link", name="Download the sound as wav"), tmp_path).name
        expect(one.track(text)).to_be_visible()
    ben.page.reload()
    ben.wait_until_there()
    expect(ann.tracks).to_have_count(1)


def test_a_page_closed_amid_work_leaves_nothing(browser: Browser, long_recording: Path, tmp_path: Path) -> None:
    with live_studio(tmp_path) as studio:
        context = browser.new_context()
        sieve = StudioPage(context.new_page())
        sieve.page.goto(studio.url)
        sieve.wait_until_there()
        sieve.open(long_recording)
        sieve.query.fill("a dog barking")
        sieve.query.press("Enter")
        expect(sieve.page.locator("#progress")).to_be_visible()
        assert sounds_in(studio.temp)
        context.close()
        wait_until_empty(studio.temp)
        assert studio.health()["ready"]
        context = browser.new_context()
        sieve = StudioPage(context.new_page())
        sieve.page.goto(studio.url)
        sieve.wait_until_there()
        sieve.page.get_by_role("button", name="A dog in the rain").click()
        expect(sieve.name).to_contain_text("dog")
        sieve.ask("a dog barking")
        context.close()
    assert sounds_in(studio.temp) == []
    assert studio.other_hosts == []


def sounds_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 10_000]


def wait_until_empty(folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while found := sounds_in(folder):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_password_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    with live_studio(tmp_path, "--auth", "ann:open sesame") as studio:
        for credentials in (None, {"username": "ann", "password": "open says me"}):
            context = browser.new_context(http_credentials=credentials)  # type: ignore[arg-type]
            for path in ("/", "/docs", "/config", "/gradio_api/info", "/openapi.json"):
                assert context.request.get(studio.url + path).status == 401, path
            assert context.request.post(f"{studio.url}/api/recordings", data=b"x").status == 401
            context.close()
        context = browser.new_context(http_credentials={"username": "ann", "password": "open sesame"})
        sieve = StudioPage(context.new_page())
        sieve.page.goto(studio.url)
        sieve.wait_until_there()
        sieve.page.get_by_role("button", name="A dog in the rain").click()
        expect(sieve.name).to_contain_text("dog")
        sieve.ask("a dog barking")
        sieve.download(sieve.page.get_by_role("link", name="Download the sound as wav"), tmp_path)
        context.close()


def test_the_studio_asked_no_other_machine(studio: LiveStudio) -> None:
    """Last: it has done all of the above."""
    assert studio.other_hosts == []
    assert "Traceback" not in studio.log.read_text("utf-8")
