from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from soundsieve.encoders.clap import CLAP, CLAPConfig, TextTower, TextTowerConfig, fit_clip
from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.encoders.tokens import JSONTokenizer, tokenizer_json
from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.losses import contrastive_loss
from soundsieve.weights.config import from_dict, to_dict

KEYS = Path(__file__).parents[1] / "data" / "clapsep" / "keys.csv"


@pytest.fixture
def clap() -> CLAP:
    torch.manual_seed(0)
    return CLAP(CLAPConfig.debug()).eval()


def test_base_has_exactly_the_published_shapes() -> None:
    """All but what inference does not use: class heads, training-time transforms and their logit scale."""
    unused = ("tscam_conv", ".head.", "_transform.", "logit_scale_t")
    with KEYS.open() as file:
        rows = [row for row in csv.DictReader(file) if row["key"].startswith("clap_model.model.")]
    expected = Counter(
        row["shape"] for row in rows if row["kind"] != "computed" and not any(part in row["key"] for part in unused)
    )
    with torch.device("meta"):
        state = CLAP(CLAPConfig.base()).state_dict()
    found = Counter(
        "x".join(map(str, tensor.shape)) or "scalar"
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    )
    assert found == expected


@pytest.mark.parametrize("preset", [CLAPConfig.debug, CLAPConfig.small, CLAPConfig.base])
def test_configs_survive_json(preset: object) -> None:
    config = preset()  # type: ignore[operator]
    assert from_dict(CLAPConfig, to_dict(config)) == config


def test_embeddings_have_length_one(clap: CLAP) -> None:
    length = clap.config.audio.clip_samples
    for embedding in (clap.embed_audio(torch.randn(3, length)), clap.embed_text(["rain", "a dog barking", "wind"])):
        assert embedding.shape == (3, clap.config.dim)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_a_batch_equals_its_parts(clap: CLAP) -> None:
    x, texts = torch.randn(3, clap.config.audio.clip_samples), ["rain", "a dog barking in the distance", "wind"]
    torch.testing.assert_close(clap.embed_audio(x), torch.cat([clap.embed_audio(y[None]) for y in x]))
    torch.testing.assert_close(clap.embed_text(texts), torch.cat([clap.embed_text([text]) for text in texts]))


def test_short_clips_repeat_whole_and_end_in_silence() -> None:
    assert fit_clip(torch.tensor([[1.0, 2, 3]]), 8).tolist() == [[1, 2, 3, 1, 2, 3, 0, 0]]
    assert fit_clip(torch.tensor([[1.0, 2, 3]]), 5).tolist() == [[1, 2, 3, 0, 0]]
    assert fit_clip(torch.tensor([[1.0, 2, 3]]), 3).tolist() == [[1, 2, 3]]


