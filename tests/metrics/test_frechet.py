import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from soundsieve.metrics import frechet_audio_distance, frechet_distance


def embeddings(n: int, d: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator) + seed / 10


def by_square_roots(a: torch.Tensor, b: torch.Tensor) -> float:
    """As the definition has it, by SciPy's square root of a matrix."""
    x, y = a.double().numpy(), b.double().numpy()
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shared = np.trace(sqrtm(c1 @ c2)).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * shared)


@pytest.mark.parametrize(("n", "m", "d"), [(50, 60, 8), (500, 30, 20), (21, 400, 20)])
def test_agrees_with_scipy(n: int, m: int, d: int):
    a, b = embeddings(n, d, 1), embeddings(m, d, 2)
    assert frechet_distance(a, b) == pytest.approx(by_square_roots(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


def test_of_fewer_samples_than_dimensions_too():
    """Where covariances are singular, the distance is that of the same sets in the space that they span."""
    a, b = embeddings(4, 64, 1), embeddings(6, 64, 2)
    basis = torch.linalg.qr(torch.cat([a, b]).double().T).Q  # 10 directions hold both sets
    small_a, small_b = a.double() @ basis, b.double() @ basis
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(small_a, small_b), rel=1e-9)
    jitter = 1e-4 * torch.eye(10, dtype=torch.float64)
    c1, c2 = (torch.cov(x.T) + jitter for x in (small_a, small_b))
    shared = np.trace(sqrtm((c1 @ c2).numpy())).real
    apart = (small_a.mean(0) - small_b.mean(0)).square().sum()
    expected = float(apart + c1.trace() + c2.trace()) - 2 * shared
    assert frechet_distance(a, b) == pytest.approx(expected, rel=0.01)


def test_known_values():
    a = torch.tensor([[-1.0], [1.0]])
    assert frechet_distance(a, a + 3) == pytest.approx(9, abs=1e-12)
    assert frechet_distance(a, 2 * a) == pytest.approx((math.sqrt(8) - math.sqrt(2)) ** 2, abs=1e-12)
    wide = embeddings(40, 100, 0)
    assert 0 <= frechet_distance(wide, wide) < 1e-9
    assert frechet_distance(wide, wide + 1) == pytest.approx(100, rel=1e-6)  # 1 in each of 100 dimensions


def test_what_has_no_distance():
    a = embeddings(5, 3, 0)
    for few in (a[:0], a[:1]):
        with pytest.raises(ValueError, match="at least two"):
            frechet_distance(few, a)
        with pytest.raises(ValueError, match="at least two"):
            frechet_distance(a, few)
    for wrong in (a[:, :2], a[0], a[None]):
        with pytest.raises(ValueError, match="of one width"):
            frechet_distance(wrong, a)
    spoilt = a.clone()
    spoilt[0, 0] = math.nan
    assert math.isnan(frechet_distance(spoilt, a))
    assert frechet_distance(a.half(), a) < 1e-4


def loudness_and_brightness(waveform: torch.Tensor) -> torch.Tensor:
    frames = waveform.unfold(-1, 100, 100)
    return torch.stack([frames.square().mean(-1).log(), frames.diff().square().mean(-1).log()], dim=-1)


def test_frames_of_all_sounds_are_in_one_pool():
    generator = torch.Generator().manual_seed(0)
    sounds = torch.randn(6, 1000, generator=generator)
    others = 2 * torch.randn(4, 500, generator=generator)
    found = frechet_audio_distance([sounds[:4], sounds[4:]], iter([others]), embed=loudness_and_brightness)
    pools = [loudness_and_brightness(x).reshape(-1, 2) for x in (sounds, others)]
    assert found == pytest.approx(frechet_distance(*pools), rel=1e-9)
    assert found > 1
    one_each = frechet_audio_distance([sounds], [others], embed=lambda x: loudness_and_brightness(x).mean(1))
    assert one_each > 1
    with pytest.raises(ValueError, match="at least two"):
        frechet_audio_distance([], [others], embed=loudness_and_brightness)
