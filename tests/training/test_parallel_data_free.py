"""Training without captions: no word of a clip is read, and everything else is as it always is."""

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.encoders.text import SentenceEncoder
from soundsieve.errors import ConfigError
from soundsieve.systems.sieve import Sieve, SieveConfig
from soundsieve.training.build import Data, build_task
from soundsieve.training.captions.building import build_cache
from soundsieve.training.captions.encoders import load_encoder
from soundsieve.training.fit import fit
from soundsieve.training.recipe import Recipe, read_recipe
from soundsieve.training.tasks.separation import SeparationTask
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.clap import save_clap

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes/parallel_data_free"
WORDLESS = ("audio", "audio_dropout", "audio_noise", "retrieval")
CAPTIONS = [f"{what} {how}" for what in ("a tone", "noise", "clicks", "a chirp", "a bell") for how in ("loud", "soft")]
TOY: dict[str, Any] = {
    "model": {"preset": "debug", "n_bands": 16, "hop_length": 1024}, "ema_decay": 0.0, "precision": "32",
    "warmup_steps": 2, "options.batch_size": 4, "options.validation_batches": 1,
    "options.mixtures": {"segment_s": 1.0, "speeds": [1.0], "three_sources": 0.0, "noise": 0.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Sieve that knows neither sounds nor words."""
    path = tmp_path_factory.mktemp("encoder") / "sieve.safetensors"
    torch.manual_seed(3)
    save_system(path, Sieve(SieveConfig.debug()).eval())
    return path


@pytest.fixture(scope="module")
def captions(encoder: Path) -> Path:
    return build_cache(CAPTIONS, encoder.parent / "cache", load_encoder(encoder)).folder


@pytest.fixture(scope="module")
def unlabelled(corpus: Path) -> Path:
    """The corpus without a word about any clip: path, group and split, the recordings under numbers."""
    with corpus.open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = sorted({row["group"] for row in rows})
    path = corpus.with_name("unlabelled.csv")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "group"])
        writer.writerows([[row["path"], row["split"], groups.index(row["group"])] for row in rows])
    return path


def toy(name: str, encoder: Path, captions: Path, **changes: Any) -> Recipe:
    return read_recipe(
        RECIPES / f"{name}.yaml",
        TOY | {"options.encoder": str(encoder), "options.cache": str(captions)} | changes,
    )


def build(recipe: Recipe, clips: Path, cache: Path) -> SeparationTask:
    task = build_task(recipe, Data(clips, cache))
    assert isinstance(task, SeparationTask)
    return task


def silence_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, embedding a text is an error."""

    def read(*_: object) -> None:
        raise AssertionError("a text was embedded")

    monkeypatch.setattr(SentenceEncoder, "encode", read)
    monkeypatch.setattr(CLAP, "embed_text", read)
    monkeypatch.setattr(CLAP, "embed_tokens", read)


@pytest.mark.parametrize(
    ("names", "objectives"),
    [
        (
            ("supervised", *WORDLESS, "hybrid"),
            {"supervised", "audio", "audio+dropout", "audio+noise", "retrieval", "hybrid"},
        ),
        (("clapsep_audio", "clapsep_audio_dropout", "clapsep_retrieval"), {"audio", "audio+dropout", "retrieval"}),
    ],
)
def test_the_recipes_differ_in_the_objective_alone(names: tuple[str, ...], objectives: set[str]) -> None:
    recipes = [read_recipe(RECIPES / f"{name}.yaml") for name in names]
    assert {recipe.options.pop("objective")["name"] for recipe in recipes} == objectives
    assert all(recipe == recipes[0] for recipe in recipes)
    lines = [set((RECIPES / f"{name}.yaml").read_text().splitlines()) for name in names]
    assert {len(one ^ two) for one in lines for two in lines} == {0, 2}


@pytest.mark.parametrize("name", WORDLESS)
def test_a_list_without_labels_and_captions_trains_and_no_text_is_embedded(
    name: str, encoder: Path, captions: Path, unlabelled: Path, cache: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Ten steps on one batch lower its loss."""
    silence_words(monkeypatch)
    recipe = toy(name, encoder, captions, max_steps=10, validate_every=10, learning_rate=0.01)
    task = build(recipe, unlabelled, cache)
    batch, loss, losses = task.batch(0), task.loss, []

    def noted(*args: Any) -> dict[str, torch.Tensor]:
        parts = loss(*args)
        losses.append(parts["loss"].item())
        return parts

    monkeypatch.setattr(task, "batch", lambda _: batch)
    monkeypatch.setattr(task, "loss", noted)
    result = fit(task, recipe, tmp_path, workers=0)
    assert len(losses) == 10
    assert losses[-1] < losses[0] - 0.3
    assert "validation_snr_gain" in result.best


@pytest.mark.parametrize("name", ["supervised", "hybrid"])
def test_an_objective_that_needs_captions_says_that_there_are_none(
    name: str, encoder: Path, captions: Path, unlabelled: Path, cache: Path
) -> None:
    with pytest.raises(ConfigError, match="lacks the columns label, caption"):
        build(toy(name, encoder, captions), unlabelled, cache)


@pytest.mark.parametrize("name", WORDLESS)
def test_labels_and_captions_change_nothing_where_they_are_not_needed(
    name: str, encoder: Path, captions: Path, corpus: Path, cache: Path
) -> None:
    """The same list with all labels and captions exchanged at random gives the same batches, bit by bit."""
    with corpus.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column in ("label", "caption"):
        values = [row[column] for row in rows]
        random.Random(1).shuffle(values)
        for row, value in zip(rows, values, strict=True):
            row[column] = value
    wrong = corpus.with_name("wrong.csv")
    with wrong.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    recipe = toy(name, encoder, captions)
    right, other = (build(recipe, clips, cache).batch(3) for clips in (corpus, wrong))
    for key, value in right.items():
        assert torch.equal(value, other[key]), key


def test_mixtures_are_the_same_for_every_objective(encoder: Path, captions: Path, corpus: Path, cache: Path) -> None:
    batches = {
        name: build(toy(name, encoder, captions), corpus, cache).batch(7)
        for name in (*WORDLESS, "supervised", "hybrid")
    }
    first = batches.pop("supervised")
    for name, batch in batches.items():
        assert torch.equal(batch["energies"], first["energies"]), name
        assert torch.equal(batch["sources"], first["sources"]), name
        assert torch.equal(batch["negative"] != 0, first["negative"] != 0) == (name != "audio_dropout"), name
        assert not torch.equal(batch["positive"], first["positive"]), name


def test_conditions_belong_to_their_clips(encoder: Path, captions: Path, unlabelled: Path, cache: Path) -> None:
    """What is wanted is the sound's own vector; what is excluded, where something is, is the other sound's."""
    task = build(toy("audio", encoder, captions, **{"options.exclusion": 1.0}), unlabelled, cache)
    batch = task.batch(0)
    assert torch.equal(batch["negative"], batch["positive"].flip(1))
    assert task.train.audio is not None
    assert (batch["positive"][:, :, None] == task.train.audio).all(3).any(2).all()
    alone = build(toy("audio", encoder, captions, **{"options.exclusion": 0.0}), unlabelled, cache).batch(0)
    assert not alone["negative"].any()
    retrieved = build(toy("retrieval", encoder, captions), unlabelled, cache).batch(0)
    vectors = load_encoder(encoder).embed_text(CAPTIONS)
    assert (retrieved["positive"] @ vectors.T).amax(2).min() > 0.999  # stored in float16


def test_a_stopped_run_takes_the_same_next_steps(
    encoder: Path, captions: Path, unlabelled: Path, cache: Path, tmp_path: Path
) -> None:
    recipe = toy("retrieval", encoder, captions, max_steps=6, validate_every=2, **{"options.objective.k": 3})
    for name, stops in (("whole", (None,)), ("parts", (3, None))):
        for stop in stops:
            last = tmp_path / name / "last.ckpt"
            fit(
                build(recipe, unlabelled, cache), recipe, tmp_path / name, workers=0, stop_after=stop,
                resume=last if last.is_file() else None,
            )  # fmt: skip
    whole, parts = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "parts"))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name


def test_the_product_is_asked_in_words_and_never_doubts(
    encoder: Path, captions: Path, unlabelled: Path, cache: Path, tmp_path: Path
) -> None:
    from soundsieve.query import Query

    recipe = toy("audio", encoder, captions, max_steps=1, validate_every=1)
    fit(build(recipe, unlabelled, cache), recipe, tmp_path, workers=0)
    system = load_system(tmp_path / "last.safetensors")
    answer = system.estimate(torch.randn(1, 32000), system.encode_query(Query(text=("a tone",))))
    assert answer.presence is not None
    assert answer.presence.item() > 0.99


def test_a_cache_of_another_encoder_is_refused(
    encoder: Path, captions: Path, unlabelled: Path, cache: Path, tmp_path: Path
) -> None:
    save_system(tmp_path / "other.safetensors", Sieve(SieveConfig.debug()).eval())
    with pytest.raises(ConfigError, match="was built with"):
        build(toy("retrieval", tmp_path / "other.safetensors", captions), unlabelled, cache)
    with pytest.raises(ConfigError, match=r"name a folder of them in options\.cache"):
        build(toy("retrieval", encoder, captions, **{"options.cache": None}), unlabelled, cache)


@pytest.mark.parametrize("name", ["audio", "retrieval"])
def test_clapsep_trains_without_a_word_too(
    name: str, unlabelled: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clap = tmp_path / "clap.safetensors"
    torch.manual_seed(5)
    save_clap(clap, CLAP(CLAPConfig.debug()))
    build_cache(CAPTIONS, tmp_path / "cache", load_encoder(clap))
    silence_words(monkeypatch)
    recipe = read_recipe(
        ROOT / "recipes/clapsep/debug.yaml",
        {
            "max_steps": 2, "validate_every": 2, "options.clap": str(clap), "options.cache": str(tmp_path / "cache"),
            "options.objective": {"name": name, "k": 2}, "options.validation_pairs": 2,
        },
    )  # fmt: skip
    result = fit(build_task(recipe, Data(unlabelled, cache)), recipe, tmp_path / "run", workers=0)
    assert result.step == 2
    assert "validation_sdri_as_trained" in result.best


def test_a_listener_learns_to_name_what_it_hears(encoder: Path, corpus: Path, cache: Path, tmp_path: Path) -> None:
    """Forty steps on six clips; its product is an encoder whose words are those of the tower that it was built on."""
    recipe = read_recipe(
        RECIPES / "encoder.yaml",
        {
            "model": TOY["model"], "max_steps": 40, "validate_every": 40, "warmup_steps": 2, "learning_rate": 0.01,
            "ema_decay": 0.0, "precision": "32", "options.encoder": str(encoder), "options.sentences": [],
            "options.mixtures": {"segment_s": 1.0, "speeds": [1.0], "eq_db": 0.0, "lowpass": 0.0, "reverb": 0.0},
        },
    )  # fmt: skip
    task = build_task(recipe, Data(corpus, cache))
    before = task.loss(task.module, task.batch(0), 0)["loss"].item()
    result = fit(task, recipe, tmp_path, workers=0)
    assert task.loss(task.module, task.batch(0), 0)["loss"].item() < before - 0.3
    assert 0 <= result.best["validation_accuracy"] <= 1
    product, tower = load_encoder(tmp_path / "last.safetensors"), load_encoder(encoder)
    torch.testing.assert_close(product.embed_text(CAPTIONS), tower.embed_text(CAPTIONS), atol=0.02, rtol=0)
    assert product.embed_audio(torch.randn(2, 32000)).shape == (2, product.width)
