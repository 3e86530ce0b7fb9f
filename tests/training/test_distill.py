"""Sentences for distillation, and a student that learns from a teacher made of random vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.training.recipe import build_config, read_recipe
from soundsieve.training.tasks.distill import (
    DistillConfig,
    DistillTask,
    Labelled,
    label_centres,
    label_retrieval,
    make_task,
    start_from_tokens,
)
from soundsieve.training.teachers import Itself, Teacher, remembered
from soundsieve.training.text_corpus import (
    descriptions,
    inflect,
    label_names,
    normalise,
    plain_vocabulary,
    read_column,
    read_lexicon,
    sound_sentences,
    usual_words,
    whole_words,
    word_sentences,
)
from soundsieve.weights.config import from_dict

ROOT = Path(__file__).resolve().parents[2]
LEXICON = {
    "source": ["dog", "engine", "old door"],
    "sound": ["bark", "hum"],
    "verb": ["bark", "drive past", "hiss"],
    "place": ["outside", "in a cave"],
    "quality": ["loud", "eerie"],
    "material": ["wood", "ice"],
}
NAMES = ["rain", "dog barking", "alarm"]


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("clap", ("claps", "clapping", "clapped")),
        ("hiss", ("hisses", "hissing", "hissed")),
        ("drive past", ("drives past", "driving past", "drived past")),  # irregular verbs are bent as regular ones
        ("cry", ("cries", "crying", "cried")),
        ("play", ("plays", "playing", "played")),
        ("whisper", ("whispers", "whispering", "whispered")),
        ("squeal", ("squeals", "squealing", "squealed")),
    ],
)
def test_inflect(verb: str, forms: tuple[str, str, str]) -> None:
    assert inflect(verb) == forms


def test_lists() -> None:
    assert label_names(["Male speech, man speaking", "Organ_(pipe)"]) == [
        "male speech, man speaking", "male speech", "man speaking", "organ",
    ]  # fmt: skip
    assert descriptions(["A dog barks. Sound of a bell, rung by hand."]) == [
        "A dog barks", "Sound of a bell, rung by hand", "Sound of a bell", "rung by hand",
    ]  # fmt: skip
    vocabulary = {"[PAD]": 0, "the": 1, "##ing": 2, "1987": 3, "é": 4, "a": 5, "7": 6, "!": 7, "[unused1]": 8}
    assert plain_vocabulary(vocabulary) == ["the", "##ing", "a", "7", "!"]
    assert whole_words(["the", "##ing", "a", "7"]) == ["the"]
    assert normalise("  A dog's BARK! ") == "a dog s bark"
    assert usual_words(["A dog, a cat", "Zoë's dog"]) == ["a", "dog", "cat", "zoe", "s"]


def test_sentences_follow_from_the_seed() -> None:
    first = sound_sentences(NAMES, LEXICON, count=300, seed=1)
    assert first == sound_sentences(NAMES, LEXICON, count=300, seed=1)
    assert first != sound_sentences(NAMES, LEXICON, count=300, seed=2)
    assert len(set(first)) == 300
    assert not any("{" in sentence for sentence in first)
    words = word_sentences(["hound", "river", "seven"], LEXICON, count=100, seed=1)
    assert words == word_sentences(["hound", "river", "seven"], LEXICON, count=100, seed=1)
    assert sum("hound" in sentence for sentence in words) > 30


def test_held_out_sentences_never_come_out() -> None:
    free = sound_sentences(NAMES, LEXICON, count=400, seed=3)
    held_out = [sentence.upper() + "." for sentence in free[::4]]
    kept = {normalise(sentence) for sentence in sound_sentences(NAMES, LEXICON, count=400, seed=3, exclude=held_out)}
    assert kept
    assert not kept & {normalise(sentence) for sentence in held_out}


def test_few_words_end() -> None:
    assert len(word_sentences(["hound"], {kind: ["bark"] for kind in LEXICON}, count=10_000)) < 1000


def test_bad_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with pytest.raises(ConfigError, match="cannot read"):
        read_column(path, "text")
    path.write_text("kind,text\nsource,dog\n")
    with pytest.raises(ConfigError, match="no column 'caption'"):
        read_column(path, "caption")
    with pytest.raises(ConfigError, match="must have the kinds"):
        read_lexicon(path)


def fake_vectors(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 384, generator=generator), dim=1)


def debug_task(**changes: float) -> DistillTask:
    sentences = [*NAMES, *sound_sentences(NAMES, LEXICON, count=60, seed=0)]
    config = from_dict(DistillConfig, {"teacher": "none", "lexicon": "none", "batch_size": 16, "bank": 8, **changes})
    labelled = Labelled(NAMES, ["rain", "dog", "alarm"], fake_vectors(3))
    torch.manual_seed(0)
    return DistillTask(
        SentenceEncoder(SentenceEncoderConfig.debug()), sentences, fake_vectors(63), curated=3, config=config,
        anchors=labelled, held_out=labelled, seed=5,
    )  # fmt: skip


def test_ten_steps_lower_the_loss() -> None:
    task = debug_task()
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=3e-3)
    batch = task.batch(0)
    losses = []
    for step in range(11):
        parts = task.loss(task.module, batch, step)
        losses.append(parts["loss"].item())
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_the_teacher_alone() -> None:
    task = debug_task(label_weight=0.0)
    parts = task.loss(task.module, task.batch(0), 0)
    assert set(parts) == {"loss", "cosine", "relation"}
    torch.testing.assert_close(parts["loss"], parts["cosine"] + 0.2 * parts["relation"])


def test_labels_are_learnt_against_the_teacher() -> None:
    """The teacher confuses two labels; the label loss tells the student which is which."""
    task = debug_task(label_weight=1.0, labelled=8)
    texts, labels = ["rain", "downpour", "drizzle", "alarm"], ["rain", "rain", "rain", "alarm"]
    wet, loud = fake_vectors(2, seed=1)
    vectors = torch.nn.functional.normalize(torch.stack([wet, wet, 0.7 * loud + 0.3 * wet, loud]), dim=1)
    anchors = Labelled(texts, labels, vectors)
    task = DistillTask(
        task.module, texts, vectors, curated=4, config=task.config, anchors=anchors, held_out=anchors, seed=1
    )  # fmt: skip
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=1e-3)
    for step in range(60):
        optimizer.zero_grad()
        task.loss(task.module, task.batch(step), step)["loss"].backward()
        optimizer.step()
    centres = label_centres(vectors, labels)[0]
    drizzle = task.module.encode(["drizzle"])
    assert (vectors[2] @ centres.T).argmax() == 1
    assert (drizzle @ centres.T).argmax() == 0


def test_wordings_are_drawn_to_their_labels_centres() -> None:
    """Labels without a wording take no part; what is said of everything else is left to the teacher."""
    base = debug_task(label_weight=1.0, labelled=8)
    texts, labels = ["rain", "wet rain", "alarm", "siren"], ["rain", "rain", "alarm", "siren"]
    anchors = Labelled(texts, labels, fake_vectors(4, seed=2))
    said = [("drizzle", "rain"), ("ring", "alarm")]
    task = DistillTask(
        base.module, texts, anchors.vectors, curated=4, config=base.config, anchors=anchors, held_out=anchors,
        wordings=said, validation=[("drizzle", "rain"), ("hoot", "siren")], seed=1,
    )  # fmt: skip
    centres = label_centres(anchors.vectors, labels)[0]
    batch = task.batch(0)
    assert set(batch["label"].tolist()) == {0, 1}
    torch.testing.assert_close(batch["labelled_teacher"], centres[batch["label"]])
    before = task.validate(task.module)
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=1e-3)
    for step in range(80):
        optimizer.zero_grad()
        task.loss(task.module, task.batch(step), step)["loss"].backward()
        optimizer.step()
    found = task.module.encode(["drizzle", "ring"]) @ centres.T
    assert found.argmax(1).tolist() == [0, 1]
    after = task.validate(task.module)
    assert after["wordings"] >= 0.5
    assert after["cosine"] > before["cosine"]
    assert after["score"] == pytest.approx(after["cosine"] + after["retrieval"] + after["wordings"])
    with pytest.raises(ConfigError, match="'owl' of the wordings"):
        DistillTask(
            base.module, texts, anchors.vectors, curated=4, config=base.config, anchors=anchors, held_out=anchors,
            wordings=[("hoot", "owl")],
        )  # fmt: skip


def test_batches_follow_from_the_step() -> None:
    one, two = debug_task(), debug_task()
    for step in (0, 1, 7, 8):
        first, second = one.batch(step), two.batch(step)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert first["input_ids"].shape[0] == first["teacher"].shape[0] == 16
        assert first["bank"].shape == (8, 384)
    assert not torch.equal(one.batch(0)["bank"], one.batch(1)["bank"])


def test_rows_of_a_batch_belong_together() -> None:
    task = debug_task()
    batch = task.batch(3)
    for ids, vector in zip(batch["input_ids"], batch["teacher"], strict=True):
        row = int((task._vectors @ vector).argmax())
        assert torch.equal(ids, task._ids[row, : len(ids)].long())


def test_validation_and_file(tmp_path: Path) -> None:
    task = debug_task()
    scores = task.validate(task.module)
    assert scores["teacher_retrieval"] == 1.0
    assert scores["score"] == pytest.approx(scores["cosine"] + scores["retrieval"])
    task.save(tmp_path / "text.safetensors", task.module)
    assert SentenceEncoder.load(tmp_path / "text.safetensors").config == SentenceEncoderConfig.debug()


def test_label_retrieval_by_hand() -> None:
    axes = torch.eye(3)
    anchors = torch.stack([axes[0], axes[0], axes[1]])
    queries = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.5, 0], [1.0, 0.5, 0], [0, 1.0, 0], [0, 1.0, 0]]), dim=1
    )
    assert label_retrieval(queries, ["x", "y", "y", "y"], anchors, ["x", "x", "y"]) == 0.75
    with pytest.raises(ConfigError, match="'z'"):
        label_retrieval(queries[:1], ["z"], anchors, ["x", "x", "y"])


def test_start_points_where_single_tokens_point() -> None:
    torch.manual_seed(0)
    encoder = SentenceEncoder(SentenceEncoderConfig(104, 64, 1, 2, 64), _hundred_words())
    basis = torch.linalg.qr(torch.randn(384, 40))[0].T
    vectors = torch.nn.functional.normalize(torch.randn(100, 40) @ basis, dim=1)  # 40 dimensions fit 64 channels
    start_from_tokens(encoder, vectors)
    table = encoder.tower.embeddings.word_embeddings.weight[4:]
    back = table / table.std() @ encoder.project.weight.T + encoder.project.bias
    assert torch.nn.functional.cosine_similarity(back, vectors).min() > 0.99
    assert not encoder.tower.embeddings.word_embeddings.weight[0].any()


def _hundred_words() -> str:
    from soundsieve.encoders.text import build_tokenizer

    return build_tokenizer([f"word{chr(97 + i // 10)}{chr(97 + i % 10)}" for i in range(100)])


@pytest.fixture
def teacher_folder(tmp_path: Path) -> Path:
    """A tiny random BERT, as a folder that the transformers library reads."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path / "teacher"
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), "dog", "rain", "the"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=384, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_from_lists_to_task(teacher_folder: Path, tmp_path: Path) -> None:
    lexicon, captions, held = tmp_path / "lexicon.csv", tmp_path / "captions.csv", tmp_path / "held.csv"
    rows = [f"{kind},{text}" for kind, texts in LEXICON.items() for text in texts]
    lexicon.write_text("\n".join(["kind,text", *rows]))
    captions.write_text("label,text\n" + "\n".join(f"{a},{a} number {b}" for a in ("dog", "rain") for b in "abcde"))
    held.write_text("text\nDog number A!\nrain outside\n")
    config = DistillConfig(
        teacher=str(teacher_folder), lexicon=str(lexicon), labels=(str(captions),), captions=(str(captions),),
        exclude=(str(held),), sound_sentences=50, word_sentences=10, batch_size=8, bank=4, validation_share=0.2,
    )  # fmt: skip
    model = SentenceEncoderConfig.debug()
    task = make_task(model, config, seed=0, cache=tmp_path / "cache")
    assert isinstance(task.module, SentenceEncoder)
    assert task.module.config.vocab_size == 4 + 55
    assert len(task.held_out.texts) == 2
    assert "dog number a" not in task.anchors.texts
    (cached,) = (tmp_path / "cache").glob("teacher-*.npz")
    stamp = cached.stat().st_mtime_ns
    again = make_task(model, config, seed=0, cache=tmp_path / "cache")
    assert cached.stat().st_mtime_ns == stamp
    assert all(torch.equal(a, b) for a, b in zip(task.batch(3).values(), again.batch(3).values(), strict=True))
    assert np.isfinite(task.validate(task.module)["score"])
    task.save(tmp_path / "first.safetensors", task.module)
    further = make_task(model, replace(config, init=str(tmp_path / "first.safetensors")), seed=1)
    assert isinstance(further.module, SentenceEncoder)
    torch.testing.assert_close(further.module.encode(["rain"]), task.module.eval().encode(["rain"]))


