"""The page's logic, run by node where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest

NODE = shutil.which("node")
STATIC = files("soundsieve.studio") / "static"

FAKE_AUDIO = """
globalThis.played = [];
globalThis.AudioBufferSourceNode = class {
  constructor(context, { buffer }) { this.buffer = buffer; }
  connect(node) { this.node = node; }
  start(when, offset) { played.push({ what: this.buffer.what, when, offset, node: this.node }); }
  stop() { this.stopped = true; }
};
globalThis.GainNode = class {
  constructor(context, { gain }) { this.gain = { value: gain, setTargetAtTime: (value) => (this.gain.value = value) }; }
  connect() {}
};
class Context {
  constructor() { this.currentTime = 0; this.destination = {}; }
  resume() { return Promise.resolve(); }
  decodeAudioData(what) { return Promise.resolve({ what, duration: what.frames / 1000 }); }
  close() { this.closed = true; }
}
const asked = [];
const fetchPiece = async (sound, start, frames) => { asked.push([sound, start]); return { sound, start, frames }; };
const recording = { frames: 20000, sampleRate: 1000, channels: 1 };
const made = (fetching = fetchPiece) => new Transport(recording, fetching, () => {}, () => new Context());
const mixture = () => { const t = made(); t.hear(new Map([["mixture", 1]]), []); return t; };
const settled = () => new Promise((done) => setTimeout(done, 1));
"""


def run(module: str, code: str, before: str = "") -> Any:
    """What the code returns, with everything that the module exports in scope."""
    if NODE is None:
        pytest.skip("node is not installed")
    script = f"import * as all from {json.dumps((STATIC / module).as_uri())};\nObject.assign(globalThis, all);\n"  # type: ignore[attr-defined]
    script += f"{before}\nconsole.log(JSON.stringify(await (async () => {{ {code} }})())); process.exit(0);"
    command = [NODE, "--input-type=module", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_moments_are_written_and_read() -> None:
    written = run("timeline.mjs", "return [0, 3.44, 59.96, 63.4, 600].map((one) => clock(one));")
    assert written == ["0.0", "3.4", "1:00.0", "1:03.4", "10:00.0"]
    assert run("timeline.mjs", "return [clock(63.4, 0), clock(5, 0), clock(1.005, 2)];") == ["1:03", "5", "1.00"]
    read = run("timeline.mjs", 'return ["3.4", " 3,5 ", "1:03.4", ".5", "2:00"].map(readSeconds);')
    assert read == [3.4, 3.5, 63.4, 0.5, 120]
    assert (
        run("timeline.mjs", 'return ["", "x", "1:2:3", "-1", "1e3"].map((one) => isNaN(readSeconds(one)));')
        == [True] * 5
    )


@pytest.mark.parametrize(("seconds", "width"), [(0.3, 300), (5, 300), (61, 900), (600, 320), (36000, 300)])
def test_marks_of_time_fit_and_begin_at_zero(seconds: float, width: int) -> None:
    marks = run("timeline.mjs", f"return timeMarks({seconds}, {width});")
    places = [mark["place"] for mark in marks]
    assert places[0] == 0
    assert len(marks) >= 2 or seconds > 600
    assert all(0 <= place <= 1 + 1e-9 for place in places)
    gaps = [(b - a) * width for a, b in pairwise(places)]
    assert all(gap > 40 for gap in gaps) or seconds > 6000
    assert len({mark["text"] for mark in marks}) == len(marks)


def test_a_stretch_lies_within_the_recording_in_order() -> None:
    found = run(
        "timeline.mjs", "return [[1, 2], [2, 1], [-5, 0.5], [4.9, 99], [1, 1.05]].map(([a, b]) => stretch(a, b, 5));"
    )
    assert found == [
        {"start": 1, "end": 2},
        {"start": 1, "end": 2},
        {"start": 0, "end": 0.5},
        {"start": 4.9, "end": 5},
        None,
    ]


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("", "", ""),
        ("1", "2", ""),
        ("0:01", "0:02.5", ""),
        ("1", "", "both moments"),
        ("one", "2", "both moments"),
        ("1", "5.2", "ends at 5.00 s"),
        ("2", "1", "after the start"),
        ("1", "1.05", "after the start"),
    ],
)
def test_what_is_wrong_with_a_typed_stretch_is_told(start: str, end: str, told: str) -> None:
    sentence = run("timeline.mjs", f"return complaint({json.dumps(start)}, {json.dumps(end)}, 5);")
    assert (told in sentence) if told else sentence == ""


def test_solo_wins_and_mute_wins_over_solo() -> None:
    assert run(
        "mixing.mjs",
        "const t = ['a', 'b', 'c'].map(newTrack); const ids = () => kept(t).map((one) => one.id).join('');"
        "const found = [ids()]; t[0].muted = true; found.push(ids()); t[1].solo = true; found.push(ids());"
        "t[1].muted = true; found.push(ids()); return found;",
    ) == ["abc", "bc", "b", ""]


def test_what_is_heard() -> None:
    mixture, target, rest, nothing, mix, asked = run(
        "mixing.mjs",
        "const t = [newTrack('a'), {...newTrack('b'), gainDb: -6}, {...newTrack('c'), gainDb: LOWEST_DB}];"
        "return [heard('mixture', 'a', t), heard('target', 'a', t), heard('rest', 'a', t), heard('target', null, t),"
        " heard('mix', 'a', t)].map((one) => Object.fromEntries(one)).concat([levels(t)]);",
    )
    assert mixture == nothing == {"mixture": 1}
    assert (target, rest) == ({"a.target": 1}, {"a.rest": 1})
    assert mix == {"a.target": 1, "b.target": pytest.approx(10 ** (-6 / 20)), "c.target": 0}
    assert asked == [["a", 0], ["b", -6]]


def test_pieces_cover_what_is_asked_and_no_more() -> None:
    found = run(
        "transport.mjs",
        "const ends = [[0, 10], [5999, 6001], [19000, 99999], [20000, 30000]];"
        "return ends.map(([first, last]) => piecesBetween(first, last, 6000, 20000));",
    )
    assert found == [[0], [0, 1], [3], []]


def test_sounds_stay_on_one_clock() -> None:
    found = run(
        "transport.mjs",
        "const t = made(); t.hear(new Map([['mixture', 1]]), ['mixture', 'a.target']); await t.play(); await settled();"
        "t.context.currentTime = 1.05; t.tick(); await settled(); t.hear(new Map([['a.target', 1]]), ['mixture']);"
        "return [played.map(({what, when, offset}) => [what.sound, what.start, when, offset]), t.position,"
        " Object.fromEntries([...t.nodes].map(([name, node]) => [name, node.gain.value]))];",
        FAKE_AUDIO,
    )
    starts, position, gains = found
    assert starts[0] == ["mixture", 0, 0.05, 0]
    late = next(start for start in starts if start[0] == "a.target")
    assert late[2] - late[3] == pytest.approx(0.05)  # it began in the middle, as if it had been there all along
    assert position == pytest.approx(1000)
    assert gains == {"mixture": 0, "a.target": 1}


def test_what_comes_next_is_fetched_ahead_and_follows_without_a_gap() -> None:
    starts = run(
        "transport.mjs",
        "const t = mixture(); await t.play(); t.context.currentTime = 4.8; t.tick();"
        "await settled(); t.tick(); return [asked, played.map(({what, when, offset}) => [what.start, when, offset])];",
        FAKE_AUDIO,
    )
    assert starts == [[["mixture", 0], ["mixture", 6000]], [[0, 0.05, 0], [6000, 6.05, 0]]]


def test_the_position_stays_when_it_pauses_seeks_and_switches_to_what_has_to_be_fetched() -> None:
    found = run(
        "transport.mjs",
        "const t = mixture(); await t.play(); t.context.currentTime = 2.05; t.pause();"
        "const found = [t.position, t.state]; await t.seek(7500); found.push(t.position, t.state); await t.play();"
        "t.context.currentTime += 1.05; t.hear(new Map([['b.rest', 1]]), []); found.push(t.position, t.state);"
        "await settled(); found.push(t.position, t.state); t.context.currentTime += 99; t.tick();"
        "found.push(t.position, t.state); return found;",
        FAKE_AUDIO,
    )
    assert found[:4] == [pytest.approx(2000), "stopped", 7500, "stopped"]
    assert found[4:8] == [pytest.approx(8500), "waiting", pytest.approx(8500), "playing"]
    assert found[8:] == [0, "stopped"]


def test_a_sound_that_cannot_be_fetched_is_told() -> None:
    found = run(
        "transport.mjs",
        "const t = made(() => Promise.reject(new Error('It is gone.'))); t.hear(new Map([['mixture', 1]]), []);"
        "await t.play(); return [t.state, t.failure];",
        FAKE_AUDIO,
    )
    assert found == ["stopped", "It is gone."]


def test_pieces_that_were_not_used_for_long_are_let_go() -> None:
    held = run(
        "transport.mjs",
        "recording.frames = 10 ** 7; recording.channels = 1000; const t = mixture();"
        "for (let i = 0; i < 30; i++) { await t.seek(i * 6000); await t.play(); await settled(); t.pause(); }"
        "return t.pieces.size;",
        FAKE_AUDIO,
    )
    assert held <= 12
