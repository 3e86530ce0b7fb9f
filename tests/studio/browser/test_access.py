"""The page for everybody: by keyboard alone, read aloud, in the dark, in the light, on a telephone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from page_in_browser import faint, focus_is_seen, nameless, too_wide
from playwright.sync_api import Locator, expect
from studio_page import StudioPage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Open = Callable[..., StudioPage]

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_stage_has_names_and_contrast(open_page: Open, demo_mixture: Path, tmp_path: Path, colours: str) -> None:
    sieve = open_page(color_scheme=colours)
    page = sieve.page

    def passes(stage: str) -> None:
        assert nameless(page) == [], stage
        assert faint(page) == [], stage

    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert (sum(dark) < 200) == (colours == "dark")
    passes("choosing")
    nothing = tmp_path / "nothing.wav"
    nothing.touch()
    sieve.upload(nothing)
    expect(page.locator("#wrong-source")).not_to_be_empty()
    passes("refused")
    sieve.open(demo_mixture)
    passes("opened")
    sieve.ask("a dog barking")
    sieve.ask("rain falling")
    page.get_by_text("Do the same without this page").click()
    page.get_by_role("button", name="Add example clips").click()
    expect(page.get_by_label("Command line")).to_be_visible()
    passes("answered")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_telephone_needs_no_scrolling_sideways(open_page: Open, demo_mixture: Path, colours: str) -> None:
    sieve = open_page(color_scheme=colours, **PHONE)
    page = sieve.page
    assert too_wide(page) == []
    recording = demo_mixture.rename(
        demo_mixture.with_stem("a recording with a name that is far too long for a telephone")
    )
    sieve.open(recording)
    assert too_wide(page) == []
    sieve.ask("a dog barking")
    sieve.ask("a dog that barks at somebody who walks by in the rain at night")
    page.get_by_text("Do the same without this page").click()
    expect(page.get_by_label("Command line")).to_be_visible()
    assert too_wide(page) == []
    page.get_by_role("button", name="Play", exact=True).tap()
    sieve.plays_past(0.1)
    for button in page.get_by_role("button").all():
        if button.is_visible() and (box := button.bounding_box()) is not None:
            assert box["height"] >= 24, button.inner_text()  # WCAG 2.2, 2.5.8
            assert box["width"] >= 24, button.inner_text()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_page_about_the_api_is_readable(open_page: Open, colours: str) -> None:
    sieve = open_page(color_scheme=colours, **PHONE)
    page = sieve.page
    page.get_by_role("link", name="HTTP API").tap()
    expect(page.get_by_role("heading", name="POST /api/recordings", exact=True)).to_be_visible()
    assert nameless(page) == faint(page) == too_wide(page) == []


def reach(sieve: StudioPage, target: Locator, key: str = "Tab", most: int = 80) -> None:
    """Press a key until the focus is there; everything on the way has to show that it has the focus."""
    for _ in range(most):
        sieve.page.keyboard.press(key)
        if target.evaluate("(one) => one === document.activeElement"):
            assert focus_is_seen(sieve.page)
            return
    raise AssertionError(f"{key} does not lead to {target}")


def test_by_keyboard_alone(open_page: Open) -> None:
    sieve = open_page()
    page, keyboard = sieve.page, sieve.page.keyboard
    reach(sieve, page.get_by_role("button", name="A dog in the rain"))
    keyboard.press("Enter")
    expect(sieve.name).to_contain_text("dog")
    reach(sieve, sieve.query)
    keyboard.press("Control+A")
    keyboard.type("rain falling")
    keyboard.press("Enter")
    sieve.answered("rain falling")

    reach(sieve, page.get_by_role("button", name="Play", exact=True))
    keyboard.press("Space")
    sieve.plays_past(0.2)
    keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_focused()
    seek = page.get_by_role("slider", name="Position")
    reach(sieve, seek)
    before = sieve.seconds
    keyboard.press("ArrowRight")
    page.wait_for_function("(s) => window.soundsieve.seconds > s", arg=before)
    reach(sieve, page.locator("input[name=listening]:checked"))
    keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Everything else")).to_be_checked()

    start = page.get_by_label("From", exact=True)
    reach(sieve, start)
    keyboard.type("1")
    reach(sieve, page.get_by_label("to", exact=True))
    keyboard.type("2")
    keyboard.press("ArrowUp")
    expect(page.get_by_label("to", exact=True)).to_have_value("2.10")
    expect(page.get_by_text("Example: 1.0")).to_be_visible()
    reach(sieve, sieve.query, "Shift+Tab")
    keyboard.press("Control+A")
    keyboard.press("Delete")
    keyboard.press("Enter")
    expect(sieve.answer).to_contain_text("1-2.1")

    row = sieve.track("rain falling")
    reach(sieve, row.get_by_role("button", name="Mute"))
    keyboard.press("Space")
    expect(row.get_by_role("button", name="Mute")).to_have_attribute("aria-pressed", "true")
    reach(sieve, row.get_by_role("slider"))
    keyboard.press("ArrowLeft")
    expect(row.get_by_role("slider")).to_have_attribute("aria-valuetext", "-1 dB")
    reach(sieve, page.get_by_role("link", name="Download the mix as flac"))
    with page.expect_download():
        keyboard.press("Enter")


def test_what_happens_is_told(open_page: Open, demo_mixture: Path) -> None:
    """Screen readers hear what the live regions say, each thing once."""
    sieve = open_page()
    page = sieve.page
    page.evaluate(
        """() => {
          window.told = [];
          new MutationObserver((changes) => {
            for (const change of changes) {
              const node = change.target.nodeType === 1 ? change.target : change.target.parentElement;
              const live = node && node.closest("[role=status], [role=alert], [aria-live]");
              const text = live && live.textContent.trim();
              if (text && text !== window.told.at(-1)) window.told.push(text);
            }
          }).observe(document.body, {childList: true, characterData: true, subtree: true});
        }"""
    )
    sieve.open(demo_mixture)
    sieve.ask("a dog barking")
    sieve.query.fill("")
    sieve.query.press("Enter")
    refusal = page.get_by_role("alert").filter(has_text="Nothing was asked")
    expect(refusal).to_be_visible()
    told = page.evaluate("() => window.told")
    for start in ("Say what you want", "a dog barking: it is", "Nothing was asked"):
        assert any(one.startswith(start) for one in told), told
    expect(page.locator("html")).to_have_attribute("lang", "en")
