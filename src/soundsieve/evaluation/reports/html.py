"""Pieces of a web page that stands alone: text is escaped, pictures and sounds are inside, nothing is fetched."""

from __future__ import annotations

import base64
import io
import re
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from soundsieve import audio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""What is drawn in this colour takes the colour of the page's text, on light and on dark ground."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
}
"""Settings of matplotlib for `svg`: text stays text, and names of files are no formulas."""


def template(name: str, package: str = "soundsieve.evaluation.reports") -> str:
    """A file of a package, such as a page with places to fill."""
    return files(package).joinpath(name).read_text("utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts; a cell that reads as a number is not broken."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}\n</tbody></table></div>\n'


def _cell(text: str) -> str:
    number = ' class="number"' if re.match(r"[+-]?[\d.]+($| \()", text) else ""
    return f"<td{number}>{escape(text)}</td>"


def paragraph(text: str) -> str:
    """A text on its own."""
    return f"<p>{escape(text)}</p>\n"


def bullets(texts: Sequence[str]) -> str:
    """A list of texts; nothing if there are none."""
    if not texts:
        return ""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>\n"


def folded(summary: str, content: str) -> str:
    """What opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def svg(figure: Figure, name: str, described: str) -> str:
    """A figure as part of the page.

    Args:
        figure: drawn under `STYLE`.
        name: no other figure of the page has it: a page has every id once.
        described: what there is to see, for those who do not see it, and as the caption.
    """
    from matplotlib import rc_context

    with rc_context(STYLE), io.StringIO() as file:
        figure.savefig(file, format="svg")
        text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<\?.*?\?>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)  # HTML knows its own
    text = re.sub(r'(\sid="|url\(#|href="#)', rf"\1{name}-", text)
    text = re.sub(r'^<svg ((?:.|\n)*?)width="[\d.]+pt" height="[\d.]+pt"', r"<svg \1", text)
    text = text.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-caption" ', 1).replace(INK, "currentColor")
    width = round(figure.get_figwidth() * 96)
    caption = f'<figcaption id="{name}-caption">{escape(described)}</figcaption>'
    return f'<figure id="{name}" style="max-width: {width}px"><div class="wide">{text}</div>{caption}</figure>\n'


def sound_uri(samples: np.ndarray, sample_rate: int) -> str:
    """A sound as an address that holds it: FLAC of 16 bits, which browsers play and which loses nothing one hears.

    Args:
        samples: shape ``(T,)`` or ``(C, T)``, within full scale.
        sample_rate: Hz.
    """
    with tempfile.TemporaryDirectory(prefix="soundsieve-") as folder:
        path = Path(folder) / "sound.flac"
        audio.encode(path, samples, sample_rate, clip_mode="clamp")
        return "data:audio/flac;base64," + base64.b64encode(path.read_bytes()).decode()


def player(samples: np.ndarray, sample_rate: int, title: str) -> str:
    """Plays a sound."""
    source = sound_uri(samples, sample_rate)
    return (
        f'<figure class="player"><figcaption>{escape(title)}</figcaption>'
        f'<audio controls preload="none" aria-label="{escape(title)}" src="{source}"></audio></figure>\n'
    )
