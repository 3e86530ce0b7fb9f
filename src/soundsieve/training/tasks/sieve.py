"""Train a Sieve on sums of band energies.

For each mixture both of its first two sounds are asked for, and one that is not in it. The loss adds up

    snr       -SNR / 4 in dB, from energies: sum(S) / sum((1 - m)^2 S + m^2 N), m the mask, S the target, N the rest
    cell      cross-entropy of a cell's key against one sentence of every label; soft targets are the shares that the
              sources hold of the cell's energy; cells weighted by energy^0.35
    frame     the same for the 80 ms frames, and for the whole clip ("clip")
    example   the vector of a lone clip against the text vectors of all labels, by cosine and cross-entropy, so that
              an example clip can stand in for words
    presence  binary cross-entropy of "is it there?"; its gradient reaches the presence output alone
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.encoders.text import SentenceEncoder
from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import make_pairs
from soundsieve.evaluation.questions import plan
from soundsieve.evaluation.run import evaluate, of_condition, selectivity
from soundsieve.metrics import roc_auc
from soundsieve.systems.sieve import Scene, Sieve, SieveConfig
from soundsieve.systems.sieve.naming import Named
from soundsieve.training.energies import EnergyBank, EnergyConfig, snr_db
from soundsieve.training.sampling import ClipSampler
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.checkpoint import StoredAs, load_system, save_system

NEAR = (0.4, 0.75)
"""Cosines between the anchors of labels that are much alike, and still not the same sound in other words."""
STRANGE = 0.6
"""A sound whose description is nearer to a label than this may be in the clips after all."""
SOFTER_DB = (3.0, 15.0)
"""How far a background lies under the other sources' mean level."""
QUERIES = 3
"""Of each mixture: its first sound, its second, and one that is not there."""

WEIGHTS = {"snr": 1.0, "cell": 0.5, "frame": 0.15, "clip": 0.3, "example": 0.3, "presence": 0.5}
"""Of the parts of the loss."""


