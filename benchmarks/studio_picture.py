"""Make docs/studio.png: the studio's page as Debian's Chromium shows it, after two questions about the demo mixture.

    python benchmarks/studio_picture.py
    python benchmarks/studio_picture.py --colours dark --width 390 --output phone.png

It starts a studio of its own. Needs the extra `dev` and `apt-get install chromium`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
AT_S = 3.35
COLOURS = 128


def fill(page: Page) -> None:
    """Ask for both sounds of the example, and go to a bark."""
    page.get_by_role("button", name="A dog in the rain").click()
    words = page.get_by_label("What do you want to hear?")
    for question in ("rain falling", "a dog barking"):
        expect(page.locator("#ask-button")).to_be_enabled()
        words.fill(question)
        words.press("Enter")
        expect(page.locator("#listen-title")).to_have_text(question)
    page.get_by_role("slider", name="Position").fill(str(AT_S))
    page.wait_for_function("() => [...document.images].every((image) => image.complete)")
    page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")


def shot(url: str, width: int, colours: str) -> bytes:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(color_scheme=colours, viewport={"width": width, "height": 700})  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("() => window.soundsieve")
        fill(page)
        height = page.evaluate("() => document.getElementById('downloads').getBoundingClientRect().bottom + 10")
        page.set_viewport_size({"width": width, "height": round(height)})
        return page.screenshot()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "studio.png")
    parser.add_argument("--width", type=int, default=1000, help="of the window, in pixels")
    parser.add_argument("--colours", choices=["light", "dark"], default="light")
    options = parser.parse_args()

    command = [sys.executable, "-m", "soundsieve.cli.main", "studio", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as studio:
        assert studio.stdout is not None
        try:
            picture = shot(studio.stdout.readline().strip(), options.width, options.colours)
        finally:
            studio.terminate()
    few = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(options.output, optimize=True)
    print(f"{options.output}: {few.width} x {few.height}, {options.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
