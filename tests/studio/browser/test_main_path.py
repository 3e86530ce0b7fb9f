"""Upload, ask, listen, ask again, mix and download, in a real browser."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from studio_page import StudioPage

from soundsieve import audio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Open = Callable[..., StudioPage]


def test_a_recording_is_asked_about_heard_and_downloaded(open_page: Open, demo_mixture: Path, tmp_path: Path) -> None:
    sieve = open_page()
    page = sieve.page
    sieve.open(demo_mixture)
    expect(page.locator("#recording-facts")).to_have_text("5.0 s · mono · 32 kHz")
    expect(page).to_have_title("soundsieve")

    sieve.ask("a dog barking")
    expect(page.locator("#verdict")).to_contain_text(re.compile("^It is (probably )?there"))
    expect(sieve.status).to_contain_text("a dog barking")
    for name in ("the recording", "what was asked for", "everything else"):
        picture = page.get_by_role("img", name=f"Spectrogram of {name}")
        expect(picture).to_be_visible()
        page.wait_for_function("(image) => image.complete && image.naturalWidth > 50", arg=picture.element_handle())
    moments = page.locator("#moments button")
    expect(moments.first).to_be_visible()

    page.get_by_role("button", name="Play", exact=True).click()
    sieve.plays_past(0.3)
    sieve.is_heard()
    before = sieve.seconds
    page.get_by_role("radio", name="Everything else").check()
    assert sieve.seconds >= before  # it goes on where it was
    sieve.plays_past(before + 0.2)
    page.get_by_role("button", name="Pause").click()
    sieve.is_silent()
    stopped = sieve.seconds
    page.get_by_role("radio", name="Recording").check()
    assert sieve.seconds == stopped

    parts = {}
    for title, part in (("the sound", "target"), ("the rest", "rest")):
        for kind in ("wav", "flac"):
            path = sieve.download(page.get_by_role("link", name=f"Download {title} as {kind}"), tmp_path)
            assert path.suffix == f".{kind}"
            assert "dog" in path.name
            parts[part, kind], rate = audio.decode(path)
            assert rate == 32000
    mixture, _ = audio.decode(demo_mixture)
    for kind in ("wav", "flac"):
        assert np.abs(parts["target", kind] + parts["rest", kind] - mixture).max() < 2**-14
    assert np.abs(parts["target", "wav"]).max() > 0.01

    with zipfile.ZipFile(sieve.download(page.get_by_role("link", name="as zip"), tmp_path)) as packed:
        assert packed.testzip() is None
        assert len([name for name in packed.namelist() if name.endswith((".wav", ".flac"))]) >= 2


def test_two_tracks_are_mixed(open_page: Open, demo_mixture: Path, tmp_path: Path) -> None:
    sieve = open_page()
    page = sieve.page
    sieve.open(demo_mixture)
    sieve.ask("a dog barking")
    sieve.ask("rain falling")
    expect(sieve.tracks).to_have_count(2)
    dog, rain = sieve.track("a dog barking"), sieve.track("rain falling")

    page.get_by_role("radio", name="Listen to the mix").check()
    page.get_by_role("button", name="Play", exact=True).click()
    sieve.is_heard()
    dog.get_by_role("button", name="Mute").click()
    rain.get_by_role("button", name="Mute").click()
    sieve.is_silent()
    expect(page.get_by_role("link", name="Download the mix as wav")).to_have_count(0)  # nothing is heard
    for row in (dog, rain):
        expect(row.get_by_role("button", name="Mute")).to_have_attribute("aria-pressed", "true")
        row.get_by_role("button", name="Mute").click()

    level = rain.get_by_role("slider")
    level.focus()
    for _ in range(6):
        level.press("ArrowLeft")
    expect(level).to_have_attribute("aria-valuetext", "-6 dB")
    mixed, _ = audio.decode(sieve.download(page.get_by_role("link", name="Download the mix as wav"), tmp_path))
    dog.get_by_role("button", name="Solo").click()
    alone, _ = audio.decode(sieve.download(page.get_by_role("link", name="Download the mix as wav"), tmp_path))
    dog.get_by_role("button", name="Solo").click()
    rain.get_by_role("button", name="Solo").click()
    quieter, _ = audio.decode(sieve.download(page.get_by_role("link", name="Download the mix as wav"), tmp_path))
    assert np.abs(alone + quieter - mixed).max() < 2**-13
    page.locator("#tracks").get_by_role("button", name="rain falling", exact=True).click()
    whole, _ = audio.decode(sieve.download(page.get_by_role("link", name="Download the sound as wav"), tmp_path))
    assert np.abs(quieter - whole * 10 ** (-6 / 20)).max() < 2**-14

    dog.get_by_role("button", name="Remove").click()
    expect(sieve.tracks).to_have_count(1)


def test_an_example_of_the_page_answers_enter(open_page: Open) -> None:
    sieve = open_page()
    sieve.page.get_by_role("button", name="A dog in the rain").click()
    expect(sieve.name).to_contain_text("dog")
    expect(sieve.query).to_have_value("a dog barking")
    sieve.query.press("Enter")
    sieve.answered("a dog barking")


def test_a_stretch_of_the_recording_is_the_example(open_page: Open, demo_mixture: Path) -> None:
    sieve = open_page()
    page = sieve.page
    sieve.open(demo_mixture)
    picture = page.get_by_role("img", name="Spectrogram of the recording")
    expect(picture).to_be_visible()
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], middle, steps=4)
    page.mouse.move(box["x"] + 0.4 * box["width"], middle, steps=4)
    page.mouse.up()
    expect(page.get_by_text(re.compile(r"Example: 1\.0.2\.0 s of this recording"))).to_be_visible()
    expect(page.get_by_label("From", exact=True)).to_have_value("1.00")
    sieve.ask_button.click()
    expect(sieve.answer).to_contain_text("1-2")
    expect(page.locator("#command")).to_contain_text("--like-span 1-2")

    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("of this recording", exact=False).filter(has_text="Example:")).to_be_hidden()
    page.get_by_label("From", exact=True).fill("3")
    page.get_by_label("to", exact=True).fill("99")
    page.get_by_label("to", exact=True).press("Tab")
    expect(page.locator("#wrong-region")).to_have_text("The recording ends at 5.00 s.")


def test_example_clips_and_words_to_leave_out(open_page: Open, demo_mixture: Path, clips: Path) -> None:
    sieve = open_page()
    page = sieve.page
    sieve.open(demo_mixture)
    page.get_by_role("button", name="Add example clips").click()
    clip = next(clips.rglob("*.ogg"), None) or demo_mixture
    page.locator("#ask-like input[type=file]").set_input_files(clip)
    expect(page.locator("#ask-like")).to_contain_text(clip.stem)
    expect(page.get_by_role("button", name="Add more")).to_be_visible()
    sieve.exclude.fill("rain, wind")
    sieve.ask_button.click()
    expect(sieve.answer).to_contain_text("without rain")
    expect(page.locator("#command")).to_contain_text("--like")
    expect(page.locator("#command")).to_contain_text("--exclude wind")
    expect(page.locator("#python")).to_contain_text("exclude=['rain', 'wind']")


def test_a_microphone_makes_a_recording(open_page: Open) -> None:
    sieve = open_page()
    page = sieve.page
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1500)  # the length of what is recorded
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(sieve.name).not_to_be_empty()
    expect(page.locator("#recording-facts")).to_contain_text("s · ")
    sieve.ask("a beep")