@dataclass(frozen=True)
class SieveTaskConfig:
    """What a Sieve is trained on and for."""

    batch_size: int = 32
    """Mixtures a step."""
    examples: int = 10
    """Lone clips a step, used as example queries."""
    exclusion: float = 0.5
    """Share of queries that also name the other sound to suppress."""
    exclusion_only: float = 0.15
    """Share of queries, in mixtures of two, that name nothing but the other sound."""
    example_query: float = 0.35
    """Share of queries (where an example is at hand) asked by the example instead of by words."""
    blended_query: float = 0.16
    """Share of queries asked by both, a ~ U(0, 1)."""
    text_noise: float = 0.15
    """Length of the random vector added to half of the (unit) text vectors."""
    recalled: float = 0.0
    """Share of the texts that are drawn towards the anchors, as `Sieve.embed_texts` does."""
    second_look: float = 0.0
    """Share of the queries that are asked a second time, as `Sieve.read` does; above 0 turns ``contrast`` on."""
    heard: float = 0.0
    """`SieveConfig.heard` of what is made; the sounds are listened to whenever it is judged."""
    known: float = 0.0
    """`SieveConfig.known` of what is made."""
    recall_clips: float = 0.0
    """`SieveConfig.recall_clips` of what is made."""
    hard: float = 0.0
    """Share of mixtures whose second sound, and of queries in vain whose sound, is described much like the first."""
    strange: tuple[str, ...] = ()
    """Text files, one description a line, of sounds that are mostly in no clip; asked for in vain."""
    strange_query: float = 0.3
    """Share of the queries in vain, in words, that are for one of these."""
    background: float = 0.0
    """Share of mixtures that have one more source beneath, 3 to 15 dB softer than the mean of the others, which is not
    asked for."""
    backgrounds: tuple[str, ...] = ()
    """Labels of the clips that such a source may be of."""
    interferers: tuple[str, ...] = ()
    """Labels of further clips for it, which are never asked for at all."""
    cells: int = 500
    """Random cells a mixture in the cell loss."""
    weights: dict[str, float] = field(default_factory=dict)
    """Of the parts of the loss, where they differ from `WEIGHTS`."""
    validation_pairs: int = 100
    """Mixtures of the validation split that a checkpoint is judged by."""
    missed: float = 0.05
    """Share of the sounds that are there which may be reported as missing; sets the presence threshold."""
    gate_db: float = 20.0
    """How far, at most, the answer for a missing sound is turned down."""
    mixtures: EnergyConfig = field(default_factory=EnergyConfig)
    """How mixtures are made."""
    sentences: tuple[str, ...] = ()
    """CSV files (label, and caption or text) with sentences for the labels."""
    text_tower: str | None = None
    """Weights of the trained text tower (a file of the text recipe); None for an untrained one."""
    init: str | None = None
    """Weights of a Sieve to go on from; its text tower is kept unless ``text_tower`` names another."""
    start_share: float = 0.0
    """Share of ``init`` in the weights that are judged and saved: an average of both (Wortsman et al., 2022,
    arXiv 2109.01903), which keeps more of what the first run knew."""

    def __post_init__(self) -> None:
        unknown = sorted(self.weights.keys() - WEIGHTS.keys())
        if unknown:
            raise ConfigError(f"weights: no part of the loss is '{unknown[0]}'; there are {', '.join(WEIGHTS)}")
        for name in ("recalled", "second_look", "heard", "hard", "strange_query", "start_share", "background"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share, between 0 and 1; got {getattr(self, name)}")
        if self.background and not (self.backgrounds or self.interferers):
            raise ConfigError("background needs the labels of backgrounds or interferers")


class SieveTask:
    """A `Task` over a Sieve.

    Args:
        model: the Sieve's shape.
        config: see `SieveTaskConfig`.
        train: decoded clips to train on.
        validation: decoded clips to judge by.
        seed: of everything drawn.
    """

    def __init__(
        self, model: SieveConfig, config: SieveTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        self.config, self.seed, self.validation = config, seed, validation
        self.sampler = ClipSampler(
            train.clips,
            config.sentences,
            label_power=config.mixtures.label_power,
            backgrounds=config.backgrounds,
            interferers=config.interferers,
        )
        shape = replace(model, anchors=len(self.sampler.labels), contrast=config.second_look > 0)
        shape = replace(shape, known=config.known, recall_clips=config.recall_clips, heard=config.heard)
        self.module: nn.Module = self._build(shape)
        assert isinstance(self.module, Sieve)
        self._start = copy.deepcopy(self.module.state_dict()) if config.start_share else {}
        self.bank = EnergyBank(train, self.module, config.mixtures)

        needed = config.mixtures.most_sources + (config.background > 0) + 1
        asked = len(self.sampler.labels) - len(self.sampler.unasked)
        if asked < needed:
            raise ConfigError(f"training needs {needed} labels, one of them absent; the clips have {asked}")
        texts = self.sampler.texts
        self.vectors = torch.cat([self.module.text.encode(texts[i : i + 256]) for i in range(0, len(texts), 256)])
        for label in range(len(self.sampler.labels)):
            own = self.vectors[self.sampler.sentences(label)]
            self.module.anchors[label] = F.normalize(own.mean(0), dim=0)
        anchors = self.module.anchors
        alike = anchors @ anchors.T
        near = (alike > NEAR[0]) & (alike < NEAR[1])
        near[:, list(self.sampler.unasked)] = False
        self._near = [row.nonzero()[:, 0].tolist() for row in near]
        strange = self._read_strange()
        self.strange = np.arange(len(self.vectors), len(self.vectors) + len(strange))
        self.vectors = torch.cat([self.vectors, strange])
        self._pairs = make_pairs(validation.clips, validation.sounds, n=config.validation_pairs, seed=seed)

    def _build(self, model: SieveConfig) -> Sieve:
        start = load_system(self.config.init) if self.config.init else None
        if start is not None and not isinstance(start, Sieve):
            raise ConfigError(f"{self.config.init} holds a {start.name}, not a sieve")
        tower = start.text if start is not None else None
        if self.config.text_tower:
            tower = SentenceEncoder.load(self.config.text_tower)
        if tower is not None:
            model = replace(model, text=tower.config)
        torch.manual_seed(self.seed)
        sieve = Sieve(model, assets=tower.assets() if tower is not None else None)
        if tower is not None:
            sieve.text.load_state_dict(tower.state_dict())
        if start is not None:
            try:
                sieve.analysis.load_state_dict(start.analysis.state_dict())
                sieve.reader.load_state_dict(start.reader.state_dict())
            except RuntimeError as error:
                raise ConfigError(f"{self.config.init} has another shape than the recipe's model") from error
        sieve.text.requires_grad_(False)
        return sieve.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _read_strange(self) -> Tensor:
        """Vectors of the descriptions in `SieveTaskConfig.strange` that are far enough from every label."""
        assert isinstance(self.module, Sieve)
        anchors = self.module.anchors
        try:
            texts = [Path(path).read_text("utf-8") for path in self.config.strange]
        except OSError as error:
            raise ConfigError(f"cannot read the descriptions of {error.filename}: {error.strerror}") from error
        lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
        if not lines:
            return anchors[:0]
        vectors = self.module.text.encode(lines)
        return vectors[(vectors @ anchors.T).amax(1) < STRANGE]

    def batch(self, step: int) -> Batch:
        """Mixtures, their sources, lone example clips, and what is asked."""
        config, sampler, rng = self.config, self.sampler, np.random.default_rng([self.seed, step])
        size, frames, bands = config.batch_size, self.bank.frames, self.bank.bands
        energies = np.empty((size + config.examples, frames, bands), np.float32)
        most = config.mixtures.most_sources + (config.background > 0)
        sources = np.zeros((size, most, frames, bands), np.float32)
        labels = np.full((size, most), -1)
        clips = np.full((size, most), -1)
        for b in range(size):
            count = config.mixtures.draw_count(rng)
            chosen = self._draw_labels(count, rng)
            softer_db = {}
            if config.background and rng.random() < config.background:
                beneath = sampler.draw_background(chosen.tolist(), rng)
                if beneath is not None:
                    softer_db[count] = float(rng.uniform(*SOFTER_DB))
                    chosen, count = np.append(chosen, beneath), count + 1
            clips[b, :count] = [sampler.draw_clip(label, rng) for label in chosen]
            labels[b, :count] = chosen
            twinned = np.flatnonzero(rng.random(count) < config.mixtures.twins)
            twins = {int(i): sampler.draw_clip(int(chosen[i]), rng) for i in twinned}
            energies[b], sources[b, :count] = self.bank.mixture(
                clips[b, :count].tolist(), rng, twins=twins, softer_db=softer_db
            )
        # Lone clips: examples for one of the two asked sounds of some of the mixtures.
        asked = rng.permutation(size)[: config.examples]
        sides = rng.integers(0, 2, config.examples)
        example_labels = np.empty(config.examples, int)
        example_of = np.full((size, 2), -1)
        for e in range(config.examples):
            b, side = int(asked[e % size]), int(sides[e])
            lone = sampler.draw_example(int(clips[b, side]), rng)
            energies[size + e], _ = self.bank.mixture([lone], rng)
            example_labels[e], example_of[b, side] = sampler.label[lone], e

        text = np.zeros((size, QUERIES, 2, 2), int)  # two sentences a side, averaged
        text_weight = np.zeros((size, QUERIES, 2), np.float32)
        example = np.zeros((size, QUERIES, 2), int)
        example_weight = np.zeros((size, QUERIES, 2), np.float32)

        def ask(b: int, query: int, side: int, label: int, clip: int) -> None:
            text[b, query, side] = sampler.draw_sentence(label, rng)
            if rng.random() < 0.3:
                text[b, query, side, 1] = sampler.draw_sentence(label, rng)
            draw, a = rng.random(), 0.0
            if clip >= 0 and draw < config.example_query:
                a = 1.0
            elif clip >= 0 and draw < config.example_query + config.blended_query:
                a = rng.random()
            text_weight[b, query, side], example[b, query, side], example_weight[b, query, side] = 1 - a, clip, a

        for b in range(size):
            for query in (0, 1):
                other = 1 - query
                alone = labels[b, 2] < 0 and rng.random() < config.exclusion_only
                if not alone:
                    ask(b, query, 0, labels[b, query], example_of[b, query])
                if alone or rng.random() < config.exclusion:
                    ask(b, query, 1, labels[b, other], example_of[b, other])
            absent = self._draw_absent(labels[b], rng)
            foreign = int(rng.integers(config.examples)) if config.examples and rng.random() < 0.5 else -1
            if foreign >= 0:
                absent = int(example_labels[foreign])
            while absent in labels[b]:
                absent, foreign = int(sampler.draw_labels(1, rng)[0]), -1
            ask(b, 2, 0, absent, foreign)
            if foreign < 0 and len(self.strange) and rng.random() < config.strange_query:
                text[b, 2, 0] = rng.choice(self.strange)
            if rng.random() < 0.3:
                ask(b, 2, 1, labels[b, 0], -1)
        classes = np.array([sampler.draw_sentence(label, rng) for label in range(len(sampler.labels))])
        batch = {
            "energies": energies.transpose(0, 2, 1), "sources": sources.transpose(0, 1, 3, 2), "labels": labels,
            "example_labels": example_labels, "text": text, "text_weight": text_weight, "example": example,
            "example_weight": example_weight, "classes": classes,
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()}

    def _draw_labels(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Different labels; in ``hard`` of the mixtures the second one is said in words much like the first one's."""
        labels = self.sampler.draw_labels(count, rng)
        if rng.random() < self.config.hard:
            near = [label for label in self._near[labels[0]] if label not in labels]
            if near:
                labels[1] = rng.choice(near)
        return labels

    def _draw_absent(self, present: np.ndarray, rng: np.random.Generator) -> int:
        """A label for the query in vain; in ``hard`` of them one that is said much like a sound that is there."""
        near = self._near[present[rng.integers(2)]]
        if near and rng.random() < self.config.hard:
            return int(rng.choice(near))
        return int(self.sampler.draw_labels(1, rng)[0])

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The parts described in this module, and their weighted sum as ``loss``."""
        assert isinstance(module, Sieve)
        size = len(batch["sources"])
        self.vectors = self.vectors.to(batch["energies"].device)
        scene = module.analysis(batch["energies"])
        positive, negative = self._conditions(batch, scene.clip_vector[size:]).unbind(2)
        mixtures = Scene(*(getattr(scene, name)[:size] for name in scene.__dataclass_fields__))
        named = module.in_words(mixtures)
        positive, negative = self._second_look(module, mixtures, named, positive, negative)
        logits, features = module.reader(mixtures, positive, negative)
        presence = module.reader.doubt(named, logits, positive, features, module.config.recall_temperature)
        parts = {"snr": self._snr(logits, batch)}
        parts |= self._matching(module, scene, batch)
        present = torch.zeros_like(presence)
        present[:, :2] = 1.0
        words = positive.abs().amax(2) > 0  # "everything but x" cannot be absent
        each = F.binary_cross_entropy_with_logits(presence, present, reduction="none")
        each = each * words * presence.new_tensor([0.5, 0.5, 1.0])
        parts["presence"] = each.sum() / words.sum().clamp_min(1)
        weights = WEIGHTS | self.config.weights
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return {"loss": loss, **parts}

    @torch.no_grad()
    def _second_look(
        self, module: Sieve, scene: Scene, named: Named, positive: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        """For a share of the queries, the sides that `Sieve.read` asks its second question with."""
        if not self.config.second_look:
            return positive, negative
        mask = torch.sigmoid(module.reader(scene, positive, negative)[0])
        seen = named.contrasted(mask, positive, negative)
        share = torch.rand_like(positive[..., :1]) < self.config.second_look
        return torch.where(share, seen[0], positive), torch.where(share, seen[1], negative)

    def _conditions(self, batch: Batch, clip_vectors: Tensor) -> Tensor:
        """What is asked as vectors, shape ``(B, Q, 2, D)``: words, example clips, or both; zeros where nothing."""
        text = F.normalize(self.vectors[batch["text"]].sum(3), dim=3)
        recalled = torch.rand_like(text[..., :1]) < self.config.recalled
        text = torch.where(recalled, self._recall(text), text)
        noise = F.normalize(torch.randn_like(text), dim=3) * torch.rand_like(text[..., :1]).round()
        text = F.normalize(text + self.config.text_noise * noise, dim=3)
        vectors = text * batch["text_weight"][..., None]
        if len(clip_vectors):
            index = batch["example"].clamp_min(0)
            vectors = vectors + clip_vectors[index] * batch["example_weight"][..., None]
        asked = (batch["text_weight"] + batch["example_weight"] > 0)[..., None]
        return F.normalize(vectors, dim=3) * asked

    def _recall(self, vectors: Tensor) -> Tensor:
        module = self.module
        assert isinstance(module, Sieve)
        with torch.autocast(vectors.device.type, enabled=False):
            return module.recalled(vectors.float(), module.config.recall)

    @torch.no_grad()
    def remember(self, module: Sieve) -> None:
        """Set `Sieve.sounds`: what each label's clips are, heard alone, on average; the first seconds of each count."""
        longest = round(module.segment_s * module.sample_rate / module.config.hop_length)
        was_training, plain, found = module.training, self.bank.plain, []
        module.eval()
        for clip in range(len(plain)):
            logs = plain[clip][:longest].astype(np.float32)
            energies = torch.from_numpy(10.0**logs.T)[None]
            energies = F.pad(energies, (0, -energies.shape[2] % 4)).to(module.bands.device)
            found.append(F.normalize(module.analysis(energies).clip_vector, dim=1))
        module.train(was_training)
        vectors, label = torch.cat(found), torch.from_numpy(self.sampler.label).to(module.sounds.device)
        for i in range(len(self.sampler.labels)):
            module.sounds[i] = F.normalize(vectors[label == i].mean(0), dim=0)

    def _snr(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch["sources"][:, :2]
        rest = batch["energies"][: len(target), None] - target
        return -snr_db(torch.sigmoid(logits[:, :2]), target, rest).mean() / 4

    def _matching(self, module: Sieve, scene: Scene, batch: Batch) -> dict[str, Tensor]:
        """Cells, frames and clips against one sentence of every label."""
        size, scale = len(batch["sources"]), module.reader.log_scale.exp()
        vectors = self.vectors[batch["classes"]]
        keys = module.reader.key(vectors)
        lone = batch["energies"][size:, None]
        most = batch["labels"].shape[1]
        sources = torch.cat([batch["sources"], F.pad(lone, (0, 0, 0, 0, 0, most - 1))])
        labels = torch.cat([batch["labels"], F.pad(batch["example_labels"][:, None], (0, most - 1), value=-1)])
        column = labels.clamp_min(0)

        cells = F.avg_pool2d(sources, 2).flatten(2)  # (B, S, M)
        picked = torch.randint(cells.shape[2], (len(cells), self.config.cells), device=cells.device)
        cells = cells.gather(2, picked[:, None].expand(-1, most, -1))
        cell_keys = scene.cell_keys.flatten(2).gather(2, picked[:, None].expand(-1, scene.cell_keys.shape[1], -1))
        frames = F.avg_pool2d(sources.sum(2), (1, 4))
        parts = {
            "cell": _soft_cross_entropy(scale[0] * keys @ cell_keys, column, cells),
            "frame": _soft_cross_entropy(scale[1] * keys @ scene.frame_keys, column, frames),
            "clip": _soft_cross_entropy(
                scale[2] * keys @ scene.clip_key[..., None], column, frames.sum(2, keepdim=True)
            ),
        }
        if len(lone):
            cosine = scene.clip_vector[size:] @ vectors.T
            right = batch["example_labels"]
            near = cosine.gather(1, right[:, None]).mean()
            parts["example"] = F.cross_entropy(15.0 * cosine, right) + 1 - near
        return parts

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """SDR improvement by text and by text with exclusion, selectivity and presence, on validation mixtures.

        Also calibrates the presence: the share ``missed`` of the sounds that are there lies below the threshold.
        """
        assert isinstance(module, Sieve)
        trained, module = module, self._shipped(module)
        if self.config.heard:
            self.remember(module)
            trained.sounds.copy_(module.sounds)
        module.config = replace(module.config, gate_db=0.0)
        by_path = {clip.path: clip for clip in self.validation.clips}
        questions = plan(self._pairs, by_path, conditions=("text", "text+exclude", "absent"))
        rows = list(evaluate(module, self._pairs, questions, self.validation.sounds, batch_size=16))
        text, both, absent = (of_condition(rows, name) for name in ("text", "text+exclude", "absent"))
        told_apart = selectivity(rows)
        there, not_there = (torch.tensor([row["presence"] for row in part]) for part in (text, absent))
        threshold = float(there.quantile(self.config.missed).clamp(0.01, 0.5))
        trained.config = replace(module.config, gate_db=self.config.gate_db, presence_threshold=threshold)
        scores = {
            "sdri_text": float(np.mean([row["sdri"] for row in text])),
            "sdri_both": float(np.mean([row["sdri"] for row in both])),
            "selectivity": float(np.mean(list(told_apart.values()))),
            "absent_db": float(np.median([row["energy_db"] for row in absent])),
            "presence_auc": roc_auc(
                torch.cat([there, not_there]), torch.cat([torch.ones_like(there), torch.zeros_like(not_there)]).bool()
            ),
        }
        # One number: what text alone gains, what exclusion adds, and never answering with the wrong sound.
        scores["score"] = 0.5 * (scores["sdri_text"] + scores["sdri_both"]) + 5.0 * scores["selectivity"]
        return scores

    def save(self, path: Path, module: nn.Module) -> None:
        """The embedded form: the text tower and the analysis in int8, the rest in float16."""
        assert isinstance(module, Sieve)
        dtypes: dict[str, StoredAs] = {"": "float16", "text.": "int8", "analysis.": "int8"}
        save_system(path, self._shipped(module), dtypes=dtypes)

    @torch.no_grad()
    def _shipped(self, module: Sieve) -> Sieve:
        """What is judged and saved: the module, or its average with what it began as."""
        if not self._start:
            return module
        shipped = copy.deepcopy(module)
        for name, value in shipped.state_dict().items():
            if value.is_floating_point() and name not in ("anchors", "sounds"):  # these are made, not trained
                value.lerp_(self._start[name].to(value.device), self.config.start_share)
        return shipped


def _soft_cross_entropy(logits: Tensor, column: Tensor, energy: Tensor) -> Tensor:
    """Cross-entropy with soft targets.

    Args:
        logits: of every label in every place, shape ``(B, L, M)``.
        column: label of each source, shape ``(B, S)``.
        energy: of each source in each place, shape ``(B, S, M)``; its shares are the targets, and its sum to the power
            of 0.35 the weight of the place.
    """
    total = energy.sum(1)
    share = energy / total.clamp_min(1e-12)[:, None]
    log_p = logits.float().log_softmax(1).gather(1, column[..., None].expand(-1, -1, logits.shape[2]))
    weight = total.pow(0.35)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
    return -((share * log_p).sum(1) * weight).sum(1).mean()
