import itertools

import numpy as np
import pytest
from scipy import stats

from soundsieve.errors import ConfigError
from soundsieve.evaluation.compare import compare, sign_flip_p, summary, table


def run(values, condition="text", metric="sdri", **more) -> list[dict]:
    """Two answers for each mixture."""
    return [
        {"pair": i // 2, "direction": i % 2, "condition": condition, "label": f"l{i}", "query": "x", metric: v} | more
        for i, v in enumerate(values)
    ]


def test_a_difference_its_interval_and_p():
    rng = np.random.default_rng(0)
    hard = rng.normal(5, 8, 600)  # how hard an example is: the same for both, and far more than the difference
    first, second = hard + rng.normal(0, 1, 600), hard + rng.normal(0.5, 1, 600)
    (found,) = compare(run(first), run(second))
    difference = second - first
    assert found.first == pytest.approx(first.mean(), abs=1e-3)
    assert found.second == pytest.approx(second.mean(), abs=1e-3)
    assert found.difference == pytest.approx(difference.mean(), abs=1e-3)
    half = 1.96 * difference.std() / np.sqrt(600)
    assert found.interval == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.03)
    assert found.p < 0.001
    assert (found.n, found.mixtures, found.better) == (600, 300, "second")
    (back,) = compare(run(second), run(first))
    assert back.difference == -found.difference
    assert back.better == "first"
    assert compare(run(first), run(second)) == [found]


def test_no_difference_is_not_found():
    rng = np.random.default_rng(1)
    values = rng.normal(5, 3, 400)
    (found,) = compare(run(values), run(values + rng.normal(0, 1, 400)))
    assert found.better == "neither"
    assert found.p > 0.05
    (same,) = compare(run(values), run(values))
    assert (same.difference, same.interval, same.p, same.better) == (0, (0, 0), 1, "neither")


def test_nobody_is_better_on_a_few_mixtures():
    (one,) = compare(run([5, 5]), run([8, 8]))
    assert (one.difference, one.interval, one.p, one.better) == (3, (3, 3), 1, "neither")
    (five,) = compare(run([5.0] * 10), run([8.0] * 10))
    assert (five.mixtures, five.p, five.better) == (5, 2 / 32, "neither")
    (six,) = compare(run([5.0] * 12), run([8.0] * 12))
    assert (six.mixtures, six.p, six.better) == (6, 2 / 64, "second")


def test_p_counts_all_patterns_of_a_few_mixtures():
    values = np.array([0.3, 1.1, -0.4, 0.9, 2.0, 0.1])
    flipped = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=6)]
    expected = np.mean([one >= abs(values.sum()) - 1e-9 for one in flipped])
    assert sign_flip_p(values, range(6)) == expected
    assert sign_flip_p([1, 1, 1, 1], range(4)) == 2 / 16  # all or none flipped


def test_p_agrees_with_scipy():
    values = np.random.default_rng(2).normal(0.2, 1, 60)
    expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=0).pvalue
    assert sign_flip_p(values, range(60)) == pytest.approx(expected, abs=0.01)
    assert sign_flip_p(values, range(60)) == sign_flip_p(values, range(60))
    assert sign_flip_p(values + 9, range(60)) == pytest.approx(1 / 10_001)  # never 0


def test_answers_about_one_mixture_are_flipped_together():
    values = np.random.default_rng(3).normal(0.3, 1, 40)
    alone = sign_flip_p(values, range(40))
    twice = sign_flip_p(np.repeat(values, 2), np.repeat(np.arange(40), 2))
    assert twice == pytest.approx(alone, abs=1e-9)  # saying all twice makes nothing surer
    assert sign_flip_p(np.repeat(values, 2), range(80)) < alone / 2


def test_p_is_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(4)
    found = [sign_flip_p(rng.normal(0, 1, 12), range(12)) for _ in range(400)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_only_what_both_have_is_compared():
    first, second = run(range(20)), run(range(1, 21))
    found = compare(
        first + run([0] * 4, "example") + run([-9] * 12, "absent", "energy_db") + run([0] * 4, "mixture", query=None),
        second[:16]
        + run([0] * 12, "absent", "energy_db")
        + run([1] * 4, "mixture", query=None)
        + [{"example": "a", "condition": "left out", "reason": "b"}],
    )
    assert [(one.condition, one.metric, one.n) for one in found] == [("text", "sdri", 16), ("absent", "energy_db", 12)]
    assert [one.better for one in found] == ["second", "first"]  # of absent sounds less is better
    unprocessed = run([0] * 4, "mixture", query=None), run([1] * 4, "mixture", query=None)
    (asked,) = compare(*unprocessed, conditions=["mixture"])
    assert asked.difference == 1
    both = compare(run([1, 2], si_sdr=None), run([2, 3], si_sdr=3.0))
    assert [one.metric for one in both] == ["sdri"]


def test_the_energy_of_a_sound_that_is_there_judges_nothing():
    (found,) = compare(run([0] * 16, metric="energy_db"), run([-6] * 16, metric="energy_db"), metrics=["energy_db"])
    assert (found.interval, found.p) == ((-6, -6), 2 / 2**8)
    assert found.better == "neither"


def test_what_cannot_be_compared_is_told():
    rows = run(range(4))
    with pytest.raises(ConfigError, match="share no answer: they are about"):
        compare(rows, run(range(4), "example"))
    with pytest.raises(ConfigError, match="measured by clap_score"):
        compare(rows, rows, metrics=["clap_score"])
    with pytest.raises(ConfigError, match="no metric 'loudness'; there are sdr"):
        compare(rows, rows, metrics=["loudness"])
    with pytest.raises(ConfigError, match="do not share the condition 'absent'; they share text"):
        compare(rows, rows, conditions=["absent"])
    with pytest.raises(ConfigError, match="mixture 0, 'text' has the label 'l0' in one and 'dog' in the other"):
        compare(rows, [row | {"label": "dog"} for row in rows])
    with pytest.raises(ConfigError, match="mixture 0, 'text' twice"):
        compare(rows, rows + rows[:1])


def test_tables_show_what_was_found():
    found = compare(run([1.0] * 40), run([3.0] * 40))
    assert table(found, ("a", "b")) == [
        ["query", "metric", "n", "a", "b", "difference (95%)", "p", "better"],
        ["text", "SDRi, dB", "40", "1.00", "3.00", "+2.00 (+2.00 to +2.00)", "< 0.0002", "b"],
    ]
    plain = summary(found, {"first": "a"})
    assert plain["first"] == "a"
    assert plain["comparisons"][0]["interval"] == (2, 2)
    assert plain["comparisons"][0]["better"] == "second"
