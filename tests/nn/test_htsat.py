from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from soundsieve.errors import AudioError, ConfigError
from soundsieve.nn.htsat import HTSAT, HTSATConfig, fold, unfold

TINY = HTSATConfig(
    sample_rate=32000,
    clip_s=0.6,
    hop_length=320,
    n_mels=16,
    image_size=32,
    width=8,
    depths=(2, 2),
    heads=(2, 4),
    window=4,
)


def test_fold_stacks_time_along_frequency() -> None:
    spectrogram = torch.arange(2 * 8 * 3).view(2, 8, 3)
    image = fold(spectrogram, 2)
    assert image.shape == (2, 6, 4)
    for piece, band, frame in ((0, 0, 0), (0, 2, 3), (1, 0, 0), (1, 2, 3)):
        assert image[1, piece * 3 + band, frame] == spectrogram[1, piece * 4 + frame, band]
    torch.testing.assert_close(unfold(image, 2), spectrogram)


def _to_theirs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names to those of transformers' CLAP, which keeps query, key and value apart."""
    words = {
        "bands_norm.": "batch_norm.",
        "patches.": "patch_embed.",
        "stages.": "layers.",
        "norm1.": "layernorm_before.",
        "norm2.": "layernorm_after.",
        "attention.proj.": "attention.output.dense.",
        "attention.bias_table": "attention.self.relative_position_bias_table",
        "mlp.fc1.": "intermediate.dense.",
        "mlp.fc2.": "output.dense.",
        "merging.": "downsample.",
    }
    theirs = {}
    for name, tensor in state.items():
        for ours, other in words.items():
            name = name.replace(ours, other)
        parts = tensor.chunk(3) if ".qkv." in name else (tensor,)
        for part, which in zip(parts, ("query", "key", "value"), strict=False):
            theirs["audio_encoder." + name.replace("attention.qkv.", f"attention.self.{which}.")] = part
    return theirs


@pytest.mark.parametrize("frames", [61, 64])
def test_equals_an_independent_implementation(frames: int) -> None:
    """Same levels and embedding as transformers' tower, with and without the stretch to the image's frames."""
    from transformers import ClapAudioConfig, ClapAudioModel

    torch.manual_seed(0)
    ours = HTSAT(TINY).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs = ClapAudioModel(
        ClapAudioConfig(
            spec_size=32,
            num_mel_bins=16,
            window_size=4,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            patch_embeds_hidden_size=8,
            hidden_size=16,
        )
    ).eval()
    missing, unexpected = theirs.load_state_dict(_to_theirs(ours.state_dict()), strict=False)
    assert unexpected == []
    assert all(name.endswith("relative_position_index") for name in missing)
    log_mel = 20 * torch.randn(2, frames, 16) - 40
    with torch.no_grad():
        levels = ours.features(log_mel)
        expected = theirs(input_features=log_mel[:, None], output_hidden_states=True)
        for level, state in zip(levels, expected.hidden_states, strict=True):
            torch.testing.assert_close(level.permute(0, 3, 1, 2), state, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.norm(levels[-1]).mean((1, 2)), expected.pooler_output, atol=1e-5, rtol=1e-5)


def test_log_mel_of_silence_and_of_its_padding_is_the_same() -> None:
    tower = HTSAT(TINY)
    silence = tower.pad(tower.log_mel(torch.zeros(1, 3200)))
    assert silence.shape == (1, TINY.n_frames, 16)
    assert (silence == -100).all()


def test_a_louder_waveform_moves_every_band_by_as_many_decibels() -> None:
    tower, x = HTSAT(TINY), torch.randn(1, 6400)
    torch.testing.assert_close(
        tower.log_mel(10 * x) - tower.log_mel(x), torch.full((1, 21, 16), 20.0), atol=1e-3, rtol=0
    )


def test_too_many_frames() -> None:
    tower = HTSAT(TINY)
    with pytest.raises(AudioError, match=r"65 frames is too long: it must be under 0\.64 s"):
        tower.pad(tower.log_mel(torch.zeros(1, 64 * 320)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": (2,)}, "depths and heads"),
        ({"heads": (3, 4)}, "must divide the stages' channels"),
        ({"image_size": 40}, "multiple of n_mels"),
        ({"n_mels": 12}, "multiple of n_mels"),
        ({"window": 3}, "window 3 must divide"),
        ({"clip_s": 0.65}, "clip_s 0.65 must give"),
        ({"hop_length": 0}, "at least 1"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]
