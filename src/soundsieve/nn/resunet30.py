"""ResUNet30: a `ResUNet` from waveform to waveform, as USS and AudioSep have it.

Three maps come out of the network for every cell of the spectrogram X: m, c and s. The target's spectrum is

    sigmoid(m) (cos + i sin) X,    (cos, sin) = (tanh c, tanh s) / max(|(tanh c, tanh s)|, 1e-10),

a mask that turns the magnitude down and a rotation of the phase (Kong et al., 2021, arXiv 2109.05418). The network does
not answer for the highest bin, at half the sample rate: its maps are zero there, the rotation has length zero, and the
target lacks that bin.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soundsieve.dsp.stft import istft, stft
from soundsieve.nn.resunet import ResUNet, ResUNetConfig
from soundsieve.nn.strips import for_answers

_LEAST_POWER = 1e-10
"""Of a cell of the spectrogram, as the network sees it."""


class ResUNet30(nn.Module):
    """Takes one sound, named by an embedding, out of a mixture.

    Args:
        n_fft: window of the spectrogram in samples.
        hop_length: step between its frames.
        config: sizes of the network.

    Raises:
        ConfigError: ``n_fft`` does not fit the network's strides.
    """

    def __init__(self, n_fft: int, hop_length: int, config: ResUNetConfig) -> None:
        super().__init__()
        config.check_bins(n_fft)
        self.n_fft, self.hop_length = n_fft, hop_length
        self.bins_norm = nn.BatchNorm1d(n_fft // 2 + 1, momentum=0.01)
        self.net = ResUNet(config)

    def forward(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Mixtures ``(B, T)`` and embeddings ``(B, D)`` to targets ``(B, T)``."""
        if len(mixture) > 1 and for_answers(self, mixture):  # as fast, in a fraction of the memory
            return torch.cat(
                [self(*one) for one in zip(torch.split(mixture, 1), torch.split(embedding, 1), strict=True)]
            )
        spectrum = stft(mixture, n_fft=self.n_fft, hop_length=self.hop_length)
        power = torch.view_as_real(spectrum).square().sum(-1)
        magnitude = self.bins_norm(power.clamp(min=_LEAST_POWER).sqrt())
        mask = self._mask(self.net(magnitude.transpose(1, 2), embedding)).transpose(1, 2)
        return istft(mask * spectrum, n_fft=self.n_fft, hop_length=self.hop_length, length=mixture.shape[1])

    def _mask(self, maps: Tensor) -> Tensor:
        """Maps ``(B, 3, N, F)`` to a complex mask ``(B, N, F)``, in float32 whatever the maps were made in."""
        maps = maps.float()
        rotation = torch.complex(maps[:, 1].tanh(), maps[:, 2].tanh())
        return maps[:, 0].sigmoid() * rotation / rotation.abs().clamp(min=1e-10)
