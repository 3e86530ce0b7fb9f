from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest

from soundsieve import audio
from soundsieve.evaluation.reports.html import INK, STYLE, bullets, folded, paragraph, player, svg, table

HOSTILE = '<script>alert("x")</script>&'
ESCAPED = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;"


@pytest.mark.parametrize(
    "made",
    [
        table([HOSTILE], [[HOSTILE]]),
        paragraph(HOSTILE),
        bullets([HOSTILE]),
        folded(HOSTILE, ""),
        player(np.zeros(100, np.float32), 16000, HOSTILE),
    ],
    ids=["table", "paragraph", "bullets", "folded", "player"],
)
def test_texts_are_escaped(made: str) -> None:
    assert "<script" not in made
    assert ESCAPED in made


def test_numbers_are_not_broken() -> None:
    made = table(["a"], [["-1.5 (-2.0 to 1.0)"], ["12"], ["007ddd"], ["5 dogs"]])
    assert re.findall(r'<td class="number">(.*?)</td>', made) == ["-1.5 (-2.0 to 1.0)", "12"]


def test_a_figure_takes_the_colour_of_the_page_and_ids_of_its_own() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1])
        axes.set_title(f"{HOSTILE} $\\frac{{$")  # not taken for a formula
    both = svg(figure, "one", HOSTILE) + svg(figure, "two", "b")
    assert "<script" not in both
    assert ESCAPED in both
    assert "currentColor" in both
    assert INK not in both
    ids = re.findall(r'\sid="([^"]+)"', both)
    assert len(ids) == len(set(ids))
    assert {one.split("-")[0] for one in ids} == {"one", "two"}
    assert not re.search(r"https?:|<metadata|<\?xml", both)


def test_a_player_holds_its_sound() -> None:
    sound = np.sin(np.arange(1600, dtype=np.float32) / 5) / 2
    data = re.search(r'src="data:audio/flac;base64,([^"]+)"', player(sound, 16000, "a"))
    assert data is not None
    samples, rate = audio.decode(io.BytesIO(base64.b64decode(data[1])))
    assert rate == 16000
    np.testing.assert_allclose(samples[0], sound, atol=2**-15)
