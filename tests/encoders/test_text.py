"""The sentence encoder: unit vectors that depend on the text alone, and files that come back as they were."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from soundsieve.encoders.text import SPECIAL_TOKENS, SentenceEncoder, SentenceEncoderConfig, build_tokenizer
from soundsieve.errors import ConfigError, QueryError, WeightsError

TEXTS = ["a dog barks", "rain on a tin roof, far away", "glass"]


@pytest.fixture
def encoder() -> SentenceEncoder:
    torch.manual_seed(0)
    return SentenceEncoder(SentenceEncoderConfig.debug()).eval()


def test_vectors_have_length_one_and_differ(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == torch.float32
    assert not vectors.requires_grad
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert (vectors @ vectors.T).fill_diagonal_(0).max() < 0.9999


def test_padding_and_order_change_nothing(encoder: SentenceEncoder) -> None:
    together = encoder.encode(TEXTS)
    torch.testing.assert_close(torch.cat([encoder.encode([text]) for text in TEXTS]), together, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.encode(TEXTS[::-1]).flip(0), together, atol=1e-6, rtol=0)
    ids, mask = encoder.tokenize(TEXTS[:1])
    padded = [torch.nn.functional.pad(x, (0, 9)) for x in (ids, mask)]
    torch.testing.assert_close(encoder(*padded), together[:1], atol=1e-6, rtol=0)


def test_case_and_accents_do_not_count(encoder: SentenceEncoder) -> None:
    torch.testing.assert_close(encoder.encode(["A Dóg BARKS"]), encoder.encode(["a dog barks"]))


def test_tokens() -> None:
    ids, mask = SentenceEncoder(SentenceEncoderConfig.debug()).tokenize(["ab", "a"])
    first = len(SPECIAL_TOKENS)
    assert ids[0, :2].tolist() == [2, first]  # [CLS] a
    assert ids[1].tolist() == [2, first, 3, 0]  # [CLS] a [SEP] [PAD]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_unknown_characters_beside_known_ones_do_not_crash(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode(["🎻 solo", "dog\x00bark\u200b"])
    assert torch.isfinite(vectors).all()


def test_a_text_of_nothing_but_unknown_characters_is_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(QueryError, match="no word of '猫の鳴き声' is known: describe the sound in English"):
        encoder.encode(["a dog", "猫の鳴き声"])


@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_empty_text(encoder: SentenceEncoder, text: str) -> None:
    with pytest.raises(QueryError, match="empty"):
        encoder.encode(["a dog", text])


def test_no_text(encoder: SentenceEncoder) -> None:
    with pytest.raises(QueryError, match="no text"):
        encoder.encode([])


def test_nothing_is_cut_off(encoder: SentenceEncoder) -> None:
    limit = encoder.config.max_tokens - 2
    assert encoder.encode(["a" * limit]).shape == (1, 384)
    with pytest.raises(QueryError, match="64"):
        encoder.encode(["a" * (limit + 1)])


def test_save_and_load(encoder: SentenceEncoder, tmp_path: Path) -> None:
    path = tmp_path / "run" / "text.safetensors"
    encoder.save(path)
    again = SentenceEncoder.load(path)
    assert again.config == encoder.config
    assert again.assets() == encoder.assets()
    assert not again.training
    assert torch.equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert [file.name for file in path.parent.iterdir()] == ["text.safetensors"]


def test_bad_files(encoder: SentenceEncoder, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(WeightsError, match="no text encoder at"):
        SentenceEncoder.load(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a file of tensors")
    with pytest.raises(WeightsError, match="damaged"):
        SentenceEncoder.load(broken)
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(WeightsError, match="holds no text encoder"):
        SentenceEncoder.load(other)
    unfit = tmp_path / "unfit.safetensors"
    state = {key: value.contiguous() for key, value in encoder.state_dict().items() if key != "project.bias"}
    save_file(state, unfit, {"format": "soundsieve-text-1", "config": "{}", **encoder.assets()})
    with pytest.raises(WeightsError, match="does not fit"):
        SentenceEncoder.load(unfit)


def test_tokenizer_of_own_words() -> None:
    json = build_tokenizer(["dog", "bark", "##ing", "a"])
    encoder = SentenceEncoder(SentenceEncoderConfig(8, 16, 1, 2, 32), json)
    assert encoder.tokenize(["Barking dog"])[0].tolist() == [[2, 5, 6, 4, 3]]
    assert encoder.tokenize(["cat dog"])[0].tolist() == [[2, 1, 4, 3]]  # [UNK] dog
    with pytest.raises(QueryError, match="no word of 'cat' is known"):
        encoder.tokenize(["cat"])
    with pytest.raises(ConfigError, match="twice"):
        build_tokenizer(["dog", "dog"])
    with pytest.raises(WeightsError, match="tokenizer"):
        SentenceEncoder(SentenceEncoderConfig.debug(), "{}")
    with pytest.raises(ConfigError, match="8 tokens"):
        SentenceEncoder(SentenceEncoderConfig.debug(), json)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"hidden": 30}, "multiple of heads"), ({"layers": 0}, "layers must be"), ({"max_tokens": 2}, "at least 3")],
)
def test_config_checks_itself(change: dict[str, int], message: str) -> None:
    sizes = {"vocab_size": 100, "hidden": 32, "layers": 1, "heads": 4, "intermediate": 64} | change
    with pytest.raises(ConfigError, match=re.escape(message)):
        SentenceEncoderConfig(**sizes)


def test_the_tower_is_roberta() -> None:
    """Same function and same tensor names as the library's RoBERTa, on random weights."""
    import transformers

    config = SentenceEncoderConfig.debug()
    torch.manual_seed(0)
    encoder = SentenceEncoder(config).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    roberta = transformers.RobertaModel(
        transformers.RobertaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.intermediate,
            max_position_embeddings=config.max_tokens + 1,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=0,
        ),
        add_pooling_layer=False,
    ).eval()
    roberta.load_state_dict(encoder.tower.state_dict(), strict=True)
    input_ids, mask = encoder.tokenize(["a dog barks", "rain", "x" * 20])
    with torch.no_grad():
        expected = roberta(input_ids=input_ids, attention_mask=mask).last_hidden_state
        found = encoder.tower(input_ids, mask)
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=2e-5, rtol=1e-4)


def test_a_query_does_not_wait_for_transformers() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from soundsieve.encoders.text import *\n"
        "SentenceEncoder(SentenceEncoderConfig.debug()).encode(['a dog'])\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
