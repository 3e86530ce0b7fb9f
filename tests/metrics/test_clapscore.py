import math

import pytest
import torch

from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.metrics import clap_score, clap_score_audio

SCORES = pytest.mark.parametrize("score", [clap_score, clap_score_audio])


@SCORES
def test_is_the_cosine(score):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 2, 16, generator=generator), torch.randn(3, 2, 16, generator=generator)
    expected = torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1)
    torch.testing.assert_close(score(a, b), expected)
    torch.testing.assert_close(score(5 * a, b / 7), score(a, b))
    torch.testing.assert_close(score(a, a), torch.ones(3, 2, dtype=torch.float64))
    torch.testing.assert_close(score(a, -a), -torch.ones(3, 2, dtype=torch.float64))
    assert score(a.half(), b.half()).dtype == torch.float64
    assert score(torch.full((9,), 0.1), torch.full((9,), 0.1)).item() <= 1  # rounding does not exceed the scale


@SCORES
def test_what_points_nowhere_has_no_cosine(score):
    a = torch.ones(2, 4)
    with pytest.raises(ValueError, match="zero"):
        score(a, torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]]))
    with pytest.raises(ValueError, match="zero"):
        score(0 * a, a)
    with pytest.raises(ValueError, match="differ in shape"):
        score(a[:, 1:], a)
    spoilt = a.clone()
    spoilt[1, 0] = math.nan
    assert score(spoilt, a).isnan().tolist() == [False, True]


def test_takes_the_embeddings_of_a_clap():
    torch.manual_seed(0)
    clap = CLAP(CLAPConfig.debug()).eval()
    sound = torch.randn(2, 32000)
    with torch.no_grad():
        audio, text = clap.embed_audio(sound), clap.embed_text(["a dog", "rain"])
    assert clap_score(audio, text).shape == (2,)
    assert (clap_score(audio, text).abs() <= 1).all()
    assert clap_score_audio(audio, audio).tolist() == pytest.approx([1, 1])
