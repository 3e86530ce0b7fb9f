"""The Sieve network: conditions matter, batches do not, and the level of a recording does not either."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from soundsieve.errors import ConfigError, QueryError
from soundsieve.query import Condition, Query
from soundsieve.systems.sieve import Scene, Sieve, SieveConfig
from soundsieve.systems.sieve.naming import EVIDENCE, Named
from soundsieve.weights.checkpoint import load_system, save_system


@pytest.fixture(scope="module")
def sieve() -> Sieve:
    torch.manual_seed(0)
    model = Sieve(SieveConfig.debug())
    for module in model.modules():  # untrained statistics would leave the network all but linear
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def mixture() -> torch.Tensor:
    torch.manual_seed(1)
    t = torch.arange(48000) / 32000
    return torch.stack([0.3 * torch.sin(2 * torch.pi * 440 * t) + 0.05 * torch.randn(48000), 0.1 * torch.randn(48000)])


def condition(sieve: Sieve, text: str | None, exclude: str | None = None) -> Condition:
    return sieve.encode_query(Query(text=text, exclude=exclude))


def test_output_has_the_shape_of_the_mixture_for_any_length(sieve: Sieve) -> None:
    asked = condition(sieve, "a dog")
    for length in (1, 639, 640, 16001, 48000):
        out = sieve.estimate(torch.randn(2, length), asked)
        assert out.target.shape == (2, length)
        assert out.presence is not None
        assert out.presence.shape == (2,)


def test_another_query_gives_another_answer(sieve: Sieve, mixture: torch.Tensor) -> None:
    dog, rain = (sieve(mixture, condition(sieve, text)) for text in ("a dog", "rain"))
    excluded = sieve(mixture, condition(sieve, "a dog", "rain"))
    assert (dog - rain).abs().max() > 1e-4
    assert (dog - excluded).abs().max() > 1e-4


def test_zeros_stand_for_a_missing_side(sieve: Sieve, mixture: torch.Tensor) -> None:
    asked = condition(sieve, None, "rain")
    assert not asked.positive.any()
    assert asked.negative.norm() == pytest.approx(1.0, abs=1e-5)
    assert not condition(sieve, "rain").negative.any()
    out = sieve.estimate(mixture, asked)
    assert torch.equal(out.presence, torch.ones(2))  # "everything but" cannot be missing


def test_a_batch_of_two_is_two_batches_of_one(sieve: Sieve, mixture: torch.Tensor) -> None:
    asked = condition(sieve, "a dog")
    both = sieve(mixture, asked)
    alone = torch.cat([sieve(mixture[:1], asked), sieve(mixture[1:], asked)])
    torch.testing.assert_close(both, alone, atol=1e-6, rtol=1e-5)


def test_many_queries_at_once_equal_one_at_a_time(sieve: Sieve, mixture: torch.Tensor) -> None:
    asked = [condition(sieve, "a dog"), condition(sieve, None, "rain"), condition(sieve, "bird", "wind")]
    together = sieve.estimate_many(mixture, asked)
    for one, many in zip(asked, together, strict=True):
        torch.testing.assert_close(sieve(mixture, one), many.target, atol=1e-6, rtol=1e-5)


def test_the_answer_scales_with_the_recording(sieve: Sieve, mixture: torch.Tensor) -> None:
    asked = condition(sieve, "a dog")
    loud, soft = sieve.estimate(mixture, asked), sieve.estimate(mixture * 1e-3, asked)
    torch.testing.assert_close(soft.target * 1e3, loud.target, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(soft.presence, loud.presence, atol=1e-4, rtol=1e-3)


def test_silence_in_is_silence_out(sieve: Sieve) -> None:
    out = sieve(torch.zeros(1, 32000), condition(sieve, "a dog"))
    assert torch.isfinite(out).all()
    assert not out.any()


def test_the_mask_never_adds_energy_to_a_bin(sieve: Sieve, mixture: torch.Tensor) -> None:
    out = sieve(mixture, condition(sieve, "a dog"))
    assert out.square().sum() <= mixture.square().sum() * 1.001


def test_example_clips_are_queries_in_the_text_space(sieve: Sieve) -> None:
    rng = np.random.default_rng(0)
    clips = [(rng.normal(size=(2, 22050)).astype(np.float32), 44100), (rng.normal(size=8000).astype(np.float32), 16000)]
    one = sieve.encode_query(Query(like=clips[0]))
    two = sieve.encode_query(Query(like=tuple(clips), text="a dog"))
    assert one.positive.shape == (1, sieve.config.text.width)
    assert two.positive.norm() == pytest.approx(1.0, abs=1e-5)
    assert (one.positive - two.positive).abs().max() > 1e-3
    with pytest.raises(Exception, match="silent"):
        sieve.encode_query(Query(like=(np.zeros(8000, np.float32), 16000)))


def test_text_and_clips_share_a_side_by_weight(sieve: Sieve, mixture: torch.Tensor) -> None:
    clip = (mixture[0].numpy(), 32000)
    sides = {
        "text": ("a dog", None),
        "clip": (None, clip),
        0: ("a dog", clip),
        0.25: ("a dog", clip),
        1: ("a dog", clip),
    }
    for wanted, words, example in (("positive", "text", "like"), ("negative", "exclude", "unlike")):
        found = {}
        for weight, (text, given) in sides.items():
            share = weight if isinstance(weight, (int, float)) else 0.5
            query = Query(**{words: text, example: given}, audio_weight=share)
            found[weight] = getattr(sieve.encode_query(query), wanted)
        torch.testing.assert_close(found[0], found["text"])
        torch.testing.assert_close(found[1], found["clip"])
        between = torch.nn.functional.normalize(0.75 * found["text"] + 0.25 * found["clip"], dim=1)
        torch.testing.assert_close(found[0.25], between)


def test_the_gate_turns_down_only_what_is_not_there(sieve: Sieve) -> None:
    sieve.config, kept = dataclasses.replace(sieve.config, gate_db=20.0, presence_threshold=0.4), sieve.config
    gains = sieve._gate(torch.tensor([1.0, 0.4, 0.3, 0.2, 0.0]))
    sieve.config = kept
    torch.testing.assert_close(gains, 10 ** (torch.tensor([0.0, 0.0, -10.0, -20.0, -20.0]) / 20))


def test_presence_training_never_reaches_the_mask(sieve: Sieve, mixture: torch.Tensor) -> None:
    asked = condition(sieve, "a dog")
    scene = sieve.analysis(sieve.spectrum(mixture)[1])
    _, presence = sieve.read(scene, asked.expand(2).positive[:, None], asked.expand(2).negative[:, None])
    presence.sum().backward()
    moved = {name for name, p in sieve.named_parameters() if p.grad is not None and p.grad.any()}
    sieve.zero_grad()
    assert moved
    assert all(name.startswith("reader.presence") for name in moved)


def test_a_config_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        SieveConfig(n_bands=60)
    with pytest.raises(ConfigError, match="heads"):
        SieveConfig(width=321)


def test_nothing_asked_is_an_error() -> None:
    with pytest.raises(QueryError, match="nothing was asked"):
        Query()


def test_recall_draws_texts_towards_the_anchors() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SieveConfig.debug(), anchors=2, recall_temperature=0.01)
    sieve = Sieve(config).eval()
    dog, rain = sieve.text.encode(["a dog", "rain"])
    sieve.anchors[:] = torch.stack([dog, rain])
    assert "anchors" in sieve.state_dict()
    torch.testing.assert_close(sieve.embed_texts(["a dog"])[0], dog, atol=1e-3, rtol=0)  # an anchor is itself
    asked = sieve.text.encode(["the dogs"])[0]
    drawn = sieve.embed_texts(["the dogs"])[0]
    nearest = torch.stack([dog, rain])[(torch.stack([dog, rain]) @ asked).argmax()]
    assert drawn @ nearest > asked @ nearest
    assert drawn.norm().item() == pytest.approx(1.0, abs=1e-5)
    for recall, expected in ((0.0, asked), (1.0, nearest)):
        sieve.config = dataclasses.replace(config, recall=recall)
        torch.testing.assert_close(sieve.embed_texts(["the dogs"])[0], expected, atol=2e-2, rtol=0)


def scene_of_two(keys: torch.Tensor) -> Scene:
    """Four cells: the left two sound like the first of two keys, the right two like the second and are louder."""
    cells = torch.stack([keys[0], keys[0], keys[1], keys[1]], 1)[None, :, None]
    levels_db = torch.tensor([0.0, 0, 0, 0, 6, 6, 6, 6]).expand(1, 2, 8)
    whole = torch.nn.functional.normalize(keys.sum(0), dim=0)[None]
    return Scene(torch.zeros(1, 1, 1, 4), cells, torch.zeros(1, 2, 2), whole, torch.zeros(1, 3), levels_db)


def test_a_scene_is_told_in_the_words_of_the_anchors() -> None:
    anchors, keys = torch.eye(3)[:2], torch.eye(2)
    named = Named(scene_of_two(keys), anchors, keys, torch.full((3,), 20.0), anchors)
    left = torch.zeros(1, 1, 2, 8)
    left[..., :4] = 1.0
    torch.testing.assert_close(named.shares(left)[0, 0], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)
    whole = named.shares(torch.ones(1, 1, 2, 8))[0, 0]
    torch.testing.assert_close(whole[1] / whole[0], torch.tensor(10**0.6), atol=1e-4, rtol=0)

    wanted, nothing = anchors[None, :1], torch.zeros(1, 1, 3)
    positive, negative = named.contrasted(left, wanted, nothing)
    assert torch.equal(positive, wanted)
    torch.testing.assert_close(negative[0, 0], anchors[1], atol=1e-5, rtol=0)  # what was left is excluded
    positive, negative = named.contrasted(left, nothing, anchors[None, 1:])
    torch.testing.assert_close(positive[0, 0], anchors[0], atol=1e-5, rtol=0)  # what is held is wanted
    assert torch.equal(negative, anchors[None, 1:])

    evidence = named.evidence(left, torch.stack([anchors[0], anchors[1], torch.eye(3)[2]])[None], 0.03)[0]
    assert evidence.shape == (3, EVIDENCE)
    assert evidence[0, 0] > evidence[1, 0] + 3  # the answer holds the first and not the second
    assert evidence[1, 1] > evidence[0, 1] + 3  # which is in what is left
    torch.testing.assert_close(evidence[:, 4], torch.tensor([1.0, 1.0, 0.0]))  # the third is near no anchor


def test_contrast_asks_again_without_what_the_first_answer_left(mixture: torch.Tensor) -> None:
    torch.manual_seed(0)
    sieve = Sieve(dataclasses.replace(SieveConfig.debug(), anchors=3, contrast=True)).eval()
    sieve.anchors[:] = sieve.text.encode(["a dog", "rain", "a violin"])
    scene = sieve.analysis(sieve.spectrum(mixture)[1])
    asked = condition(sieve, "a dog").expand(2)
    positive, negative = asked.positive[:, None], asked.negative[:, None]
    first, _ = sieve.reader(scene, positive, negative)
    second, _ = sieve.reader(scene, *sieve.in_words(scene).contrasted(first.sigmoid(), positive, negative))
    assert (first - second).abs().max() > 1e-3
    torch.testing.assert_close(sieve.read(scene, positive, negative)[0], second)
    with pytest.raises(ConfigError, match="there are none"):
        dataclasses.replace(sieve.config, anchors=0)


def test_a_text_that_is_near_to_no_anchor_is_of_a_strange_sound(mixture: torch.Tensor) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SieveConfig.debug(), anchors=2, known=0.999, gate_db=20.0)
    sieve = Sieve(config).eval()
    sieve.anchors[:] = sieve.text.encode(["a dog", "rain"])
    asked = sieve.encode_query(Query(text="a dragon yawning"))
    torch.testing.assert_close(asked.positive, sieve.text.encode(["a dragon yawning"]))  # not drawn to an anchor
    out = sieve.estimate(mixture, asked)
    assert (out.presence <= sieve.presence_threshold / 2).all()
    torch.testing.assert_close(out.gain, torch.full((2,), 0.1))
    known = sieve.estimate(mixture, sieve.encode_query(Query(text="a dog")))
    assert (known.presence > sieve.presence_threshold / 2).any()
    assert torch.equal(sieve.estimate(mixture, condition(sieve, None, "a dragon yawning")).presence, torch.ones(2))


def test_example_clips_are_drawn_towards_the_anchors_too() -> None:
    torch.manual_seed(0)
    sieve = Sieve(dataclasses.replace(SieveConfig.debug(), anchors=2, recall_temperature=0.01)).eval()
    sieve.anchors[:] = torch.nn.functional.normalize(torch.randn(2, sieve.config.text.width), dim=1)
    clip = (np.random.default_rng(0).standard_normal(16000).astype(np.float32), 32000)
    heard = sieve.embed_clips([clip])
    sieve.config = dataclasses.replace(sieve.config, recall_clips=1.0)
    nearest = sieve.anchors[(heard @ sieve.anchors.T).argmax()]
    torch.testing.assert_close(sieve.embed_clips([clip])[0], nearest, atol=1e-2, rtol=0)


def remembering() -> Sieve:
    """A Sieve with two anchors and two remembered sounds, all apart from each other."""
    torch.manual_seed(0)
    config = dataclasses.replace(SieveConfig.debug(), anchors=2, heard=0.5, recall=1.0, recall_temperature=0.01)
    sieve = Sieve(config).eval()
    apart = torch.linalg.qr(torch.randn(config.text.width, 4)).Q.T
    sieve.anchors[:], sieve.sounds[:] = apart[:2], apart[2:]
    return sieve


def test_a_text_asks_along_with_the_sounds_that_are_remembered() -> None:
    sieve = remembering()
    near_second = torch.nn.functional.normalize(sieve.anchors[1] + 0.1 * sieve.sounds[0], dim=0)[None]
    asked = sieve.recalled(near_second, 1.0, 0.5)
    between = torch.nn.functional.normalize(sieve.anchors[1] + sieve.sounds[1], dim=0)[None]
    torch.testing.assert_close(asked, between, atol=1e-4, rtol=0)
    torch.testing.assert_close(sieve.recalled(near_second, 1.0), sieve.anchors[1][None], atol=1e-4, rtol=0)
    text = sieve.text.encode(["a dog"])
    torch.testing.assert_close(sieve.embed_texts(["a dog"]), sieve.recalled(text, 1.0, 0.5))
    assert (sieve.embed_texts(["a dog"]) @ sieve.sounds.T).amax() > 0.3


def test_a_text_that_is_far_from_every_anchor_asks_with_no_remembered_sounds() -> None:
    sieve = remembering()
    text = sieve.text.encode(["the dogs"])
    cosine = float((sieve.anchors @ text[0]).amax())
    config = sieve.config
    for given, share in (((-1.0, -1.0), 1.0), ((cosine + 0.01, 1.0), 0.0), ((cosine - 0.1, cosine + 0.1), 0.5)):
        sieve.config = dataclasses.replace(config, heard_range=given)
        expected = sieve.recalled(text, config.recall, share * config.heard)
        torch.testing.assert_close(sieve.embed_texts(["the dogs"]), expected, atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match="heard_range"):
        dataclasses.replace(config, heard_range=(0.7, 0.5))


def test_what_is_named_for_the_second_look_is_asked_in_the_same_way(mixture: torch.Tensor) -> None:
    sieve = remembering()
    named = sieve.in_words(sieve.analysis(sieve.spectrum(mixture)[1]))
    expected = torch.nn.functional.normalize(sieve.anchors + sieve.sounds, dim=1)
    torch.testing.assert_close(named.names, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(named.anchors, sieve.anchors)
    with pytest.raises(ConfigError, match="there are none"):
        Sieve(dataclasses.replace(sieve.config, anchors=0))
    with pytest.raises(ConfigError, match="heard"):
        dataclasses.replace(sieve.config, heard=1.5)


def test_remembered_sounds_travel_with_the_weights(tmp_path: Path) -> None:
    sieve = remembering()
    save_system(tmp_path / "sieve.safetensors", sieve)
    again = load_system(tmp_path / "sieve.safetensors")
    torch.testing.assert_close(again.get_buffer("sounds"), sieve.sounds)
