from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from soundsieve.nn.swin import (
    PatchExpanding,
    PatchMerging,
    SwinBlock,
    from_windows,
    relative_position_index,
    shift_mask,
    squeeze,
    to_windows,
    unsqueeze,
)


def test_windows_and_back() -> None:
    x = torch.arange(2 * 4 * 6 * 3).view(2, 4, 6, 3)
    windows = to_windows(x, 2)
    assert windows.shape == (2 * 6, 4, 3)
    torch.testing.assert_close(windows[1], torch.stack([x[0, 0, 2], x[0, 0, 3], x[0, 1, 2], x[0, 1, 3]]))
    torch.testing.assert_close(from_windows(windows, 2, 4, 6), x)


def test_relative_positions_of_a_window_of_two() -> None:
    # Rows of the 3 x 3 table of offsets (row, column) from (-1, -1) on; positions (0,0), (0,1), (1,0), (1,1).
    expected = torch.tensor([[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]])
    torch.testing.assert_close(relative_position_index(2), expected)


def test_shift_mask_blocks_what_the_shift_made_neighbours() -> None:
    """Two positions of a window may attend to each other only if they lay that close before the shift."""
    height, width, window, shift = 8, 12, 4, 2
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([row, column], -1)[None].roll((-shift, -shift), (1, 2))
    windows = to_windows(places, window)
    near = ((windows[:, :, None] - windows[:, None]).abs() < window).all(-1)
    torch.testing.assert_close(shift_mask(height, width, window, shift), torch.where(near, 0.0, -100.0))


def seen(block: SwinBlock, size: int, row: int, column: int) -> Tensor:
    """Which positions influence the output at one position."""
    x = torch.randn(1, size, size, 8, requires_grad=True)
    block(x)[0, row, column].sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(-1) > 1e-9


def test_a_block_sees_its_window_and_nothing_else() -> None:
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4, 4:] = True
    block = SwinBlock(8, 8, 8, heads=2, window=4, shifted=False, mlp_ratio=2)
    assert torch.equal(seen(block, 8, 1, 6), expected)


@pytest.mark.parametrize(("row", "column", "rows", "columns"), [(3, 4, (2, 6), (2, 6)), (0, 7, (0, 2), (6, 8))])
def test_a_shifted_block_sees_across_windows_but_not_around_the_edge(
    row: int, column: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[slice(*rows), slice(*columns)] = True
    block = SwinBlock(8, 8, 8, heads=2, window=4, shifted=True, mlp_ratio=2)
    assert torch.equal(seen(block, 8, row, column), expected)


def test_nothing_is_shifted_where_one_window_covers_the_map() -> None:
    block = SwinBlock(8, 4, 4, heads=2, window=8, shifted=True, mlp_ratio=2)
    assert (block.window, block.shift) == (4, 0)
    assert seen(block, 4, 0, 0).all()


@pytest.mark.parametrize("shifted", [False, True])
def test_a_batch_equals_its_parts(shifted: bool) -> None:
    block = SwinBlock(8, 8, 8, heads=2, window=4, shifted=shifted, mlp_ratio=2).eval()
    x = torch.randn(3, 8, 8, 8)
    torch.testing.assert_close(block(x), torch.cat([block(x[i : i + 1]) for i in range(3)]), atol=1e-6, rtol=1e-5)


def test_squeeze_takes_columns_after_rows() -> None:
    x = torch.tensor([[1, 2], [3, 4]]).view(1, 2, 2, 1)
    assert squeeze(x).flatten().tolist() == [1, 3, 2, 4]
    y = torch.randn(2, 4, 6, 3)
    torch.testing.assert_close(unsqueeze(squeeze(y)), y)


def test_expanding_inverts_the_order_of_merging() -> None:
    expanding, x = PatchExpanding(8), torch.randn(1, 2, 2, 8)
    expanding.norm = nn.Identity()  # type: ignore[assignment]
    torch.testing.assert_close(squeeze(expanding(x)), expanding.expansion(x))


def test_merging_and_expanding_change_size_and_channels() -> None:
    merged = PatchMerging(4)(torch.randn(2, 8, 8, 4))
    assert merged.shape == (2, 4, 4, 8)
    assert PatchExpanding(8)(merged).shape == (2, 8, 8, 4)
