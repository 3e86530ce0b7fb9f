"""Recordings that come along, for a first try."""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np

from soundsieve import audio
from soundsieve.naming import slug


@dataclass(frozen=True)
class Example:
    """A bundled recording.

    Attributes:
        title: what is heard.
        ask: what one may ask for first.
        clips: files whose sum it is, each a package and a path in it.
    """

    title: str
    ask: str
    clips: tuple[tuple[str, str], ...]

    @property
    def file_name(self) -> str:
        """What the recording is called on the page."""
        return f"{slug(self.title)}.wav"

    def content(self) -> bytes:
        """The recording as a wav file."""
        parts, sample_rate = [], 0
        for package, name in self.clips:
            with as_file(files(package) / name) as path:
                samples, sample_rate = audio.decode(path)
                parts.append(samples)
        content = io.BytesIO()
        with audio.Writer(content, sample_rate, len(parts[0]), subtype="FLOAT") as writer:
            writer.write(np.sum(parts, axis=0))
        return content.getvalue()


EXAMPLES = (
    Example(
        "A dog in the rain",
        "a dog barking",
        (("soundsieve.embedded", "demo/dog.flac"), ("soundsieve.embedded", "demo/rain.flac")),
    ),
    Example("A man, a bird and a rooster", "a man speaking", (("soundsieve.studio", "recordings/farmyard.ogg"),)),
)
"""What the page offers; where the sounds come from is written beside them."""
