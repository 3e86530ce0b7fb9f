from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import lassnet_entries
from signals import tone_and_noise
from torch import Tensor

from soundsieve.encoders.bert import BERT, BERTConfig, CaptionEncoder, bert_tokenizer
from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.query import Condition, Query
from soundsieve.separator import Separator
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.foreign import read_state
from soundsieve.weights.layouts.lassnet import is_lassnet, lassnet_state

RATE = 32000


@pytest.fixture
def system() -> LASSNet:
    torch.manual_seed(0)
    return LASSNet(LASSNetConfig.debug()).eval()


def test_base_is_the_published_size() -> None:
    with torch.device("meta"):
        system = LASSNet(LASSNetConfig.base())
    sizes = [sum(p.numel() for p in part.parameters()) for part in (system.text, system.net)]
    assert [round(size / 1e6, 2) for size in sizes] == [11.17, 52.23]


@pytest.mark.parametrize("samples", [1, 100, 5000, 16001, 40000])
def test_mixtures_of_any_length(system: LASSNet, samples: int) -> None:
    condition = system.encode_query(Query("a dog"))
    with torch.inference_mode():
        target = system(torch.from_numpy(tone_and_noise(2.0, RATE, channels=2))[:, :samples], condition)
    assert target.shape == (2, samples)
    assert torch.isfinite(target).all()


def test_a_clip_of_four_seconds_gives_sound() -> None:
    torch.manual_seed(0)
    separator = Separator(LASSNet(replace(LASSNetConfig.debug(), segment_s=10.0)))
    answer = separator.separate(tone_and_noise(4.0, RATE), "a dog", sample_rate=RATE)
    assert np.abs(answer.target).max() > 0.01


def test_the_top_two_bins_pass_at_half_level(system: LASSNet) -> None:
    """Their logits are zero, so a tone at half the sample rate is halved."""
    tone = (0.5 * (-1.0) ** torch.arange(RATE))[None]
    with torch.inference_mode():
        target = system(tone, system.encode_query(Query("a dog")))
    middle = slice(1000, -1000)
    assert target[:, middle] == pytest.approx(0.5 * tone[:, middle], abs=1e-4)


def test_captions_are_read_without_their_end_token(system: LASSNet) -> None:
    ids, mask = system.text.tokenize(["abc", "a"])
    assert ids.shape == mask.shape == (2, 4)
    assert ids[0, 0] == ids[1, 0] == 2  # [CLS]
    assert 3 not in ids  # [SEP]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert ids[1].tolist() == [2, int(ids[0, 1]), 0, 0]


def test_padding_does_not_change_a_caption(system: LASSNet) -> None:
    with torch.inference_mode():
        alone, pair = system.text.encode(["a dog"]), system.text.encode(["a dog", "rain on a tin roof"])
    assert torch.allclose(alone[0], pair[0], atol=1e-6)
    assert (pair >= 0).all()
    assert not torch.allclose(pair[0], pair[1], atol=1e-3)


def test_several_texts_are_averaged(system: LASSNet) -> None:
    one, other, both = (system.encode_query(Query(text)).positive for text in ("a dog", "rain", ["a dog", "rain"]))
    assert torch.allclose(both, (one + other) / 2, atol=1e-6)


def test_clips_and_exclusion_are_refused_by_name(system: LASSNet) -> None:
    with pytest.raises(QueryError, match=r"lassnet does not take example clips .*it takes text$"):
        system.encode_query(Query(like=[(np.zeros(100, np.float32), RATE)]))
    with pytest.raises(QueryError, match="lassnet does not take exclusion"):
        system.encode_query(Query("a dog", exclude="rain"))


def test_without_a_tokenizer_texts_are_refused() -> None:
    encoder = CaptionEncoder(replace(BERTConfig.debug(), layers=2))
    with pytest.raises(QueryError, match="no tokenizer"):
        encoder.encode(["a dog"])


def test_another_tokenizer_is_refused(system: LASSNet) -> None:
    json = system.text.assets()["tokenizer.json"]
    with pytest.raises(ConfigError, match=r"the tokenizer has \d+ tokens, the text encoder 30522"):
        bert_tokenizer(json)


def test_bert_equals_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = BERTConfig(vocab_size=50, width=32, layers=2, heads=4, mlp_width=64, positions=20, dropout=0.0)
    theirs = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=20,
        ),
        add_pooling_layer=False,
    ).eval()
    ours = BERT(config).eval()
    state = {name.replace("encoder.layer.", "layers."): tensor for name, tensor in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=True)
    ids = torch.randint(1, 50, (3, 11))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.inference_mode():
        found, expected = ours(ids, mask), theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(found[mask.bool()], expected[mask.bool()], atol=1e-5)


def test_text_encoder_and_network_are_trained_together(system: LASSNet) -> None:
    system.train()
    ids, mask = system.text.tokenize(["a dog", "rain"])
    wanted = system.text(ids, mask)
    mixture = torch.from_numpy(tone_and_noise(0.5, RATE, channels=2))
    system(mixture, Condition(wanted, torch.zeros_like(wanted))).square().mean().backward()
    assert system.text.bert.embeddings["word_embeddings"].weight.grad.abs().any()


def test_a_file_rebuilds_it(system: LASSNet, tmp_path: Path) -> None:
    save_system(tmp_path / "a.safetensors", system)
    again = load_system(tmp_path / "a.safetensors")
    assert isinstance(again, LASSNet)
    mixture = torch.from_numpy(tone_and_noise(0.5, RATE))
    with torch.inference_mode():
        one, other = (each(mixture, each.encode_query(Query("a dog"))) for each in (system, again))
    assert torch.allclose(one, other, atol=1e-5)  # mapped weights lie elsewhere, so sums go in another order


def test_configs(system: LASSNet) -> None:
    for config in (LASSNetConfig.base(), LASSNetConfig.debug()):
        assert from_dict(LASSNetConfig, to_dict(config)) == config
    with pytest.raises(ConfigError, match="condition is as wide as a caption's vector, 16"):
        LASSNetConfig(BERTConfig.debug())
    with pytest.raises(ConfigError, match="hop_length 300 must be at most half"):
        replace(system.config, hop_length=300)
    with pytest.raises(ConfigError, match="heads 3 must divide width 16"):
        replace(BERTConfig.debug(), heads=3)


# --- the published layout ---


def test_the_published_layout_is_read(system: LASSNet, tmp_path: Path) -> None:
    torch.save({"model": lassnet_entries(system)}, tmp_path / "LASSNet.pt")
    entries = read_state(tmp_path / "LASSNet.pt")
    assert is_lassnet(entries)
    assert "module.UNet.decoder_block1.conv_block2.film_res.linear.0.weight" in entries
    state = lassnet_state(entries, system.config)
    assert state.keys() == system.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in system.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("module.UNet.after_conv2.bias", None, "missing UNet.after_conv2.bias; unexpected none"),
        ("module.UNet.extra", torch.ones(2), "missing none; unexpected UNet.extra"),
        ("module.UNet.after_conv2.bias", torch.ones(7), r"has shape \(7,\), not \(1,\)"),
        ("module.UNet.after_conv2.bias", torch.full((1,), torch.nan), "not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(system: LASSNet, key: str, value: Tensor | None, message: str) -> None:
    entries = lassnet_entries(system)
    if value is None:
        del entries[key]
    else:
        entries[key] = value
    with pytest.raises(WeightsError, match=message):
        lassnet_state(entries, system.config)
