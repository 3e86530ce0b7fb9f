"""VGGish: the embedding that the Fréchet audio distance was made with (Hershey et al., 2017, arXiv 1609.09430).

Six convolutions and three linear layers on 0.96 s of a log-mel spectrogram. The module has the names of the released
weights in their PyTorch form, so their state dict fits as it is. What follows here is theirs too: magnitudes, not
powers; the mel scale of HTK, mel(f) = 1127 ln(1 + f / 700), with triangles that are straight in mels and not in Hz; no
padding of the ends; log(mel + 0.01); neither the last ReLU nor the whitening and quantisation of AudioSet's features,
without which distances are published.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE = 16000
WINDOW, HOP, N_FFT = 400, 160, 512
BANDS, MIN_HZ, MAX_HZ = 64, 125.0, 7500.0
FRAMES = 96
"""Of one embedding, 10 ms apart; the next one starts where it ends."""
OFFSET = 0.01
WIDTH = 128
SAMPLES = (FRAMES - 1) * HOP + WINDOW
"""The shortest waveform with an embedding; a shorter one is followed by silence."""


def mel_triangles() -> Tensor:
    """Weights of the bands, shape ``(N_FFT // 2 + 1, BANDS)``; the lowest bin counts for none."""

    bins, low, high = (
        1127 * np.log(1 + np.array(hz) / 700)
        for hz in (np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1), MIN_HZ, MAX_HZ)
    )
    edges = np.linspace(low, high, BANDS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins[:, None] - left) / (centre - left), (right - bins[:, None]) / (right - centre)
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[0] = 0
    return torch.from_numpy(weights.astype(np.float32))


class VGGish(nn.Module):
    """Embeds waveforms at 16 kHz.

    Args:
        hidden: width of the linear layers; the released weights have 4096.
    """

    features: nn.Sequential
    embeddings: nn.Sequential

    def __init__(self, hidden: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for convolutions in ((64,), (128,), (256, 256), (512, 512)):
            for outputs in convolutions:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = FRAMES // 16 * (BANDS // 16) * inputs
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, WIDTH)
        )
        self.register_buffer("triangles", mel_triangles(), persistent=False)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log-mel spectrogram of waveforms ``(B, T)``, shape ``(B, N, BANDS)``, N = 1 + (T - WINDOW) // HOP."""
        window = torch.hann_window(WINDOW, dtype=waveform.dtype, device=waveform.device)
        spectrum = torch.fft.rfft(waveform.unfold(-1, WINDOW, HOP) * window, n=N_FFT)
        return (spectrum.abs() @ self.triangles + OFFSET).log()  # type: ignore[no-any-return]

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Embeddings of waveforms ``(B, T)``, one for each 0.96 s; what is left at the end has none.

        Returns:
            Shape ``(B, N, 128)``, N >= 1: a waveform that is too short for one is followed by silence.
        """
        waveform = F.pad(waveform, (0, max(0, SAMPLES - waveform.shape[-1])))
        images = self.log_mel(waveform).unfold(1, FRAMES, FRAMES).transpose(2, 3)  # (B, N, FRAMES, BANDS)
        found = self.features(images.flatten(0, 1).unsqueeze(1))
        found = self.embeddings(found.permute(0, 2, 3, 1).flatten(1))  # channels last, as the weights expect
        return found.unflatten(0, images.shape[:2])  # type: ignore[no-any-return]
