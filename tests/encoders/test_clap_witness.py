"""CLAP against an independent implementation, that of transformers, on small random weights.

The weights are ours, renamed; both get the same log-mel spectrogram or token ids. The log-mel spectrogram itself, and
how short clips are filled up, are compared on their own. Without fusion throughout, as in the CLAP of CLAPSep.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soundsieve.encoders.clap import CLAP, CLAPConfig, TextTowerConfig, fit_clip
from soundsieve.nn.htsat import HTSAT, HTSATConfig

TEXT = TextTowerConfig(vocab_size=60, width=16, layers=2, heads=2, mlp_width=32, positions=22, max_tokens=20)

TOWERS = {
    # A map of 8 x 8 in windows of 4, shifted in the second block; the last map, 4 x 4, is one window.
    "two stages": HTSATConfig(
        clip_s=0.6, hop_length=480, n_mels=16, image_size=32, width=8, depths=(2, 2), heads=(2, 4), window=4
    ),
    # 16 x 16, 8 x 8, 4 x 4 in windows of 4; three blocks, so that one follows a shifted one.
    "three stages": HTSATConfig(
        clip_s=0.6, hop_length=480, n_mels=64, image_size=64, width=12, depths=(3, 2, 1), heads=(3, 2, 4), window=4
    ),
    # Two stretches of time, a larger window, and a map that is as large as it from the first stage on.
    "one window": HTSATConfig(
        clip_s=1.2, hop_length=480, n_mels=32, image_size=64, width=8, depths=(2,), heads=(2,), window=16, mlp_ratio=2.0
    ),
    # Shifts by three of six, patches of two, and an image of three stretches of time.
    "odd sizes": HTSATConfig(
        clip_s=0.7,
        hop_length=480,
        n_mels=16,
        image_size=48,
        patch_size=2,
        width=6,
        depths=(2, 2),
        heads=(1, 3),
        window=6,
    ),
}


def randomised(module: nn.Module) -> nn.Module:
    """All parameters and statistics random, so that none is left at a value that hides its absence."""
    for name, parameter in module.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.3)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, mean=-40, std=5)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 50, 400)
    return module.eval()


def build(audio: HTSATConfig, text: TextTowerConfig = TEXT, *, seed: int = 0) -> CLAP:
    torch.manual_seed(seed)
    clap = randomised(CLAP(CLAPConfig(audio, text, dim=10)))
    assert isinstance(clap, CLAP)
    return clap


def same(ours: Tensor, theirs: Tensor) -> None:
    """Within 1e-5 of the largest value."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def their_audio_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
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
        if ".qkv." not in name:
            theirs[name] = tensor
            continue
        for part, which in zip(tensor.chunk(3), ("query", "key", "value"), strict=True):
            theirs[name.replace("attention.qkv.", f"attention.self.{which}.")] = part
    return theirs


