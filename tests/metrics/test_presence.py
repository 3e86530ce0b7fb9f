import math

import numpy as np
import pytest
import torch

from soundsieve.metrics import absent_energy_db, roc_auc


def test_energy_relative_to_the_mixture():
    mixture = torch.randn(4, 2, 500, generator=torch.Generator().manual_seed(0))
    assert absent_energy_db(mixture / 10, mixture=mixture).tolist() == [[pytest.approx(-20, abs=1e-5)] * 2] * 4
    assert (absent_energy_db(0 * mixture, mixture=mixture) == -math.inf).all()
    assert (absent_energy_db(mixture, mixture=mixture) == 0).all()
    assert absent_energy_db(mixture.half(), mixture=mixture.half()).dtype == torch.float64


def test_an_energy_without_a_measure_is_refused():
    mixture = torch.ones(2, 10)
    with pytest.raises(ValueError, match="silent"):
        absent_energy_db(mixture, mixture=0 * mixture)
    with pytest.raises(ValueError, match="differ in shape"):
        absent_energy_db(mixture[..., 1:], mixture=mixture)
    spoilt = mixture.clone()
    spoilt[0, 3] = math.inf
    for found in (absent_energy_db(spoilt, mixture=mixture), absent_energy_db(mixture, mixture=spoilt)):
        assert found.isnan().tolist() == [True, False]


def test_auc_counts_pairs():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 8, size=60) / 8  # many ties
    labels = rng.random(60) < 0.4
    wins = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    assert roc_auc(scores.tolist(), labels.tolist()) == pytest.approx(np.mean(wins), abs=1e-12)
    assert roc_auc(torch.from_numpy(scores), torch.from_numpy(labels)) == pytest.approx(np.mean(wins), abs=1e-12)


def test_auc_of_perfect_useless_and_reversed_scores():
    labels = [True, True, False, False]
    assert roc_auc([3.0, 2.0, 1.0, 0.0], labels) == 1
    assert roc_auc([1.0, 1.0, 1.0, 1.0], labels) == 0.5
    assert roc_auc([0.0, 1.0, 2.0, math.inf], labels) == 0
    for scores, classes in (([1.0, 2.0], [True, True]), ([1.0, math.nan], [True, False]), ([1.0], [True, False])):
        with pytest.raises(ValueError, match=r"area|not a number|flat"):
            roc_auc(scores, classes)
