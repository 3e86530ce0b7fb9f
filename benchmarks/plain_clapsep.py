"""CLAPSep computed the plain way: what `clapsep_speed.py` compares with.

The same weights and the same function, each step as its formula says: the STFT as a product with the matrix of sines
and cosines, attention as a product, a softmax and a product, LoRA beside the layer that it adapts, torch's own matrix
products, nothing kept from one answer to the next, texts padded to the longest one, all weights read into memory.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.encoders.clap import CLAP
from soundsieve.nn import htsat, lora, masknet, roberta, swin
from soundsieve.nn import linear as products
from soundsieve.systems import clapsep


@functools.lru_cache(maxsize=4)
def _matrices(n_fft: int) -> tuple[Tensor, Tensor]:
    """The windowed DFT, ``(2 F, 1, n_fft)``, real parts first, and what undoes it, ``(2 F, 1, n_fft)``."""
    angle = 2 * math.pi * torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_fft)).double() / n_fft
    window = torch.hann_window(n_fft, dtype=torch.float64)
    there = torch.cat([angle.cos(), -angle.sin()]) * window
    weight = torch.full((n_fft // 2 + 1, 1), 2.0, dtype=torch.float64)
    weight[0] = weight[-1] = 1.0  # the bins that have no mirror image
    back = torch.cat([weight * angle.cos(), -weight * angle.sin()]) / n_fft * window
    return there[:, None].float(), back[:, None].float()


def matrix_stft(x: Tensor, *, n_fft: int, hop_length: int) -> Tensor:
    padded = F.pad(x[:, None], (n_fft // 2, n_fft // 2), mode="reflect")
    real, imaginary = F.conv1d(padded, _matrices(n_fft)[0], stride=hop_length).chunk(2, dim=1)
    return torch.complex(real, imaginary)


def matrix_istft(spectrum: Tensor, *, n_fft: int, hop_length: int, length: int) -> Tensor:
    parts = torch.cat([spectrum.real, spectrum.imag], dim=1)
    summed = F.conv_transpose1d(parts, _matrices(n_fft)[1], stride=hop_length)[:, 0]
    squared = torch.hann_window(n_fft).square().expand(1, spectrum.shape[2], n_fft).transpose(1, 2)
    size = (1, summed.shape[1])
    weights = F.fold(squared, size, (1, n_fft), stride=(1, hop_length)).flatten()
    return (summed / weights.clamp(min=1e-10))[:, n_fft // 2 :][:, :length]


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(-1) @ v


def _window_attention(self: swin.WindowAttention, x: Tensor) -> Tensor:
    *_, n, c = x.shape
    n_windows = x.numel() // (n * c)
    q, k, v = self.qkv(x).view(n_windows, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
    bias = self._score_bias()
    out = _attend(q, k, v, bias.repeat(n_windows // len(bias), 1, 1, 1) if len(bias) > 1 else bias)
    projected: Tensor = self.proj(out.transpose(1, 2).reshape(x.shape))
    return projected


def _self_attention(self: masknet.SelfAttention, x: Tensor) -> Tensor:
    batch, frames, width = x.shape
    qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(batch, frames, 3, self.heads, -1)
    attended = _attend(*qkv.permute(2, 0, 3, 1, 4)).transpose(1, 2)
    projected: Tensor = self.out_proj(attended.reshape(batch, frames, width))
    return projected


def _text_attention(self: roberta.Attention, x: Tensor, mask: Tensor | None) -> Tensor:
    q, k, v = (self.self[name](x).unflatten(2, (self.heads, -1)).transpose(1, 2) for name in ("query", "key", "value"))
    bias = None if mask is None else torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, -math.inf)
    y = self.output["dense"](_attend(q, k, v, bias).transpose(1, 2).flatten(2))
    normalised: Tensor = self.output["LayerNorm"](x + y)
    return normalised


def _beside(self: lora.LoRALinear, x: Tensor) -> Tensor:
    return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scale


def _padded_text(self: CLAP, texts: list[str]) -> Tensor:
    """As `CLAP.embed_text`, every text padded to the longest one that the tower takes."""
    assert self.tokenizer is not None
    ids, mask = self.tokenizer(texts)
    missing = self.config.text.max_tokens - ids.shape[1]
    return self.embed_tokens(F.pad(ids, (0, missing), value=self.config.text.pad_id), F.pad(mask, (0, missing)))


def plain_products() -> None:
    """Matrix products and attention of torch, whose operations can be counted."""
    products._onednn_product = lambda: None  # type: ignore[assignment]
    swin.WindowAttention.forward = _window_attention  # type: ignore[method-assign]
    masknet.SelfAttention.forward = _self_attention  # type: ignore[method-assign]
    roberta.Attention.forward = _text_attention  # type: ignore[method-assign]


def make_plain(system: clapsep.CLAPSep) -> None:
    """Everything the plain way, for the rest of this process."""
    plain_products()
    lora.LoRALinear.forward = _beside  # type: ignore[method-assign]
    masknet.BinsNorm.forward = nn.BatchNorm1d.forward  # type: ignore[method-assign,assignment]
    clapsep.stft = htsat.stft = matrix_stft  # type: ignore[attr-defined]
    clapsep.istft = matrix_istft  # type: ignore[attr-defined]
    system.clap.embed_text = functools.partial(_padded_text, system.clap)  # type: ignore[method-assign]
    for module in system.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
