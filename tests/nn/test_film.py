from __future__ import annotations

import torch

from soundsieve.nn.film import FiLM


def test_scales_and_shifts_every_channel_by_hand() -> None:
    film = FiLM(2, 1)
    with torch.no_grad():
        film.gamma.weight.copy_(torch.tensor([[1.0], [0.0]]))  # gamma = [1 + e, 1]
        film.beta.weight.copy_(torch.tensor([[0.0], [5.0]]))  # beta = [0, 5 e]
    x = torch.tensor([3.0, 4.0]).expand(1, 2, 2, 2)
    torch.testing.assert_close(film(x, torch.tensor([[2.0]])), torch.tensor([9.0, 14.0]).expand(1, 2, 2, 2))


def test_a_zero_embedding_leaves_a_new_layer_the_identity() -> None:
    x = torch.randn(2, 3, 4, 8)
    torch.testing.assert_close(FiLM(8, 5)(x, torch.zeros(2, 5)), x)


def test_each_example_has_its_own_query() -> None:
    film, x, e = FiLM(8, 5), torch.randn(2, 3, 8), torch.randn(2, 5)
    both = film(x, e)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], film(x[i : i + 1], e[i : i + 1]))
