"""Teach a small sentence encoder the vectors of a large one (all-MiniLM-L6-v2), sentence by sentence.

The student never sees the teacher's layers. Its token vectors start from a principal component analysis of what the
teacher answers for every token alone; everything else starts random and learns from the teacher's vectors of some
hundred thousand sentences (`soundsieve.training.text_corpus`):

    cosine    1 - cos(student, teacher), averaged
    relation  KL divergence from the teacher's to the student's softmax over the cosines to a random bank of real
              descriptions: near the right ones, and ranked as the teacher ranks them
    label     cross-entropy of a description's label, by its cosines to the labels' centres in the teacher's space:
              what the teacher, which knows text and not sound, gets wrong ("squelch", "six-string") is put right

An encoder that other networks were trained on can learn more words without saying anything else of those it knows: it
is its own teacher then, and `wordings` are drawn to their labels' centres.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.encoders.text import SPECIAL_TOKENS, SentenceEncoder, SentenceEncoderConfig, build_tokenizer
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.systems.sieve import Sieve
from soundsieve.training.tasks.base import Batch
from soundsieve.training.teachers import Itself, Progress, Teacher, Teaches, remembered
from soundsieve.training.text_corpus import (
    descriptions,
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
from soundsieve.weights.checkpoint import load_system

_BLOCK = 8
"""Batches that are drawn together and then sorted by length, so that little is padding."""


@dataclass(frozen=True)
class DistillConfig:
    """What a sentence encoder learns from."""

    lexicon: str
    """CSV (kind, text): see `read_lexicon`."""
    teacher: str | None = None
    """A folder with the teacher, an installed package that has one in its folder ``model``, or a hub name; None for
    the encoder of ``init`` as it is."""
    labels: tuple[str, ...] = ()
    """Lists of sound names: CSV (column name or label), or text files of one name a line."""
    captions: tuple[str, ...] = ()
    """CSV (label, and caption or text): descriptions of labels."""
    descriptions: tuple[str, ...] = ()
    """CSV (description): running text about sounds."""
    wordings: tuple[str, ...] = ()
    """CSV (label, text): what else people call the labels; the label loss learns from these alone, where there are any,
    and each is drawn to its label's centre instead of to what the teacher says of it."""
    exclude: tuple[str, ...] = ()
    """CSV (text): sentences that must not be trained on."""
    validation: tuple[str, ...] = ()
    """CSV (label, text): wordings to judge by, beside the descriptions that are kept out."""
    sound_sentences: int = 260_000
    """Generated sentences about sounds."""
    word_sentences: int = 170_000
    """Generated phrases around the words of the vocabulary."""
    validation_share: float = 0.03
    """Of the labelled descriptions, kept out of training to judge by."""
    batch_size: int = 256
    """Sentences a step."""
    curated_share: float = 0.15
    """Of a batch: names, captions and descriptions, as against generated sentences."""
    bank: int = 1024
    """Curated sentences that a batch is compared with in the relation loss."""
    relation_weight: float = 0.2
    """Of the relation loss, beside the cosine loss."""
    labelled: int = 96
    """Labelled descriptions a step, in the label loss and, weighted 0.3, in the cosine loss."""
    label_weight: float = 0.1
    """Of the label loss; 0 follows the teacher alone."""
    temperature: float = 0.05
    """Of the softmax over cosines in the relation and label losses."""
    init: str | None = None
    """Weights of a sentence encoder, or of a Sieve that has one, to go on from in place of the closed-form start."""

    def __post_init__(self) -> None:
        if min(self.batch_size, self.bank, self.labelled) < 1 or min(self.sound_sentences, self.word_sentences) < 0:
            raise ConfigError("distill: batch_size, bank and labelled are at least 1, numbers of sentences at least 0")
        if not 0 <= self.curated_share < 1 or not 0 < self.validation_share < 1:
            raise ConfigError("distill: curated_share is at least 0, validation_share above 0, and both are below 1")
        if self.temperature <= 0 or min(self.relation_weight, self.label_weight) < 0:
            raise ConfigError("distill: temperature must be above 0 and weights at least 0")
        if self.teacher is None and self.init is None:
            raise ConfigError("distill: name a teacher, or the weights (init) of an encoder that teaches itself")


