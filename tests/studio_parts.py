"""What tests of the studio are made with: recordings that differ, and a system that can be held up."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from identity_system import IdentityConfig, IdentitySystem
from signals import tone_and_noise
from torch import Tensor

from soundsieve import audio
from soundsieve.query import Condition
from soundsieve.studio.engine import Engine, Question
from soundsieve.studio.store import Track

RATE = 16000

Studio = Callable[..., Engine]
"""Makes an engine, with the limits that are given."""


class GatedSystem(IdentitySystem):
    """Half of the mixture, in segments of a second; once ``open`` is cleared each has to be let through by hand."""

    def __init__(self) -> None:
        super().__init__(IdentityConfig(gain=0.5))
        self.open = threading.Event()
        self.open.set()
        self.let_through = threading.Semaphore(0)
        self.reached = threading.Semaphore(0)

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        self.reached.release()
        while not self.open.is_set() and not self.let_through.acquire(timeout=0.01):
            pass
        return super().forward(mixture, condition)


def wav(seconds: float = 1.0, channels: int = 1, seed: int = 0, subtype: str = "PCM_16") -> bytes:
    """A recording of its own for each seed."""
    content = io.BytesIO()
    with audio.Writer(content, RATE, channels, subtype=subtype) as out:
        out.write(tone_and_noise(seconds, RATE, channels, seed))
    return content.getvalue()


def samples(source: Path | bytes) -> np.ndarray:
    return audio.decode(source)[0]


def answered(engine: Engine, recording_id: str, question: Question) -> Track:
    """Ask, and wait for the answer."""
    job = engine.submit(recording_id, question)
    assert job.ended.wait(60)
    return job.result()