def test_an_encoder_that_teaches_itself(tmp_path: Path) -> None:
    """It learns from what it says, from a file of its own or from a Sieve's, and none of its judges is trained on."""
    from soundsieve.systems.sieve import Sieve, SieveConfig
    from soundsieve.weights.checkpoint import save_system

    files = {name: tmp_path / f"{name}.csv" for name in ("lexicon", "captions", "more", "judges")}
    rows = [f"{kind},{text}" for kind, texts in LEXICON.items() for text in texts]
    files["lexicon"].write_text("\n".join(["kind,text", *rows]))
    files["captions"].write_text(
        "label,text\n" + "\n".join(f"{a},{a} number {b}" for a in ("dog", "rain") for b in "abc")
    )
    files["more"].write_text(
        "label,text,kind\ndog,hound,name\nrain,a drizzle,name\nrain,Old door,name\nrain,wet!,name\n"
    )
    files["judges"].write_text("label,text\nrain,wet\n")
    torch.manual_seed(0)
    sieve = Sieve(SieveConfig.debug()).eval()
    save_system(tmp_path / "sieve.safetensors", sieve)
    config = DistillConfig(
        init=str(tmp_path / "sieve.safetensors"), lexicon=str(files["lexicon"]), captions=(str(files["captions"]),),
        wordings=(str(files["more"]),), validation=(str(files["judges"]),), sound_sentences=60, word_sentences=0,
        batch_size=8, bank=4, labelled=4, validation_share=0.2,
    )  # fmt: skip
    task = make_task(SentenceEncoderConfig.debug(), config, seed=0)
    assert list(task.labelled.texts) == ["hound", "a drizzle", "Old door"]
    assert task.validate(task.module)["cosine"] == pytest.approx(1.0, abs=1e-3)
    assert isinstance(task.module, SentenceEncoder)
    assert task.module.words is not None
    assert {"hound", "number", "bark"} <= set(task.module.words.split())
    assert "wet" not in task.module.words.split()
    task.save(tmp_path / "text.safetensors", task.module)
    again = make_task(SentenceEncoderConfig.debug(), replace(config, init=str(tmp_path / "text.safetensors")), seed=0)
    assert all(torch.equal(a, b) for a, b in zip(task.batch(1).values(), again.batch(1).values(), strict=True))
    with pytest.raises(ConfigError, match="name a teacher"):
        replace(config, init=None)
    with pytest.raises(WeightsError, match="no text encoder at"):
        make_task(SentenceEncoderConfig.debug(), replace(config, init=str(tmp_path / "none.safetensors")), seed=0)