def their_projection(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    numbered = {"0.": "linear1.", "2.": "linear2."}
    return {f"{prefix}.{numbered[name[:2]]}{name[2:]}": tensor for name, tensor in state.items()}


def fill(module: nn.Module, state: dict[str, Tensor], may_lack: tuple[str, ...]) -> None:
    """Load exactly these, but for what anyone can compute."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert unexpected == []
    assert all(name.endswith(may_lack) for name in missing)
    module.eval()


def their_audio(clap: CLAP, *, window: int | None = None) -> nn.Module:
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection

    ours = clap.config.audio
    theirs = ClapAudioModelWithProjection(
        ClapAudioConfig(
            window_size=window or ours.window,
            num_mel_bins=ours.n_mels,
            spec_size=ours.image_size,
            patch_size=ours.patch_size,
            patch_stride=[ours.patch_size, ours.patch_size],
            patch_embeds_hidden_size=ours.width,
            hidden_size=clap.audio.out_features,
            depths=list(ours.depths),
            num_attention_heads=list(ours.heads),
            mlp_ratio=ours.mlp_ratio,
            projection_dim=clap.config.dim,
            enable_fusion=False,
        )
    )
    state = {
        f"audio_model.audio_encoder.{name}": tensor
        for name, tensor in their_audio_names(clap.audio.state_dict()).items()
    }
    state |= their_projection(clap.audio_projection.state_dict(), "audio_projection")
    fill(theirs, state, ("relative_position_index",))
    return theirs


@torch.no_grad()
@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("missing", [0, 3])
def test_the_audio_tower_at_every_level(name: str, missing: int) -> None:
    """With as many frames as the image holds, and with fewer, which both stretch."""
    clap = build(TOWERS[name])
    config = clap.config.audio
    log_mel = 20 * torch.randn(2, config.n_frames - missing, config.n_mels) - 40
    expected = their_audio(clap)(input_features=log_mel[:, None], output_hidden_states=True)
    levels = clap.audio.features(log_mel)
    assert len(levels) == len(config.depths) + 1
    for level, state in zip(levels, expected.hidden_states, strict=True):
        same(level.permute(0, 3, 1, 2), state)
    same(clap.audio_projection(clap.audio.norm(levels[-1]).mean((1, 2))), expected.audio_embeds)


@torch.no_grad()
def test_a_map_smaller_than_the_window_is_one_window() -> None:
    """Theirs cannot be built so; it has to be told the smaller window."""
    clap = build(replace(TOWERS["two stages"], depths=(2,), heads=(2,), window=16))
    log_mel = 20 * torch.randn(2, clap.config.audio.n_frames, 16) - 40
    expected = their_audio(clap, window=8)(input_features=log_mel[:, None]).audio_embeds
    same(clap.audio_projection(clap.audio.norm(clap.audio.features(log_mel)[-1]).mean((1, 2))), expected)


@torch.no_grad()
def test_waveform_to_unit_embedding() -> None:
    clap = build(TOWERS["two stages"])
    waveform = 0.1 * torch.randn(3, 20000)
    log_mel = clap.audio.log_mel(fit_clip(waveform, clap.config.audio.clip_samples))
    expected = their_audio(clap)(input_features=log_mel[:, None]).audio_embeds
    same(clap.embed_audio(waveform), nn.functional.normalize(expected, dim=1))


@torch.no_grad()
@pytest.mark.parametrize(
    "text",
    [TEXT, replace(TEXT, layers=3, heads=4, width=24), replace(TEXT, pad_id=0, positions=21)],
    ids=["two layers", "three layers", "pad 0"],
)
def test_the_text_tower_with_its_projection(text: TextTowerConfig) -> None:
    """Padded rows of several lengths, up to the longest text."""
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    clap = build(TOWERS["two stages"], text)
    theirs = ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=text.vocab_size,
            hidden_size=text.width,
            num_hidden_layers=text.layers,
            num_attention_heads=text.heads,
            intermediate_size=text.mlp_width,
            max_position_embeddings=text.positions,
            pad_token_id=text.pad_id,
            layer_norm_eps=1e-5,
            projection_dim=clap.config.dim,
        )
    )
    state = {f"text_model.{name}": tensor for name, tensor in clap.text.roberta.state_dict().items()}
    state |= their_projection(clap.text_projection.state_dict(), "text_projection")
    fill(theirs, state, ("position_ids", "token_type_ids"))
    lengths = torch.tensor([text.max_tokens, 2, 7])
    mask = (torch.arange(text.max_tokens) < lengths[:, None]).long()
    ids = torch.randint(3, text.vocab_size, mask.shape) * mask + text.pad_id * (1 - mask)
    expected = theirs(input_ids=ids, attention_mask=mask).text_embeds
    same(clap.text_projection(clap.text(ids, mask)), expected)
    same(clap.embed_tokens(ids, mask), nn.functional.normalize(expected, dim=1))


@pytest.mark.parametrize("samples", [1, 480, 100_000, 240_000, 479_999, 480_000])
def test_the_log_mel_spectrogram_and_how_short_clips_are_filled_up(samples: int) -> None:
    """Their feature extractor as it is set for CLAP without fusion: librosa's mel scale, repeated whole, then silence.

    Its default lowest edge is 0 Hz; CLAP's is 50 Hz. It computes in float64, and keeps silence at -100 dB too.
    """
    from transformers import ClapFeatureExtractor

    theirs = ClapFeatureExtractor(frequency_min=50, frequency_max=14000, truncation="rand_trunc", padding="repeatpad")
    x = 0.3 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    expected = theirs(x, sampling_rate=48000, return_tensors="pt")["input_features"][0, 0]
    config = HTSATConfig(width=8, depths=(1,), heads=(1,))
    with torch.no_grad():
        ours = HTSAT(config).log_mel(fit_clip(torch.from_numpy(x)[None], config.clip_samples))[0]
    assert ours.shape == expected.shape == (1001, 64)
    torch.testing.assert_close(ours, expected.float(), atol=1e-3, rtol=0)
