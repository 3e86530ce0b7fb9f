"""The shape of a Sieve."""

from __future__ import annotations

from dataclasses import dataclass, field

from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.errors import ConfigError


@dataclass(frozen=True)
class SieveConfig:
    """The shape of a Sieve."""

    sample_rate: int = 32000
    """Hz."""
    segment_s: float = 10.0
    """Longest piece that is separated at once, in seconds."""
    n_fft: int = 2048
    """STFT window in samples."""
    hop_length: int = 640
    """STFT hop in samples (50 frames a second)."""
    n_bands: int = 64
    """Bands of the grid; a multiple of 8."""
    fmin_hz: float = 40.0
    """Centre of the lowest band."""
    fmax_hz: float = 15500.0
    """Centre of the highest band."""
    channels: tuple[int, int, int] = (48, 96, 160)
    """Channels on the three scales of the U-Net, fine to coarse."""
    blocks: tuple[int, int, int] = (2, 2, 2)
    """Residual blocks on the way down, on each scale; one each on the way up."""
    width: int = 320
    """Width of the transformer over frames."""
    layers: int = 3
    """Transformer layers."""
    heads: int = 5
    """Attention heads."""
    dropout: float = 0.1
    """In the transformer, while training."""
    key_width: int = 64
    """Width of the space where cells meet queries."""
    film_width: int = 256
    """Hidden width of the query's FiLM generator."""
    reader_channels: int = 32
    """Channels of the convolutions that answer a query."""
    presence_threshold: float = 0.5
    """A sound whose presence is below this is reported as not there (calibrated after training)."""
    gate_db: float = 0.0
    """How far, at most, the answer is turned down when the sound is not there."""
    anchors: int = 0
    """Text vectors that the network knows well, one for each label of its training; 0 for none."""
    recall: float = 0.8
    """Share of a text's vector that is replaced by the anchors near it."""
    recall_temperature: float = 0.03
    """Of the softmax over cosines that says how near."""
    heard: float = 0.0
    """Share of a text's vector that is replaced by how the sounds near it sounded in training."""
    heard_range: tuple[float, float] = (-1.0, -1.0)
    """Cosines to the nearest anchor up to which none of that share is used, and from which all of it is."""
    recall_clips: float = 0.0
    """The same share for the vectors of example clips."""
    known: float = 0.0
    """A text whose nearest anchor is less near than this (cosine) is about a sound that training did not name: it is
    left as it is, and its sound counts as missing. 0 for none."""
    contrast: bool = False
    """Whether it listens twice: what the first answer left is named by the anchors, and the second excludes it."""
    recogniser: int = 0
    """Hidden units of the network that recognises what an answer holds, and what it leaves; 0 for none."""
    traits: int = 0
    """Traits of sounds that it tells beside their labels."""
    text: SentenceEncoderConfig = field(default_factory=SentenceEncoderConfig.small)
    """The text tower."""

    def __post_init__(self) -> None:
        if self.n_bands % 8:
            raise ConfigError(f"n_bands must be a multiple of 8, got {self.n_bands}")
        if self.width % self.heads:
            raise ConfigError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if len(self.channels) != 3 or len(self.blocks) != 3:
            raise ConfigError("channels and blocks take three numbers, one for each scale")
        if not 0 <= self.recall <= 1 or self.recall_temperature <= 0 or self.anchors < 0:
            raise ConfigError("recall lies between 0 and 1, recall_temperature is above 0, anchors at least 0")
        if len(self.heard_range) != 2 or not -1 <= self.heard_range[0] <= self.heard_range[1] <= 1:
            raise ConfigError(f"heard_range goes from a lower cosine to a higher one, got {self.heard_range}")
        if not 0 <= self.recall_clips <= 1 or not 0 <= self.known < 1 or not 0 <= self.heard <= 1:
            raise ConfigError("recall_clips, known and heard lie between 0 and 1")
        if (self.contrast or self.known or self.heard) and not self.anchors:
            raise ConfigError("contrast, known and heard compare with the anchors, and there are none")
        if self.recogniser < 0 or self.traits < 0 or (self.recogniser and not self.contrast):
            raise ConfigError("recogniser and traits are at least 0, and a recogniser needs contrast")
        if not 0 < self.presence_threshold < 1 or self.gate_db < 0:
            raise ConfigError("presence_threshold lies between 0 and 1, gate_db is not negative")

    @classmethod
    def small(cls) -> SieveConfig:
        """The embedded model's size."""
        return cls()

    @classmethod
    def debug(cls) -> SieveConfig:
        """A few thousand parameters, for tests."""
        return cls(
            channels=(8, 8, 16), blocks=(1, 1, 1), width=16, layers=1, heads=2, key_width=8, film_width=8,
            reader_channels=8, text=SentenceEncoderConfig.debug(),
        )  # fmt: skip
