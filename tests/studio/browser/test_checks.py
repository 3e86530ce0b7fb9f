"""The checks find what they are for: each on a page that has just that fault, and none on a page that has none."""

from __future__ import annotations

import pytest
from page_in_browser import faint, focus_is_seen, nameless, too_wide
from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = "".join(f"<p>paragraph {number}</p>" for number in range(6))


@pytest.fixture
def page(browser: Browser) -> Page:
    return browser.new_page(viewport={"width": 390, "height": 800})


def test_a_good_page_passes(page: Page) -> None:
    page.set_content(f"<main>{WORDS}<label>Name <input></label><button aria-label='Play'>▶</button></main>")
    assert nameless(page) == faint(page) == too_wide(page) == []
    page.get_by_role("button").focus()
    assert focus_is_seen(page)


@pytest.mark.parametrize("control", ["<button></button>", "<input>", "<input type=range>", "<img src='data:,'>"])
def test_what_has_no_name_is_found(page: Page, control: str) -> None:
    page.set_content(control)
    assert len(nameless(page)) == 1


@pytest.mark.parametrize(
    ("style", "found"),
    [
        ("color: #777; background: #fff", 1),  # 4.48
        ("color: #767676; background: #fff", 0),  # 4.54
        ("color: #949494; font-size: 24px", 0),  # 3.03, and large
        ("color: #959595; font-size: 24px", 1),  # 2.99
        ("color: #0009; background: #fff", 0),  # 60% black on white is #666: 5.74
        ("color: #0007; background: #fff", 1),  # 47% is #888: 3.54
        ("color: #777; visibility: hidden", 0),
    ],
)
def test_faint_text_is_found(page: Page, style: str, found: int) -> None:
    page.set_content(f"{WORDS}<p style='{style}'>hard to read</p>")
    assert len(faint(page)) == found


@pytest.mark.parametrize(
    ("around", "found"), [("", True), ("overflow: hidden", True), ("overflow-x: auto", False), ("display: none", False)]
)
def test_what_reaches_past_the_edge_is_found(page: Page, around: str, found: bool) -> None:
    page.set_content(f"{WORDS}<div style='{around}'><div style='width: 500px'>wide</div></div>")
    assert bool(too_wide(page)) == found


def test_a_focus_that_is_not_seen_is_found(page: Page) -> None:
    page.set_content("<button style='outline: none'>Play</button>")
    page.get_by_role("button").focus()
    assert not focus_is_seen(page)
