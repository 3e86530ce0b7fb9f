import doctest
import importlib
import pkgutil
from types import SimpleNamespace

import pytest
import torch

from soundsieve import metrics
from soundsieve.metrics import METRICS, applicable, why_not
from soundsieve.metrics.table import NEEDS
from soundsieve.systems.audiosep import AudioSep
from soundsieve.systems.sieve import Sieve

MASKING = SimpleNamespace(name="masker", aligned=True)
GENERATING = SimpleNamespace(name="maker", aligned=False)


def test_the_table_is_in_order():
    assert all(name == metric.name for name, metric in METRICS.items())
    assert all(metric.needs <= set(NEEDS) for metric in METRICS.values())
    assert all(metric.unit in ("", "dB") for metric in METRICS.values())
    assert {metric.name for metric in METRICS.values() if metric.better == "lower"} == {"fad", "energy_db"}
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_every_improvement_stands_beside_what_it_improves():
    for name, metric in METRICS.items():
        if name.endswith("i"):
            assert metric.needs == METRICS[name[:-1]].needs | {"mixture"}


def test_every_metric_applies_to_what_lines_up():
    assert all(applicable(name, MASKING) and not why_not(name, MASKING) for name in METRICS)
    assert Sieve.aligned
    assert AudioSep.aligned


def test_ratios_of_energies_do_not_apply_to_what_is_made_anew():
    assert {name for name in METRICS if applicable(name, GENERATING)} == {
        "fad",
        "clap_score",
        "clap_score_audio",
        "energy_db",
    }
    assert why_not("sdri", GENERATING).startswith("SDRi needs answers that line up")
    assert "maker" in why_not("pesq", GENERATING)
    with pytest.raises(KeyError):
        applicable("loudness", MASKING)


def test_all_public_names_are_there():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
    assert metrics.__all__ == sorted(metrics.__all__)


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(metrics.__path__)])
def test_examples_in_docstrings_hold(name: str):
    module = importlib.import_module(f"soundsieve.metrics.{name}")
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0