def test_long_clips_are_heard_whole(clap: CLAP) -> None:
    """Three windows cover 2.5 clips, the middle one centred; their embeddings are averaged."""
    length = clap.config.audio.clip_samples
    x = torch.randn(2, length * 5 // 2)
    windows = [clap.embed_audio(x[:, start : start + length]) for start in (0, length * 3 // 4, length * 3 // 2)]
    torch.testing.assert_close(clap.embed_audio(x), nn.functional.normalize(torch.stack(windows).mean(0), dim=1))


@pytest.mark.parametrize(
    ("samples", "windows"),
    [
        (480_000, [0]),
        (480_001, [0, 1]),
        (25 * 48000, [0, 360_000, 720_000]),
    ],
)
def test_which_windows_of_a_clip_are_heard(
    clap: CLAP, monkeypatch: pytest.MonkeyPatch, samples: int, windows: list[int]
) -> None:
    """At CLAP's own length and rate: exactly 10 s, a sample more, and 25 s."""
    monkeypatch.setattr(type(clap.config.audio), "clip_samples", 480_000)
    heard = []
    monkeypatch.setattr(clap.audio, "forward", lambda x: heard.append(x) or torch.ones(len(x), clap.audio.out_features))
    clap.embed_audio(torch.arange(samples)[None])
    assert [int(x[0, 0]) for x in heard] == windows
    assert all(x.shape == (1, 480_000) for x in heard)


def test_one_sample_fills_a_clip(clap: CLAP) -> None:
    filled = torch.full((1, clap.config.audio.clip_samples), 0.5)
    torch.testing.assert_close(clap.embed_audio(torch.tensor([[0.5]])), clap.embed_audio(filled))


@pytest.mark.parametrize("shape", [(10,), (1, 0)])
def test_a_waveform_of_the_wrong_shape(clap: CLAP, shape: tuple[int, ...]) -> None:
    with pytest.raises(QueryError, match=r"waveform \(B, T\) that is not empty"):
        clap.embed_audio(torch.zeros(shape))


def test_padding_does_not_change_an_embedding(clap: CLAP) -> None:
    assert clap.tokenizer is not None
    ids, mask = clap.tokenizer(["rain"])
    padded = nn.functional.pad(ids, (0, 5), value=clap.config.text.pad_id), nn.functional.pad(mask, (0, 5))
    torch.testing.assert_close(clap.embed_tokens(*padded), clap.embed_tokens(ids, mask), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pad_id", [0, 1])
def test_a_tower_that_reads_the_first_token(pad_id: int) -> None:
    config = TextTowerConfig(20, 8, 1, 2, 16, positions=12, max_tokens=10, pad_id=pad_id, pooling="first")
    tower = TextTower(config).eval()
    ids = torch.tensor([[5, 6, 7, pad_id, pad_id]])
    out = tower(ids, (ids != pad_id).long())
    assert out.shape == (1, 8)
    torch.testing.assert_close(tower(ids[:, :3], torch.ones(1, 3, dtype=torch.int64)), out, atol=1e-6, rtol=1e-5)


def test_takes_a_sentence_encoder(clap: CLAP) -> None:
    torch.manual_seed(1)
    encoder = SentenceEncoder(SentenceEncoderConfig.debug()).eval()
    clap.take_text_tower(encoder)
    ids, mask = encoder.tokenize(["a dog barking", "rain"])
    assert clap.tokenizer is not None
    torch.testing.assert_close(clap.tokenizer(["a dog barking", "rain"]), (ids, mask))
    with torch.no_grad():
        sentence = nn.functional.normalize(encoder.project(clap.text(ids, mask)), dim=1)
    torch.testing.assert_close(sentence, encoder.encode(["a dog barking", "rain"]))


def test_a_sentence_encoder_of_another_size(clap: CLAP) -> None:
    size = SentenceEncoderConfig.debug().vocab_size
    encoder = SentenceEncoder(SentenceEncoderConfig(size, hidden=16, layers=1, heads=2, intermediate=32))
    with pytest.raises(ConfigError, match="the sentence encoder asks for"):
        clap.take_text_tower(encoder)
    assert CLAPConfig.small(encoder.config).text == TextTowerConfig.like(encoder.config)


def test_a_frozen_text_tower_stays_as_it_is(clap: CLAP) -> None:
    clap.freeze_text_tower()
    clap.train()
    assert not clap.text.training
    assert clap.audio.training
    assert all(p.requires_grad == (not name.startswith("text.")) for name, p in clap.named_parameters())


def test_contrastive_steps_bring_pairs_together(clap: CLAP) -> None:
    torch.manual_seed(0)
    clap.train()
    x = torch.randn(4, clap.config.audio.clip_samples) * torch.tensor([0.01, 0.1, 1, 10])[:, None]
    texts = ["rain", "a dog", "wind", "bells"]
    optimiser = torch.optim.Adam(clap.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = contrastive_loss(clap.embed_audio(x), clap.embed_text(texts), clap.logit_scale.exp())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is not None for parameter in clap.parameters())


def test_no_tokenizer() -> None:
    config = CLAPConfig(CLAPConfig.debug().audio, TextTowerConfig(30, 8, 1, 2, 16, positions=12, max_tokens=10), dim=4)
    with pytest.raises(QueryError, match="no tokenizer"):
        CLAP(config).embed_text(["rain"])


def test_a_tokenizer_travels_as_text(clap: CLAP) -> None:
    again = CLAP(clap.config, assets=clap.assets())
    again.load_state_dict(clap.state_dict())
    torch.testing.assert_close(again.eval().embed_text(["rain"]), clap.embed_text(["rain"]))


def test_a_tokenizer_larger_than_the_tower() -> None:
    config = CLAPConfig(CLAPConfig.debug().audio, TextTowerConfig(30, 8, 1, 2, 16, positions=12, max_tokens=10), dim=4)
    with pytest.raises(ConfigError, match="the text tower 30"):
        CLAP(config, assets=CLAP(CLAPConfig.debug()).assets())


def test_a_text_that_is_too_long_and_one_that_is_not_there(clap: CLAP) -> None:
    with pytest.raises(QueryError, match="at most 64 are read: shorten it"):
        clap.embed_text(["a" * 70])
    with pytest.raises(QueryError, match="no text"):
        clap.embed_text([])


def test_a_damaged_tokenizer() -> None:
    with pytest.raises(WeightsError, match="tokenizer cannot be read"):
        JSONTokenizer("{", pad_id=0, max_tokens=10)


def test_a_tokenizer_from_a_folder(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "rain": 4, "dog": 5}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(tmp_path)
    ids, mask = JSONTokenizer(tokenizer_json(tmp_path), pad_id=1, max_tokens=77)(["dog rain", "dog"])
    assert ids.tolist() == [[0, 5, 4, 2], [0, 5, 2, 1]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    with pytest.raises(WeightsError, match="no tokenizer at"):
        tokenizer_json(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 10}, "heads 12 divide width 10"),
        ({"pad_id": 60000}, "pad_id 60000"),
        ({"max_tokens": 513}, "513 tokens do not fit"),
        ({"pooling": "last"}, "'first' or 'mean'"),
    ],
)
def test_text_towers_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextTowerConfig(**change)  # type: ignore[arg-type]
