from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from soundsieve.errors import ConfigError
from soundsieve.evaluation.listening.make import KEY_FORMAT
from soundsieve.evaluation.listening.score import RATINGS_FORMAT, read_key, read_ratings, scores, table

KEY = {
    "format": KEY_FORMAT,
    "test": "t1",
    "systems": ["bad", "good"],
    "stimuli": {f"{s}{i}": {"system": s, "item": f"i{i}", "query": "q"} for s in ("bad", "good") for i in range(4)},
}
RATED = {token: {"rel": 1 if token < "c" else 4, "ovl": 2 if token < "c" else 5} for token in KEY["stimuli"]}


def write(path: Path, **content: object) -> Path:
    path.write_text(json.dumps({"format": RATINGS_FORMAT, "test": "t1", "rater": "Ann", "ratings": RATED} | content))
    return path


def test_means_by_system_best_quality_first(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.json"), write(tmp_path / "b.json", rater="Ben")]
    found = scores(read_ratings(files, KEY), KEY)
    assert [(one.system, one.scale, one.mean) for one in found] == [
        ("good", "rel", 4.0),
        ("good", "ovl", 5.0),
        ("bad", "rel", 1.0),
        ("bad", "ovl", 2.0),
    ]
    assert all(one.low == pytest.approx(one.mean) == pytest.approx(one.high) for one in found)
    assert table(found)[1] == ["good", "4.00 (4.00 to 4.00)", "5.00 (5.00 to 5.00)", "2", "4"]


def test_intervals_are_over_raters_and_items(tmp_path: Path) -> None:
    """Where raters or items differ, the interval is as wide as the theory of two-way samples says."""
    rng = np.random.default_rng(0)
    raters, items = 30, 30
    key = KEY | {
        "systems": ["one"],
        "stimuli": {f"s{i}": {"system": "one", "item": f"i{i}"} for i in range(items)},
    }
    of_rater, of_item = rng.choice([-1, 1], raters), rng.choice([-1, 1], items)
    ratings = {
        f"r{r}": {
            f"s{i}": {"rel": int(3 + of_rater[r]), "ovl": int(3 + of_rater[r] + of_item[i])} for i in range(items)
        }
        for r in range(raters)
    }
    rel, ovl = sorted(scores(ratings, key), key=lambda one: one.scale, reverse=True)
    by_rater = 2 * 1.96 * of_rater.std() / np.sqrt(raters)
    by_both = 2 * 1.96 * np.sqrt(of_rater.var() / raters + of_item.var() / items)
    assert rel.high - rel.low == pytest.approx(by_rater, rel=0.1)
    assert ovl.high - ovl.low == pytest.approx(by_both, rel=0.1)
    assert scores(ratings, key) == scores(ratings, key)


def test_ratings_that_are_none_are_refused(tmp_path: Path) -> None:
    one = tmp_path / "a.json"
    rated = RATED | {"good3": {"rel": 3}}
    cases: list[tuple[dict[str, object], str]] = [
        ({"test": "t2"}, "is of another test"),
        ({"format": "x"}, "is not a file of ratings"),
        ({"rater": 3}, "is not a file of ratings"),
        ({"ratings": rated}, "lacks 1 of 16 ratings"),
        ({"ratings": {}}, "lacks 16 of 16"),
        ({"ratings": RATED | {"other": {"rel": 3, "ovl": 3}}}, "a sound that the test does not have: other"),
        ({"ratings": RATED | {"good3": 3}}, "a sound is rated 3"),
        ({"ratings": RATED | {"good3": {"rel": 3, "ovl": 3, "x": 3}}}, "x is rated 3"),
    ]
    cases += [
        ({"ratings": RATED | {"good3": {"rel": value, "ovl": 3}}}, "rel is rated")
        for value in (0, 6, 2.5, "3", True, None)
    ]
    for content, problem in cases:
        with pytest.raises(ConfigError, match=problem):
            read_ratings([write(one, **content)], KEY)


def test_a_rater_counts_once(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.json"), write(tmp_path / "b.json", rater=" ann ")]
    with pytest.raises(ConfigError, match=r"b\.json and .*a\.json are of one rater"):
        read_ratings(files, KEY)
    with pytest.raises(ConfigError, match="no ratings to score"):
        read_ratings([], KEY)


def test_a_key_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(KEY))
    assert read_key(path) == KEY
    stimuli = {token: one for token, one in KEY["stimuli"].items() if token != "bad0"}
    for content, problem in (
        ("[]", "is not a file of a listening test"),
        ("{", "cannot read"),
        (json.dumps({"format": RATINGS_FORMAT}), "is not the key"),
        (json.dumps(KEY | {"stimuli": {}}), "is not the key"),
        (json.dumps(KEY | {"stimuli": stimuli}), "is damaged"),
        (json.dumps(KEY | {"systems": ["bad"]}), "is damaged"),
        (json.dumps(KEY | {"stimuli": {"a": 1}}), "is damaged"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=problem):
            read_key(path)
