import torch
from toy_benchmark import CLIPS, SECONDS, sounds

from soundsieve.evaluation.oracle import ideal_ratio_mask
from soundsieve.evaluation.pairs import make_pairs, mix
from soundsieve.metrics import sdr


def test_alone_a_sound_comes_back_whole():
    x = torch.randn(2, 4001, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ideal_ratio_mask(x, 0 * x), x, atol=1e-5, rtol=0)
    assert ideal_ratio_mask(0 * x, x).abs().max() < 1e-5


def test_the_two_answers_add_up_to_the_mixture_and_beat_it():
    for pair in make_pairs(CLIPS.values(), sounds, n=4, seconds=SECONDS):
        mixed = mix(pair, sounds, seconds=SECONDS)
        first = ideal_ratio_mask(mixed.sources[0], mixed.sources[1])
        second = ideal_ratio_mask(mixed.sources[1], mixed.sources[0])
        torch.testing.assert_close(first + second, mixed.mixture, atol=1e-5, rtol=0)
        assert sdr(first, mixed.sources[0]) > 8
