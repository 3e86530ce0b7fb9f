import math

import numpy as np
import pytest
import torch

from soundsieve.encoders.vggish import SAMPLES, VGGish, mel_triangles


@pytest.fixture(scope="module")
def vggish() -> VGGish:
    torch.manual_seed(0)
    return VGGish(hidden=8).eval()


def slow_log_mel(x: np.ndarray) -> np.ndarray:
    """As the released code describes it, frame by frame and band by band."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi / 400 * np.arange(400))

    def mel(hz: float) -> float:
        return 1127.0 * math.log(1.0 + hz / 700.0)

    edges = np.linspace(mel(125.0), mel(7500.0), 66)
    frames = []
    for start in range(0, len(x) - 399, 160):
        magnitudes = np.abs(np.fft.rfft(x[start : start + 400] * window, 512))
        bands = []
        for low, centre, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            total = 0.0
            for k in range(1, 257):
                at = mel(k * 16000 / 512)
                total += magnitudes[k] * max(0.0, min((at - low) / (centre - low), (high - at) / (high - centre)))
            bands.append(math.log(total + 0.01))
        frames.append(bands)
    return np.array(frames)


def test_the_spectrogram_is_the_published_one(vggish: VGGish):
    x = 0.3 * np.random.default_rng(0).normal(size=2000)
    found = vggish.log_mel(torch.from_numpy(x).float()[None])[0]
    np.testing.assert_allclose(found.numpy(), slow_log_mel(x), atol=1e-4)


def test_triangles_stand_in_their_places():
    weights = mel_triangles()
    assert weights.shape == (257, 64)
    assert weights.max() <= 1
    assert weights[0].sum() == weights[250:].sum() == 0  # below 125 Hz and above 7.5 kHz
    peaks = weights[:, 8:].argmax(0)
    assert (peaks.diff() >= 0).all()


def test_one_embedding_for_each_stretch(vggish: VGGish):
    x = torch.randn(2, 3 * 96 * 160 + 400)
    with torch.no_grad():
        found = vggish.embed_audio(x)
        assert found.shape == (2, 3, 128)
        alone = vggish.embed_audio(x[1:, 96 * 160 : 96 * 160 + SAMPLES])
        torch.testing.assert_close(found[1:, 1:2], alone, atol=1e-5, rtol=1e-4)
        for samples in (1, 300, SAMPLES - 1):
            short = torch.nn.functional.pad(x[:, :samples], (0, SAMPLES - samples))
            torch.testing.assert_close(vggish.embed_audio(x[:, :samples]), vggish.embed_audio(short))
        assert vggish.embed_audio(x[:, : SAMPLES + 96 * 160 - 1]).shape == (2, 1, 128)
    assert (found < 0).any()  # no ReLU behind it


def test_it_takes_the_released_weights():
    with torch.device("meta"):
        state = VGGish().state_dict()
    convolutions = {0: (64, 1), 3: (128, 64), 6: (256, 128), 8: (256, 256), 11: (512, 256), 13: (512, 512)}
    expected = {f"features.{i}.weight": (*sizes, 3, 3) for i, sizes in convolutions.items()}
    expected |= {f"features.{i}.bias": (sizes[0],) for i, sizes in convolutions.items()}
    for i, (outputs, inputs) in {0: (4096, 12288), 2: (4096, 4096), 4: (128, 4096)}.items():
        expected |= {f"embeddings.{i}.weight": (outputs, inputs), f"embeddings.{i}.bias": (outputs,)}
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected


def test_what_is_flattened_has_its_channels_last(vggish: VGGish):
    """The released weights were trained with images of (frames, bands, channels)."""
    image = torch.randn(1, 1, 96, 64)
    with torch.no_grad():
        features = vggish.features(image)
        assert features.shape == (1, 512, 6, 4)
        flat = np.concatenate([features[0, :, i, j].numpy() for i in range(6) for j in range(4)])
        expected = vggish.embeddings(torch.from_numpy(flat)[None])
        x = torch.randn(1, SAMPLES)
        vggish.log_mel = lambda _: image[:, 0]  # type: ignore[method-assign]
        try:
            torch.testing.assert_close(vggish.embed_audio(x)[0], expected)
        finally:
            del vggish.log_mel
