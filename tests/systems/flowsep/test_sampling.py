"""From noise to an answer: the samplers follow equations whose solutions are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep.sampling import Sampling, sample

START = torch.tensor([[[[1.0, -2.0]]]])


def grows(x: Tensor, t: float) -> Tensor:
    """dx/dt = x: x(1) = e x(0)."""
    return x


def error(steps: int, sampler: str) -> float:
    found = sample(grows, START.double(), Sampling(steps=steps, sampler=sampler))  # type: ignore[arg-type]
    return float((found - math.e * START).abs().max())


@pytest.mark.parametrize("sampler", ["euler", "heun", "midpoint"])
def test_a_straight_path_takes_one_step(sampler: str) -> None:
    goal = torch.tensor([[[[0.3, 0.7]]]])
    for steps in (1, 7):
        found = sample(lambda x, t: goal - START, START, Sampling(steps=steps, sampler=sampler))  # type: ignore[arg-type]
        assert torch.allclose(found, goal, atol=1e-6)


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2)])
def test_the_error_falls_as_it_should(sampler: str, order: int) -> None:
    assert error(10, sampler) / error(20, sampler) == pytest.approx(2**order, rel=0.15)


def test_euler_by_hand() -> None:
    assert sample(grows, START, Sampling(steps=2)).flatten().tolist() == pytest.approx([2.25, -4.5])


def test_the_grid_is_the_published_one() -> None:
    """Times as the released sampler adds them up in float32."""
    times: list[float] = []
    sample(lambda x, t: times.append(t) or x, START, Sampling(steps=3))  # type: ignore[func-returns-value]
    assert torch.tensor(times).tolist() == torch.tensor([0.0, 0.33333334, 0.6666666]).tolist()


def test_midpoint_asks_in_the_middle_and_heun_at_both_ends() -> None:
    times: list[float] = []
    for sampler in ("midpoint", "heun"):
        sample(lambda x, t: times.append(round(t, 6)) or x, START, Sampling(steps=2, sampler=sampler))  # type: ignore[func-returns-value,arg-type]
    assert times == [0.0, 0.25, 0.5, 0.75, 0.0, 0.5, 0.5, 1.0]


@pytest.mark.parametrize("sampler", ["euler", "heun", "midpoint"])
def test_it_says_how_often_the_network_is_asked(sampler: str) -> None:
    calls = 0

    def count(x: Tensor, t: float) -> Tensor:
        nonlocal calls
        calls += 1
        return x

    sampling = Sampling(steps=5, sampler=sampler)  # type: ignore[arg-type]
    sample(count, START, sampling)
    assert calls == sampling.evaluations == (5 if sampler == "euler" else 10)


def test_guidance_asks_twice() -> None:
    asked = {guidance: Sampling(steps=4, guidance=guidance).evaluations for guidance in (0.0, 0.5, 1.0, 3.0)}
    assert asked == {0.0: 4, 0.5: 8, 1.0: 4, 3.0: 8}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"steps": 0}, "steps is 0: choose a whole number from 1 to 100"),
        ({"steps": 101}, "steps is 101"),
        ({"steps": 2.0}, "steps is 2.0"),
        ({"steps": True}, "steps is True"),
        ({"sampler": "rk45"}, "sampler is 'rk45': choose one of euler, heun, midpoint"),
        ({"guidance": -1.0}, "guidance is -1.0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"guidance": "much"}, "guidance is 'much'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("^", r"\^")):
        Sampling(**values)  # type: ignore[arg-type]
