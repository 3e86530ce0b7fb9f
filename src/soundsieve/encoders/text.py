"""A small English sentence encoder: a description of a sound -> a unit vector of all-MiniLM-L6-v2's space.

WordPiece tokens pass a few transformer layers (RoBERTa's architecture, Liu et al. 2019, arXiv:1907.11692), are averaged
where the attention mask is one, mapped to 384 dimensions and scaled to length one, as Sentence-BERT does (Reimers and
Gurevych 2019, arXiv:1908.10084). Trained by `soundsieve.training.tasks.distill` to give the vectors that
all-MiniLM-L6-v2 gives for the same text, at a fraction of its size. Typing errors are put right before (`Spelling`).
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from soundsieve.encoders.spelling import Spelling
from soundsieve.encoders.tokens import JSONTokenizer
from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.files import replacing
from soundsieve.nn.roberta import RoBERTa

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""The first entries of every vocabulary, in this order: padding is token 0."""

FORMAT = "soundsieve-text-1"


@dataclass(frozen=True)
class SentenceEncoderConfig:
    """Sizes of a `SentenceEncoder`.

    Raises:
        ConfigError: a size is not positive, or the width of a layer is no multiple of its heads.
    """

    vocab_size: int
    """tokens in the vocabulary, the special ones included"""
    hidden: int
    """width of the token vectors"""
    layers: int
    """transformer layers"""
    heads: int
    """attention heads; a divisor of hidden"""
    intermediate: int
    """width inside the feed-forward blocks"""
    max_tokens: int = 64
    """longest text, with the two tokens around it"""
    width: int = 384
    """width of the sentence vector"""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"text encoder: {field.name} must be a positive whole number, not {value!r}")
        if self.hidden % self.heads:
            raise ConfigError(f"text encoder: hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        if self.max_tokens < 3:
            raise ConfigError(f"text encoder: max_tokens must be at least 3, not {self.max_tokens}")

    @classmethod
    def debug(cls) -> SentenceEncoderConfig:
        """A tiny one for tests, over the built-in vocabulary of letters, digits and signs."""
        size = len(SPECIAL_TOKENS) + len(_character_vocabulary())
        return cls(vocab_size=size, hidden=32, layers=1, heads=2, intermediate=64)

    @classmethod
    def small(cls, vocab_size: int = 26559) -> SentenceEncoderConfig:
        """The one of the embedded model: 8.6 million parameters, three quarters of them token vectors."""
        return cls(vocab_size=vocab_size, hidden=240, layers=3, heads=4, intermediate=960)


class TextTower(RoBERTa):
    """A `RoBERTa` without pooler, of a `SentenceEncoder`'s sizes; padding is token 0 and at place 0."""

    def __init__(self, config: SentenceEncoderConfig) -> None:
        super().__init__(
            vocab_size=config.vocab_size,
            width=config.hidden,
            layers=config.layers,
            heads=config.heads,
            mlp_width=config.intermediate,
            positions=config.max_tokens + 1,
            pad_id=0,
        )

    @property
    def words(self) -> nn.Embedding:
        """The token vectors."""
        return self.embeddings.word_embeddings


class SentenceEncoder(nn.Module):
    """Text in, unit vectors out.

    Args:
        config: sizes.
        tokenizer_json: a tokenizer as the tokenizers library writes it (`build_tokenizer` makes one); None for the
            built-in vocabulary of single characters, which fits `SentenceEncoderConfig.debug`.
        words: what typing errors are put right by, the most usual first, one a line (see `Spelling`); None for texts
            as they are typed.

    Attributes:
        tower: the transformer, `TextTower`.
        project: the linear map to the sentence space.

    Raises:
        ConfigError: the tokenizer's size is not ``config.vocab_size``.
        WeightsError: ``tokenizer_json`` is not a tokenizer.
    """

    def __init__(
        self, config: SentenceEncoderConfig, tokenizer_json: str | None = None, words: str | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self._tokenizer = JSONTokenizer(
            tokenizer_json or build_tokenizer(_character_vocabulary()), pad_id=0, max_tokens=config.max_tokens
        )
        if self._tokenizer.vocab_size != config.vocab_size:
            raise ConfigError(
                f"text encoder: the tokenizer has {self._tokenizer.vocab_size} tokens, "
                f"the config says {config.vocab_size}: set vocab_size to the former"
            )
        self.spell_by(words)
        self.tower = TextTower(config)
        self.project = nn.Linear(config.hidden, config.width)

    def spell_by(self, words: str | None) -> None:
        """Put typing errors right by these words, as the constructor takes them, from now on."""
        self.words = words
        self._spelling = Spelling(words.split(), self._tokenizer.vocabulary) if words else None

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text."""
        files = {"tokenizer.json": self._tokenizer.json}
        return files | {"words.txt": self.words} if self.words else files

    @property
    def vocabulary(self) -> dict[str, int]:
        """The tokenizer's tokens and their ids."""
        return self._tokenizer.vocabulary

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, int64, shape ``(B, L)`` each, L the longest text's; padding is 0.

        Nothing is ever cut off, and words that are not known are read as the nearest that are.

        Raises:
            QueryError: there is no text, or one has no word at all or more than ``config.max_tokens`` tokens.
        """
        input_ids, attention_mask = self._tokenizer([self._spelling(t) for t in texts] if self._spelling else texts)
        if int(attention_mask.sum(1).min()) <= 2:
            raise QueryError("the text is empty: describe a sound in a few words, such as 'a dog barking'")
        known = ((input_ids > 3) & attention_mask.bool()).any(1)  # 0 to 3: padding, unknown, start, end
        if not known.all():
            text = list(texts)[int(known.long().argmin())]
            raise QueryError(
                f"no word of '{text[:40]}' is known: describe the sound in English, such as 'a dog barking'"
            )
        return input_ids, attention_mask

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens ``(B, L)`` and their mask -> unit vectors ``(B, width)``."""
        states = self.tower(input_ids, attention_mask)  # (B, L, hidden)
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1)
        return nn.functional.normalize(self.project(mean).float(), dim=1)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, shape ``(B, width)``, of texts, on the encoder's device and without gradients.

        Raises:
            QueryError: there is no text, or one is empty or too long.
        """
        device = self.project.weight.device
        input_ids, attention_mask = self.tokenize(texts)
        embedding: Tensor = self(input_ids.to(device), attention_mask.to(device))
        return embedding

    def save(self, path: str | Path) -> None:
        """Write weights, config and tokenizer to one safetensors file, whole or not at all."""
        from safetensors.torch import save_file

        metadata = {"format": FORMAT, "config": json.dumps(asdict(self.config)), **self.assets()}
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        with replacing(path) as temporary:
            save_file(state, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> SentenceEncoder:
        """Read what `save` wrote, ready to encode.

        Raises:
            WeightsError: the file is missing, is not one of these, or does not fit its own config.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise WeightsError(f"no text encoder at {path}: train one with the starter recipe 'text'")
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise WeightsError(f"{path} is damaged or no safetensors file ({error})") from error
        if metadata.get("format") != FORMAT:
            raise WeightsError(f"{path} holds no text encoder (format {metadata.get('format')!r}, wanted {FORMAT!r})")
        try:
            config = SentenceEncoderConfig(**json.loads(metadata["config"]))
            encoder = cls(config, metadata["tokenizer.json"], metadata.get("words.txt"))
            encoder.load_state_dict(state, strict=True)
        except (KeyError, ValueError, TypeError, RuntimeError, ConfigError) as error:
            raise WeightsError(f"{path} does not fit its own config: {' '.join(str(error).split())}") from error
        return encoder.to(device).eval()


def build_tokenizer(vocabulary: Sequence[str]) -> str:
    """A lower-casing, accent-stripping WordPiece tokenizer as JSON text.

    Args:
        vocabulary: words and ``##`` pieces without the special tokens, which come first (`SPECIAL_TOKENS`). With every
            character alone and as a ``##`` piece in it, no word made of these characters is unknown.

    Raises:
        ConfigError: an entry comes twice.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    entries = [*SPECIAL_TOKENS, *vocabulary]
    ids = {entry: index for index, entry in enumerate(entries)}
    if len(ids) != len(entries):
        twice = next(entry for index, entry in enumerate(entries) if ids[entry] != index)
        raise ConfigError(f"text encoder: '{twice}' is twice in the vocabulary")
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    text: str = tokenizer.to_str()
    return text


def _character_vocabulary() -> list[str]:
    """Every ASCII letter, digit and sign, and the ``##`` pieces of letters and digits."""
    alphabet = string.ascii_lowercase + string.digits
    return [*alphabet, *string.punctuation, *("##" + character for character in alphabet)]
