from __future__ import annotations

import torch

from soundsieve.nn.masknet import MaskNet


def net() -> MaskNet:
    torch.manual_seed(0)
    return MaskNet(9, 4, width=8, layers=2, heads=2, dropout=0.1).eval()


def test_a_mask_lies_between_0_and_1() -> None:
    mask = net()(100 * torch.rand(2, 9, 7), 100 * torch.randn(2, 7, 4))
    assert mask.shape == (2, 9, 7)
    assert ((mask >= 0) & (mask <= 1)).all()


def test_frames_have_no_places() -> None:
    """The transformer has no positions: frames in another order give the same masks in that order."""
    magnitude, features, order = torch.rand(2, 9, 7), torch.randn(2, 7, 4), torch.randperm(7)
    torch.testing.assert_close(
        net()(magnitude[:, :, order], features[:, order]), net()(magnitude, features)[:, :, order]
    )


def test_every_frame_is_heard() -> None:
    features = torch.randn(1, 7, 4, requires_grad=True)
    net()(torch.rand(1, 9, 7), features)[0, :, 0].sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().sum(-1) > 0).all()
