"""The page's logic, run by node where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from soundsieve.evaluation.reports.html import template

NODE = shutil.which("node")
SESSION = template("session.js", "soundsieve.evaluation.listening")
STIMULI = [{"token": f"{item}{n}", "item": item} for item in "abcdef" for n in range(3)]


def run(code: str) -> object:
    """What the code returns, with the logic and ``stimuli`` in scope."""
    if NODE is None:
        pytest.skip("node is not installed")
    script = f"{SESSION}\nconst stimuli = {json.dumps(STIMULI)};\n"
    script += f"console.log(JSON.stringify((() => {{ {code} }})()));"
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_order_is_the_rater_s_own_and_keeps_items_together() -> None:
    ann, again, ben, other = run(
        'return [["t", "Ann"], ["t", " ann "], ["t", "Ben"], ["u", "Ann"]].map('
        "([test, rater]) => orderFor(stimuli, test, rater).map((one) => one.token));"
    )
    assert ann == again
    assert len({tuple(order) for order in (ann, ben, other)}) == 3
    for order in (ann, ben, other):
        assert sorted(order) == [one["token"] for one in STIMULI]
        groups = [token[0] for token in order]
        assert sorted(groups, key=groups.index) == groups  # each item's sounds in a row
        assert len({tuple(token[1] for token in order if token[0] == item) for item in "abcdef"}) > 1


def test_every_place_is_as_likely() -> None:
    counts = run(
        "const counts = Array.from({length: 4}, () => [0, 0, 0, 0]);"
        "for (let seed = 0; seed < 4000; seed++) {"
        '  shuffled([0, 1, 2, 3], randomFrom(hashOf("t" + seed))).forEach((x, place) => counts[x][place]++);'
        "} return counts;"
    )
    assert all(900 < count < 1100 for row in counts for count in row)  # 1000 +- 27


def test_random_numbers_lie_between_0_and_1() -> None:
    low, high, mean = run(
        "const random = randomFrom(1); const x = Array.from({length: 10000}, random);"
        "return [Math.min(...x), Math.max(...x), x.reduce((a, b) => a + b) / x.length];"
    )
    assert 0 <= low < 0.01
    assert 0.99 < high < 1
    assert abs(mean - 0.5) < 0.02


def test_only_ratings_are_noted() -> None:
    noted, session, rated = run(
        'const session = newSession("t", " Ann ");'
        'const noted = [["rel", 1], ["ovl", 5], ["rel", 0], ["rel", 6], ["rel", 2.5], ["rel", "3"], ["x", 3]].map('
        '([scale, value]) => rate(session, "a0", scale, value));'
        'return [noted, session, [isRated(session, "a0"), isRated(session, "a1")]];'
    )
    assert noted == [True, True] + [False] * 5
    assert session == {
        "format": "soundsieve ratings 1",
        "test": "t",
        "rater": "Ann",
        "ratings": {"a0": {"rel": 1, "ovl": 5}},
    }
    assert rated == [True, False]


def test_a_number_is_for_the_scale_in_focus_or_the_first_open_one() -> None:
    assert run(
        'const session = newSession("t", "a"); const found = [];'
        'const next = (focused) => found.push(scaleToRate(session, "a0", focused));'
        'next(null); rate(session, "a0", "rel", 3); next(null); next("rel"); rate(session, "a0", "ovl", 3); next(null);'
        "return found;"
    ) == ["rel", "ovl", "rel", "rel"]


def test_a_stored_session_goes_on_where_it_stopped() -> None:
    same, place, end = run(
        'const session = newSession("t", "Ann"); const order = orderFor(stimuli, "t", "Ann");'
        'for (const { token } of order.slice(0, 4)) { rate(session, token, "rel", 2); rate(session, token, "ovl", 3); }'
        'const back = restored(JSON.stringify(session), "t", "ann", stimuli); const place = firstOpen(back, order);'
        'for (const { token } of order) { rate(back, token, "rel", 2); rate(back, token, "ovl", 3); }'
        "return [JSON.stringify(back.ratings).length > 2, place, firstOpen(back, order)];"
    )
    assert same
    assert (place, end) == (4, len(STIMULI))


def test_what_is_not_this_session_is_not_restored() -> None:
    found = run(
        'const session = newSession("t", "Ann"); rate(session, "a0", "rel", 2);'
        "const text = JSON.stringify(session);"
        "const bent = JSON.stringify({...session, ratings: {a0: {rel: 9}, zz: {rel: 1}}});"
        'const of = [[text, "u", "Ann"], [text, "t", "Ben"], ...["{", "null", ""].map((one) => [one, "t", "Ann"])];'
        "const found = of.map(([stored, test, rater]) => restored(stored, test, rater, stimuli));"
        'return [...found, restored(bent, "t", "Ann", stimuli).ratings];'
    )
    assert found == [None] * 5 + [{}]


def test_the_file_is_named_after_the_rater() -> None:
    assert run('return ["Ann Example", "../a b\\u00e9/", "!!!"].map(fileNameOf);') == [
        "ratings-ann-example.json",
        "ratings-a-bé.json",
        "ratings-rater.json",
    ]
