"""The studio's page as a person uses it: what is done is done by label, what is read is what is shown."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import FilePayload, Locator, Page, expect

PATIENCE_MS = 60_000  # machines that run tests may be busy; nothing waits longer than it has to

expect.set_options(timeout=PATIENCE_MS)

# Runs before the page's own scripts: what goes to the loudspeakers is measured on its way.
LISTENS = """
const connect = AudioNode.prototype.connect;
window.ears = [];
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    if (!to.ear) {
      to.ear = new AnalyserNode(this.context, {fftSize: 8192});
      window.ears.push(to.ear);
    }
    connect.call(this, to.ear);
  }
  return connect.call(this, to, ...rest);
};
window.loudness = () => window.ears.reduce((sum, ear) => {
  const samples = new Float32Array(ear.fftSize);
  ear.getFloatTimeDomainData(samples);
  return sum + samples.reduce((all, x) => all + x * x, 0) / samples.length;
}, 0);
"""


class StudioPage:
    """One open page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.query = page.get_by_label("What do you want to hear?")
        self.exclude = page.get_by_label("What should be left out?")
        self.ask_button = page.get_by_role("button", name="Extract it")
        self.cancel = page.get_by_role("button", name="Cancel")
        self.status = page.locator("#said")
        self.answer = page.locator("#listen-title")
        self.name = page.locator("#recording-name")
        self.tracks = page.locator("#tracks > li")

    def wait_until_there(self) -> None:
        """Gradio has drawn its fields, and the page's own script runs."""
        expect(self.page.get_by_role("heading", name="Choose a recording")).to_be_visible()
        self.page.wait_for_function("() => window.soundsieve")

    def upload(self, file: Path | FilePayload) -> None:
        """Give a file to the field for recordings, whatever comes of it."""
        self.page.locator("#source-file input[type=file]").set_input_files(file)

    def open(self, path: Path) -> None:
        """Upload a recording and wait until it is there."""
        self.upload(path)
        expect(self.name).to_have_text(path.name)

    def ask(self, text: str) -> None:
        """Ask by pressing Enter, and wait for the answer."""
        self.query.fill(text)
        self.query.press("Enter")
        self.answered(text)

    def answered(self, text: str) -> None:
        """Wait for the answer."""
        expect(self.answer).to_have_text(text)
        expect(self.ask_button).to_be_enabled()
        expect(self.page.locator("#progress")).to_be_hidden()

    def track(self, description: str) -> Locator:
        """The row of a track at the mixing desk."""
        return self.tracks.filter(has=self.page.get_by_role("button", name=description, exact=True))

    @property
    def seconds(self) -> float:
        """Where it plays."""
        return float(self.page.evaluate("() => window.soundsieve.seconds"))

    def plays_past(self, seconds: float) -> None:
        """Wait until it has played that far."""
        self.page.wait_for_function("(s) => window.soundsieve.seconds > s", arg=seconds)

    def is_heard(self) -> None:
        """Wait for sound at the loudspeakers."""
        self.page.wait_for_function("() => window.loudness() > 1e-9")

    def is_silent(self) -> None:
        """Wait for silence there."""
        self.page.wait_for_function("() => window.loudness() < 1e-12")

    def download(self, link: Locator, folder: Path) -> Path:
        """Follow a link that downloads, and say where the file is, under the name that it was given."""
        with self.page.expect_download() as waiting:
            link.click()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path