def test_what_teaches_stays_as_it_was() -> None:
    encoder = SentenceEncoder(SentenceEncoderConfig.debug())
    teacher = Itself(encoder)
    first = teacher.encode(["rain on a roof", "dog"])
    with torch.no_grad():
        encoder.project.weight.add_(1.0)
    assert torch.equal(teacher.encode(["rain on a roof", "dog"]), first)
    assert teacher.vocabulary == encoder.vocabulary
    assert remembered(teacher, ["dog"], Path("nowhere"), None).shape == (1, 384)
    with pytest.raises(ConfigError, match="no sentence"):
        teacher.encode([])


def test_the_teacher_is_asked_once_for_every_sentence(teacher_folder: Path, tmp_path: Path) -> None:
    teacher, asked = Teacher(str(teacher_folder)), []
    encode = teacher.encode
    teacher.encode = lambda texts, *rest: (asked.extend(texts), encode(texts, *rest))[1]  # type: ignore[method-assign]
    first = remembered(teacher, ["rain", "a dog", "rain"], tmp_path, None)
    second = remembered(teacher, ["a cat", "a dog", "rain"], tmp_path, None)
    assert asked == ["rain", "a dog", "a cat"]
    assert torch.equal(first, encode(["rain", "a dog", "rain"]))
    assert torch.equal(second[1:], first[[1, 0]])


@pytest.mark.parametrize("name", ["text", "text_labels", "text_free"])
def test_the_starter_recipes_and_their_lists(name: str) -> None:
    recipe = read_recipe(ROOT / "recipes" / "starter" / f"{name}.yaml")
    assert build_config(SentenceEncoderConfig, recipe.model) == SentenceEncoderConfig.small()
    options = from_dict(DistillConfig, recipe.options)
    for path in (
        options.lexicon,
        *options.labels,
        *options.captions,
        *options.descriptions,
        *options.exclude,
        *options.wordings,
        *options.validation,
    ):
        assert (ROOT / path).is_file(), path
    assert set(read_lexicon(ROOT / options.lexicon)) == set(LEXICON)