@dataclass(frozen=True)
class Labelled:
    """Descriptions and the labels they are of, with the vectors wanted of them, shape ``(N, width)``."""

    texts: Sequence[str]
    labels: Sequence[str]
    vectors: Tensor


class DistillTask:
    """A `Task` over a `SentenceEncoder`.

    Args:
        encoder: the student.
        sentences: what to learn from, the curated ones first.
        vectors: the teacher's unit vector of each, shape ``(len(sentences), width)``, any float type.
        curated: how many of ``sentences`` are curated.
        config: see `DistillConfig`.
        anchors: descriptions of every label: what stands for the label in validation, and, without wordings, what the
            label loss learns from.
        held_out: descriptions that training does not see.
        wordings: (text, label) to draw to the labels' centres; all labels must be among the anchors'.
        validation: (text, label) of wordings that training does not see.
        seed: of everything drawn.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        sentences: Sequence[str],
        vectors: Tensor,
        *,
        curated: int,
        config: DistillConfig,
        anchors: Labelled,
        held_out: Labelled,
        wordings: Sequence[tuple[str, str]] = (),
        validation: Sequence[tuple[str, str]] = (),
        seed: int = 0,
    ) -> None:
        if not 0 < curated <= len(sentences) == len(vectors):
            raise ConfigError(f"distill: {len(sentences)} sentences, {curated} curated, and {len(vectors)} vectors")
        self.module: nn.Module = encoder
        self.config, self.seed = config, seed
        self.anchors, self.held_out, self.validation = anchors, held_out, list(validation)
        self._ids, self._lengths = _token_table(encoder, sentences)
        fits = np.flatnonzero(self._lengths <= encoder.config.max_tokens)
        self._all, self._curated = fits, fits[fits < curated]
        self._vectors = vectors
        self.labelled = anchors
        self._centres, self._label_rows = label_centres(anchors.vectors.float(), anchors.labels)
        if wordings:
            self.labelled, self._centres, self._label_rows = _at_centres(wordings, anchors, self._centres)
        self._labelled_ids, self._labelled_lengths = _token_table(encoder, self.labelled.texts)

    def batch(self, step: int) -> Batch:
        """Tokens ``(B, L)`` and their teacher's vectors, the bank of the step, and labelled descriptions likewise."""
        config = self.config
        n_curated = round(config.batch_size * config.curated_share)
        rng = np.random.default_rng((self.seed, step // _BLOCK))
        slot = rng.permutation(_BLOCK)[step % _BLOCK]
        picked = []
        for pool, n in ((self._all, config.batch_size - n_curated), (self._curated, n_curated)):
            block = rng.choice(pool, n * _BLOCK, replace=n * _BLOCK > len(pool))
            block = block[np.argsort(self._lengths[block], kind="stable")]
            picked.append(block[slot * n : (slot + 1) * n])
        rows = torch.from_numpy(np.concatenate(picked))
        own = np.random.default_rng((self.seed, step, 1))
        bank = torch.from_numpy(own.choice(self._curated, config.bank))
        labelled = torch.from_numpy(own.integers(0, len(self._labelled_lengths), config.labelled))
        return {
            "input_ids": self._ids[rows, : int(self._lengths[rows.numpy()].max())].long(),
            "teacher": self._vectors[rows].float(),
            "bank": self._vectors[bank].float(),
            "labelled_ids": self._labelled_ids[labelled, : int(self._labelled_lengths[labelled.numpy()].max())].long(),
            "labelled_teacher": self.labelled.vectors[labelled].float(),
            "label": self._label_rows[labelled],
        }

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """``cosine``, ``relation`` and ``label``, and their weighted sum."""
        config, teacher, bank = self.config, batch["teacher"], batch["bank"]
        student = module(batch["input_ids"], (batch["input_ids"] != 0).long())
        cosine = 1 - (student * teacher).sum(1).mean()
        wanted = (teacher @ bank.T / config.temperature).softmax(1)
        found = (student @ bank.T / config.temperature).log_softmax(1)
        relation = F.kl_div(found, wanted, reduction="batchmean")
        loss = cosine + config.relation_weight * relation
        parts = {"cosine": cosine, "relation": relation}
        if config.label_weight:
            described = module(batch["labelled_ids"], (batch["labelled_ids"] != 0).long())
            centres = self._centres.to(described.device)
            parts["label"] = F.cross_entropy(described @ centres.T / config.temperature, batch["label"])
            loss = loss + config.label_weight * parts["label"]
            loss = loss + 0.3 * (1 - (described * batch["labelled_teacher"]).sum(1).mean())
        return {"loss": loss, **parts}

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Of held-out descriptions: cosine to the teacher, and how many find their label with student and teacher; of
        the wordings to judge by: how many find theirs."""
        assert isinstance(module, SentenceEncoder)
        held_out, anchors = encode(module, self.held_out.texts), encode(module, self.anchors.texts)
        cosine = (held_out * F.normalize(self.held_out.vectors.float(), dim=1)).sum(1).mean().item()
        found = label_retrieval(held_out, self.held_out.labels, anchors, self.anchors.labels)
        teacher = label_retrieval(
            self.held_out.vectors.float(), self.held_out.labels, self.anchors.vectors.float(), self.anchors.labels
        )
        scores = {"cosine": cosine, "retrieval": found}
        if self.validation:
            wordings = encode(module, [text for text, _ in self.validation])
            labels = [label for _, label in self.validation]
            scores["wordings"] = label_retrieval(wordings, labels, anchors, self.anchors.labels)
        return {"score": sum(scores.values()), **scores, "teacher_retrieval": teacher}

    def save(self, path: Path, module: nn.Module) -> None:
        """A file for `SentenceEncoder.load`."""
        assert isinstance(module, SentenceEncoder)
        module.save(path)


def encode(encoder: SentenceEncoder, texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """Unit vectors ``(N, width)`` of any number of texts, on the CPU."""
    return torch.cat([encoder.encode(texts[i : i + batch_size]).cpu() for i in range(0, len(texts), batch_size)])


def label_retrieval(
    queries: Tensor, query_labels: Sequence[str], anchors: Tensor, anchor_labels: Sequence[str]
) -> float:
    """Share of queries whose nearest label is their own; a label stands at the mean of its anchors.

    Args:
        queries: unit vectors, shape ``(N, D)``.
        query_labels: the label of each; all must be among the anchors'.
        anchors: unit vectors, shape ``(M, D)``.
        anchor_labels: the label of each.

    Raises:
        ConfigError: a query's label has no anchor.
    """
    labels = {label: row for row, label in enumerate(dict.fromkeys(anchor_labels))}
    missing = sorted(set(query_labels) - set(labels))
    if missing:
        raise ConfigError(f"no description stands for the label '{missing[0]}'")
    nearest = (queries @ label_centres(anchors, anchor_labels)[0].T).argmax(1)
    return (nearest == torch.tensor([labels[label] for label in query_labels])).float().mean().item()


def label_centres(anchors: Tensor, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The mean direction of each label's anchors, labels in order of appearance, and each anchor's row in it.

    Args:
        anchors: unit vectors, shape ``(M, D)``.
        labels: the label of each.

    Returns:
        Unit vectors ``(number of labels, D)``, and indices ``(M,)``.
    """
    order = {label: row for row, label in enumerate(dict.fromkeys(labels))}
    rows = torch.tensor([order[label] for label in labels])
    sums = torch.zeros(len(order), anchors.shape[1]).index_add_(0, rows, anchors)
    return F.normalize(sums, dim=1), rows


def start_from_tokens(encoder: SentenceEncoder, vectors: Tensor, *, seed: int = 0) -> None:
    """Start token vectors and projection so that the mean over tokens already points where the teacher's words point.

    With the token vectors' principal axes P (``hidden`` of them, turned by a random rotation R so that all channels
    carry alike), token t starts as s R P (v_t - mean) and the projection as its inverse, (R P)^T / s' and the mean;
    s' accounts for the layer norm that follows. Padding starts as zero.

    Args:
        encoder: changed in place.
        vectors: the teacher's vector of each token alone, special tokens left out, shape ``(vocab_size - 4, width)``.
        seed: of the rotation.
    """
    hidden = encoder.config.hidden
    mean = vectors.mean(0)
    axes = torch.linalg.svd(vectors - mean, full_matrices=False)[2][:hidden]
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(len(axes), len(axes), generator=generator))[0]
    axes = rotation @ axes
    tokens = (vectors - mean) @ axes.T
    spread = tokens.std()
    table, special = encoder.tower.words.weight, len(SPECIAL_TOKENS)
    with torch.no_grad():
        table.zero_()
        table[1:special].normal_(std=0.05, generator=generator)
        table[special:, : len(axes)] = tokens * (0.25 / spread)
        encoder.project.weight.zero_()
        encoder.project.weight[:, : len(axes)] = axes.T * spread
        encoder.project.bias.copy_(mean)


def make_task(
    model: SentenceEncoderConfig,
    config: DistillConfig,
    *,
    seed: int,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> DistillTask:
    """Read the lists, make the sentences, ask the teacher (once: ``cache`` keeps the answers) and start a student.

    The student's vocabulary is the plain part of the teacher's; ``model.vocab_size`` is set to its size. Typing errors
    are put right by the words of the lists.

    Raises:
        ConfigError: a list cannot be read.
        WeightsError: there is no such teacher.
    """
    teacher, encoder = _teacher_and_student(model, config, seed)
    plain = plain_vocabulary(teacher.vocabulary)
    forbidden = [text for path in config.exclude for text in read_column(path, "text")]
    anchors, held_out = _labelled(config, forbidden, seed)
    judges, wordings = _pairs(config.validation), _pairs(config.wordings)
    keep_out = {normalise(text) for text in [*forbidden, *(text for text, _ in [*held_out, *judges])]}
    wordings = [(text, label) for text, label in wordings if normalise(text) not in keep_out]
    keep_out |= {normalise(text) for text, _ in wordings}

    names = label_names(name for path in config.labels for name in _names(path))
    running = descriptions(text for path in config.descriptions for text in read_column(path, "description"))
    lexicon = read_lexicon(config.lexicon)
    said = [text for text, _ in anchors]
    listed = [text for kind in ("source", "sound", "verb") for text in lexicon[kind]]
    curated = [t for t in dict.fromkeys([*said, *names, *running, *listed]) if normalise(t) not in keep_out]
    sources = [t for t in dict.fromkeys([*names, *said]) if normalise(t) not in keep_out]
    made = sound_sentences(sources, lexicon, count=config.sound_sentences, seed=seed, exclude=keep_out)
    made += word_sentences(whole_words(plain), lexicon, count=config.word_sentences, seed=seed, exclude=keep_out)
    curated = _readable(encoder, curated)
    sentences = list(dict.fromkeys([*curated, *_readable(encoder, made)]))

    read = [*said, *names, *(text for texts in lexicon.values() for text in texts), *(text for text, _ in wordings)]
    encoder.spell_by("\n".join(usual_words(read)))

    texts = [*sentences, *said, *(text for text, _ in held_out)]
    vectors = remembered(teacher, texts, cache, progress)
    ends = [len(sentences), len(sentences) + len(anchors)]
    return DistillTask(
        encoder, sentences, vectors[: ends[0]], curated=len(curated), config=config, seed=seed,
        anchors=Labelled(said, [label for _, label in anchors], vectors[ends[0] : ends[1]]),
        held_out=Labelled([t for t, _ in held_out], [label for _, label in held_out], vectors[ends[1] :]),
        wordings=wordings, validation=judges,
    )  # fmt: skip


def _tower(path: str) -> SentenceEncoder:
    """The encoder in a file of its own, or in a Sieve's."""
    try:
        encoder = SentenceEncoder.load(path)
    except WeightsError as error:
        try:
            system = load_system(path)
        except WeightsError:
            raise error from None
        if not isinstance(system, Sieve):
            raise ConfigError(f"{path} holds a {system.name}, which has no sentence encoder") from None
        encoder = system.text
    return encoder.train()


def _teacher_and_student(
    model: SentenceEncoderConfig, config: DistillConfig, seed: int
) -> tuple[Teaches, SentenceEncoder]:
    start = _tower(config.init) if config.init else None
    if config.teacher is None:
        assert start is not None
        return Itself(start), start
    teacher = Teacher(config.teacher)
    if start is not None:
        return teacher, start
    plain = plain_vocabulary(teacher.vocabulary)
    torch.manual_seed(seed)
    sizes = replace(model, vocab_size=len(SPECIAL_TOKENS) + len(plain))
    encoder = SentenceEncoder(sizes, tokenizer_json=build_tokenizer(plain))
    start_from_tokens(encoder, teacher.tokens_alone(plain), seed=seed)
    return teacher, encoder


def _at_centres(
    wordings: Sequence[tuple[str, str]], anchors: Labelled, centres: Tensor
) -> tuple[Labelled, Tensor, Tensor]:
    """Wordings with their labels' centres as vectors, the centres of these labels, and each wording's row in them.

    Labels that no wording has ("airplane" beside "jet aircraft") take no part in the choice.
    """
    row = {label: i for i, label in enumerate(dict.fromkeys(anchors.labels))}
    labels = list(dict.fromkeys(label for _, label in wordings))
    missing = [label for label in labels if label not in row]
    if missing:
        raise ConfigError(f"no description stands for the label '{missing[0]}' of the wordings")
    centres = centres[torch.tensor([row[label] for label in labels])]
    rows = torch.tensor([labels.index(label) for _, label in wordings])
    return Labelled([text for text, _ in wordings], [label for _, label in wordings], centres[rows]), centres, rows


def _labelled(
    config: DistillConfig, forbidden: Sequence[str], seed: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(text, label) of all captions, split into those to train on and those to judge by, of labels that keep some."""
    never = {normalise(text) for text in forbidden}
    pairs = [pair for pair in _pairs(config.captions) if normalise(pair[0]) not in never]
    chosen = np.random.default_rng((seed, 2)).permutation(len(pairs))[: round(config.validation_share * len(pairs))]
    judged = {int(i) for i in chosen}
    train = [pair for i, pair in enumerate(pairs) if i not in judged]
    known = {label for _, label in train}
    return train, [pairs[i] for i in sorted(judged) if pairs[i][1] in known]


def _pairs(paths: Sequence[str]) -> list[tuple[str, str]]:
    """(text, label) of every row of CSV files with the columns label and text (or caption); the first of a text counts.

    Raises:
        ConfigError: a file cannot be read, or a row lacks one of them.
    """
    rows: dict[str, str] = {}
    for path in paths:
        with _open(path) as file:
            for row in csv.DictReader(file):
                text, label = row.get("text") or row.get("caption"), row.get("label")
                if not text or not label:
                    raise ConfigError(f"{path} needs the columns label and text (or caption) in every row")
                rows.setdefault(text, label)
    return list(rows.items())


def _names(path: str) -> list[str]:
    if not path.endswith(".csv"):
        with _open(path) as file:
            return [line.strip() for line in file if line.strip()]
    with _open(path) as file:
        header = next(csv.reader(file), [])
    return read_column(path, "name" if "name" in header else "label")


def _open(path: str) -> TextIO:
    try:
        return Path(path).open(newline="", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _readable(encoder: SentenceEncoder, texts: Sequence[str]) -> list[str]:
    """The texts that are not too long for it."""
    lengths = _token_table(encoder, texts)[1]
    return [text for text, length in zip(texts, lengths, strict=True) if length <= encoder.config.max_tokens]


def _token_table(
    encoder: SentenceEncoder, sentences: Sequence[str]
) -> tuple[Tensor, np.ndarray[Any, np.dtype[np.int64]]]:
    """Token ids, zero-padded, int32 ``(N, max_tokens)``, and the number of tokens of each; too long ones stay zero."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(encoder.assets()["tokenizer.json"])
    table = torch.zeros(len(sentences), encoder.config.max_tokens, dtype=torch.int32)
    lengths = np.zeros(len(sentences), np.int64)
    for row, encoding in enumerate(tokenizer.encode_batch(list(sentences))):
        ids = encoding.ids
        lengths[row] = len(ids)
        if len(ids) <= encoder.config.max_tokens:
            table[row, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
    return table, lengths
