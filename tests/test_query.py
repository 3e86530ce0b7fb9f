from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from soundsieve.errors import QueryError
from soundsieve.query import Condition, Query, combine

CLIP = (np.zeros(10, np.float32), 8000)


def test_one_or_many_become_tuples() -> None:
    assert Query("a dog").text == ("a dog",)
    assert Query(["a dog", "barking"]).text == ("a dog", "barking")
    assert Query(like="a.wav").like == ("a.wav",)
    assert Query(like=Path("a.wav")).like == (Path("a.wav"),)
    assert Query(like=CLIP).like == (CLIP,)
    assert Query(like=[CLIP, "a.wav"]).like == (CLIP, "a.wav")
    assert Query("a dog", None, None, None) == Query("a dog")


def test_spaces_are_tidied() -> None:
    assert Query("  a \n dog ").text == ("a dog",)


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        (Query("a"), {"text"}),
        (Query(exclude="a"), {"text", "exclude"}),
        (Query(like="a.wav"), {"audio"}),
        (Query(unlike="a.wav"), {"audio", "exclude"}),
        (Query("a", exclude="b", like="a.wav"), {"text", "audio", "exclude"}),
    ],
)
def test_kinds(query: Query, kinds: set[str]) -> None:
    assert query.kinds == kinds


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query("a dog barking"), "a dog barking"),
        (Query(["a dog", "a cat"], exclude="rain"), "a dog and a cat without rain"),
        (Query(like="folder/bark.wav"), "like bark"),
        (Query(like=CLIP), "like example"),
        (Query(exclude="rain"), "everything without rain"),
        (Query("a dog", unlike="rain.wav"), "a dog without like rain"),
    ],
)
def test_describe(query: Query, words: str) -> None:
    assert query.describe() == words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing was asked"),
        ({"text": ()}, "nothing was asked"),
        ({"text": ""}, "the text is empty"),
        ({"text": ["a dog", "\t"]}, "the text is empty"),
        ({"exclude": " "}, "the exclude is empty"),
        ({"text": CLIP}, "text takes words; for example clips use like"),
        ({"exclude": [CLIP]}, "exclude takes words; for example clips use unlike"),
        ({"text": 3}, "got int"),
        ({"text": "Rain", "exclude": "rain"}, "'rain' is both wanted and excluded"),
        ({"text": "rain", "audio_weight": 1.1}, "audio_weight is 1.1: it lies between 0"),
        ({"text": "rain", "audio_weight": float("nan")}, "audio_weight is nan: it lies between 0"),
        ({"text": "rain", "audio_weight": "half"}, "audio_weight is a number from 0 to 1, not str"),
        ({"text": "rain", "audio_weight": True}, "audio_weight is a number from 0 to 1, not bool"),
    ],
)
def test_what_is_not_a_query(arguments: dict, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Query(**arguments)


def test_combine_interpolates_unit_vectors() -> None:
    """Text (1, 0) and audio (0, 1), whatever their lengths, at a = 0.75: (0.25, 0.75) over its length."""
    text, clip = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    joined = combine(text, clip, 0.75)
    assert joined is not None
    expected = torch.tensor([[0.25, 0.75]]) / (0.25**2 + 0.75**2) ** 0.5
    assert torch.allclose(joined, expected)


def test_combine_leaves_one_kind_alone_whatever_the_weight() -> None:
    one = torch.tensor([[0.6, 0.8]])
    for weight in (0, 0.3, 1):
        for joined in (combine(one, None, weight), combine(None, one, weight)):
            assert joined is not None
            assert torch.allclose(joined, one)


def test_combine_reaches_both_ends() -> None:
    text, clip = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    for weight, expected in ((0, text), (1, clip)):
        joined = combine(text, clip, weight)
        assert joined is not None
        assert torch.equal(joined, expected)


def test_combine_averages_one_side_and_allows_none() -> None:
    both = combine(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), None)
    assert both is not None
    assert torch.allclose(both, torch.full((1, 2), 0.5**0.5))
    assert combine(None, None) is None


def test_a_condition_serves_a_batch() -> None:
    condition = Condition(torch.ones(1, 3), torch.zeros(1, 3))
    assert condition.expand(4).positive.shape == (4, 3)
    assert condition.expand(1) is condition
    assert condition.expand(2).concat().tolist() == [[1, 1, 1, 0, 0, 0]] * 2
    with pytest.raises(QueryError, match="condition of 4 does not fit 3"):
        condition.expand(4).expand(3)
    with pytest.raises(QueryError, match=re.escape("two (B, D) embeddings; got (3,) and (3,)")):
        Condition(torch.ones(3), torch.ones(3))
