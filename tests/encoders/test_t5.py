from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from soundsieve.encoders.t5 import T5, T5Config, t5_tokenizer
from soundsieve.errors import ConfigError, QueryError, WeightsError


@pytest.fixture(scope="module")
def t5() -> T5:
    torch.manual_seed(0)
    return T5(T5Config.debug()).eval()


def test_texts_are_as_long_as_the_config_says(t5: T5) -> None:
    states, mask = t5.encode(["a dog barking", "rain"])
    assert states.shape == (2, 64, 16)
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [14, 5]  # every character, and the end
    assert mask[0, :14].all()
    assert not states[~mask].any()
    assert states[mask].any(1).all()


def test_padding_does_not_count(t5: T5) -> None:
    together, apart = t5.encode(["rain", "a dog barking"])[0][:1], t5.encode(["rain"])[0]
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=1e-5)


def test_all_tokens_at_once_as_the_released_model_does(t5: T5) -> None:
    assert t5.tokenizer is not None
    ids, mask = t5.tokenizer(["a dog"])
    padded = torch.zeros(2, 1, 64, dtype=torch.long)
    padded[0, 0, :6], padded[1, 0, :6] = ids[0], mask[0]
    with torch.no_grad():
        states = t5(*padded)[:, :6]
    torch.testing.assert_close(states, t5.encode(["a dog"])[0][:, :6], atol=1e-6, rtol=1e-5)


def test_order_counts(t5: T5) -> None:
    one, other = t5.encode(["ab"])[0], t5.encode(["ba"])[0]
    assert (one[0, :2] - other[0, [1, 0]]).abs().max() > 1e-3


def test_nothing_said_is_the_end_alone(t5: T5) -> None:
    assert t5.encode([""])[1].sum() == 1


def test_assets_rebuild_it(t5: T5) -> None:
    again = T5(t5.config, assets=t5.assets()).eval()
    again.load_state_dict(t5.state_dict())
    assert torch.equal(again.encode(["a dog"])[0], t5.encode(["a dog"])[0])


def test_words_have_one_name(t5: T5) -> None:
    names = [name for name, tensor in t5.state_dict().items() if tensor.shape[0] == t5.config.vocab_size]
    assert names == ["words.weight"]
    assert set(t5.state_dict()) == {name for name, _ in t5.named_parameters()}


def test_gradients_reach_everything() -> None:
    net = T5(T5Config.debug())
    assert net.tokenizer is not None
    net(*net.tokenizer(["a cat and a dog"])).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_too_long_is_an_error(t5: T5) -> None:
    with pytest.raises(QueryError, match="at most 64"):
        t5.encode(["a" * 64])


def test_no_text(t5: T5) -> None:
    with pytest.raises(QueryError, match="no text"):
        t5.encode([])


def test_no_tokenizer() -> None:
    net = T5(replace(T5Config.debug(), layers=2))
    assert net.assets() == {}
    with pytest.raises(QueryError, match="no tokenizer"):
        net.encode(["a dog"])


def test_a_tokenizer_of_something_else(t5: T5) -> None:
    assert t5.tokenizer is not None
    text = t5.tokenizer.json
    with pytest.raises(ConfigError, match="only 16"):
        t5_tokenizer(text, replace(T5Config.debug(), vocab_size=16))
    endless = json.loads(text) | {"post_processor": None}
    with pytest.raises(ConfigError, match="end texts with token 1"):
        t5_tokenizer(json.dumps(endless), T5Config.debug())
    mute = json.loads(text) | {"model": {"type": "BPE", "vocab": {}, "merges": []}, "post_processor": None}
    with pytest.raises(ConfigError, match="end texts with token 1"):
        t5_tokenizer(json.dumps(mute), T5Config.debug())
    with pytest.raises(WeightsError, match="cannot be read"):
        t5_tokenizer("{}", T5Config.debug())


@pytest.mark.parametrize(
    "wrong", [{"layers": 0}, {"buckets": 6}, {"farthest": 8}, {"tokens": 1}, {"dropout": -0.1}, {"vocab_size": 0}]
)
def test_wrong_sizes(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="T5: "):
        replace(T5Config.base(), **wrong)  # type: ignore[arg-type]
