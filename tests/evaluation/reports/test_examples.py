from __future__ import annotations

import pytest

from soundsieve.evaluation.reports.examples import choose


def rows(gains: list[float], pairs: list[int] | None = None) -> list[dict[str, object]]:
    pairs = list(range(len(gains))) if pairs is None else pairs
    return [{"pair": pair, "condition": "text", "sdri": gain} for pair, gain in zip(pairs, gains, strict=True)]


def chosen(found: list[tuple[str, dict[str, object]]]) -> list[tuple[str, object]]:
    return [(place, row["sdri"]) for place, row in found]


def test_best_median_and_worst_are_what_they_are_called() -> None:
    gains = [3.0, 9.0, 1.0, 5.0, 7.0, 2.0, 8.0, 4.0, 6.0]
    assert chosen(choose(rows(gains), "text", "sdri", each=1)) == [("best", 9), ("median", 5), ("worst", 1)]
    two = chosen(choose(rows(gains), "text", "sdri", each=2))
    assert [gain for place, gain in two if place == "best"] == [9, 8]
    assert {gain for place, gain in two if place == "median"} <= {4, 5, 6}
    assert [gain for place, gain in two if place == "worst"] == [2, 1]


def test_no_mixture_comes_twice() -> None:
    found = choose(rows([9.0, 8.0, 7.0, 5.0, 3.0, 1.0], [0, 0, 1, 2, 3, 0]), "text", "sdri", each=1)
    assert chosen(found) == [("best", 9), ("median", 7), ("worst", 3)]


def test_of_an_error_the_least_is_best() -> None:
    found = choose(
        [{"pair": i, "condition": "text", "energy_db": float(i)} for i in range(3)], "text", "energy_db", each=1
    )
    assert [row["pair"] for _, row in found] == [0, 1, 2]


@pytest.mark.parametrize(("count", "places"), [(0, []), (1, ["best"]), (2, ["best", "worst"])])
def test_few_rows_give_few_examples(count: int, places: list[str]) -> None:
    assert [place for place, _ in choose(rows([1.0] * count), "text", "sdri", each=3)] == places
