"""What stands for a sound: each objective does what its formula says, from the generator it is given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.training.objectives import Neighbours, Objective, condition, neighbours

NAMES = ("supervised", "audio", "audio+dropout", "audio+noise", "retrieval", "hybrid")


def unit(count: int, width: int = 64, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


class Cache:
    """Captions as a matrix."""

    def __init__(self, vectors: Tensor) -> None:
        self.all = vectors

    def __len__(self) -> int:
        return len(self.all)

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        scores, places = (queries @ self.all.T).topk(k)
        return scores, places

    def vectors(self, places: Tensor) -> Tensor:
        return self.all[places]


TEXT, AUDIO, CACHE = unit(8, seed=1), unit(8, seed=2), Cache(unit(100, seed=3))


def made(objective: Objective, seed: int = 0, audio: Tensor = AUDIO) -> Tensor:
    near = neighbours(audio, CACHE, objective.k) if objective.needs_cache else None
    return condition(objective, np.random.default_rng(seed), text=TEXT, audio=audio, near=near)


@pytest.mark.parametrize("name", NAMES)
def test_every_condition_is_a_unit_vector_drawn_from_the_generator_alone(name: str) -> None:
    objective = Objective(name, k=4, temperature=1.0)  # type: ignore[arg-type]
    first = made(objective, 5)
    assert first.shape == AUDIO.shape
    torch.testing.assert_close(first.norm(dim=1), torch.ones(8))
    torch.manual_seed(9)
    assert torch.equal(first, made(objective, 5))
    assert torch.equal(first, made(objective, 6)) == (name in ("supervised", "audio"))


@pytest.mark.parametrize("name", NAMES)
def test_what_an_objective_does_not_name_it_does_not_look_at(name: str) -> None:
    objective, rng = Objective(name), np.random.default_rng(0)  # type: ignore[arg-type]
    given = {
        "text": TEXT if objective.needs_text else None,
        "audio": AUDIO if objective.needs_audio and not objective.needs_cache else None,
        "near": neighbours(AUDIO, CACHE, 1) if objective.needs_cache else None,
    }
    assert condition(objective, rng, **given).shape == AUDIO.shape
    for missing in [key for key, value in given.items() if value is not None]:
        with pytest.raises(ValueError, match=f"needs {missing}"):
            condition(objective, rng, **(given | {missing: None}))
    assert objective.needs_text == (name in ("supervised", "hybrid"))


def test_supervised_and_audio_are_the_embeddings_themselves() -> None:
    assert made(Objective("supervised")) is TEXT
    assert made(Objective("audio")) is AUDIO


def test_dropout_puts_its_share_of_coordinates_to_zero_and_keeps_the_direction_on_average() -> None:
    many = unit(1).expand(20000, -1)
    for share in (0.0, 0.3, 0.75):
        dropped = made(Objective("audio+dropout", dropout=share), audio=many)
        assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=0.005)
        assert F.cosine_similarity(dropped.mean(0), many[0], dim=0).item() > 0.995
        kept = dropped[0] != 0
        torch.testing.assert_close(dropped[0, kept], F.normalize(many[0, kept], dim=0))


def test_noise_is_as_long_as_it_says() -> None:
    """A random vector of length s beside a unit vector, to which it is all but orthogonal: cosine 1 / sqrt(1 + s^2)."""
    many = unit(1, width=512).expand(2000, -1)
    for length in (0.0, 0.5, 2.0):
        noisy = made(Objective("audio+noise", noise=length), audio=many)
        cosine = (noisy @ many[0]).mean().item()
        assert cosine == pytest.approx(1 / (1 + length**2) ** 0.5, abs=0.005)
        assert F.cosine_similarity(noisy.mean(0), many[0], dim=0).item() > 0.995


def test_retrieval_gives_captions_of_the_cache_and_the_nearest_one_first() -> None:
    nearest = CACHE.all[(AUDIO @ CACHE.all.T).argmax(1)]
    assert torch.equal(made(Objective("retrieval")), nearest)
    drawn = made(Objective("retrieval", k=5, temperature=1.0))
    assert ((drawn[:, None] == CACHE.all).all(2).sum(1) == 1).all()
    top = CACHE.all[(AUDIO @ CACHE.all.T).topk(5).indices]
    assert (drawn[:, None] == top).all(2).any(1).all()


@pytest.mark.parametrize("pick", ["sample", "average"])
def test_a_temperature_near_zero_is_the_nearest_and_a_high_one_all_alike(pick: str) -> None:
    objective = Objective("retrieval", k=5, temperature=1e-6, pick=pick)  # type: ignore[arg-type]
    torch.testing.assert_close(made(objective), made(Objective("retrieval")))
    many = unit(1).expand(10000, -1)
    top = neighbours(many[:1], CACHE, 5).vectors[0]
    drawn = made(replace(objective, temperature=1e6), audio=many)
    if pick == "average":
        torch.testing.assert_close(drawn[0], F.normalize(top.mean(0), dim=0))
    else:
        shares = (drawn[:, None] == top).all(2).float().mean(0)
        torch.testing.assert_close(shares, torch.full((5,), 0.2), atol=0.015, rtol=0)


def test_captions_are_drawn_by_the_softmax_of_their_cosines() -> None:
    near = Neighbours(torch.tensor([[0.5, 0.4, 0.3]]).expand(20000, -1), torch.eye(3).expand(20000, -1, -1))
    drawn = condition(Objective("retrieval", k=3, temperature=0.1), np.random.default_rng(0), near=near)
    weights = torch.tensor([1.0, np.exp(-1), np.exp(-2)])
    torch.testing.assert_close(drawn.mean(0), (weights / weights.sum()).float(), atol=0.012, rtol=0)


def test_hybrid_lies_between_its_ends_by_one_share_for_the_whole_batch() -> None:
    rng = np.random.default_rng(3)
    share = np.random.default_rng(3).random()
    mixed = condition(Objective("hybrid"), rng, text=TEXT, audio=AUDIO)
    torch.testing.assert_close(mixed, F.normalize(share * AUDIO + (1 - share) * TEXT, dim=1))

    class Fixed:
        def __init__(self, value: float) -> None:
            self.value = value

        def random(self) -> float:
            return self.value

    for value, end in ((0.0, TEXT), (1.0, AUDIO)):
        torch.testing.assert_close(condition(Objective("hybrid"), Fixed(value), text=TEXT, audio=AUDIO), end)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_conditions_are_made_without_gradients(name: str) -> None:
    objective = Objective(name, k=3)  # type: ignore[arg-type]
    assert not made(objective).requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.0}, "dropout lies"),
        ({"noise": -0.1}, "noise is at least 0"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"k": 0}, "k at least 1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Objective("retrieval", **changes)  # type: ignore[arg-type]


def test_a_cache_smaller_than_k_is_refused() -> None:
    with pytest.raises(ConfigError, match="k is 101 and the caption cache holds 100"):
        neighbours(AUDIO, CACHE, 101)
