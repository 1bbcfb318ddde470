"""Fixed pyramid pools against the adaptive pools of the paper."""

from __future__ import annotations

import pytest
import torch

from edgeseg.models.blocks.layers import Resize
from edgeseg.models.blocks.pyramid_pooling import fixed_bins, resize_factor

BINS = (1, 2, 3, 6)


@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("cells", [6, 12, 18, 24])
def test_bins_that_divide_give_the_adaptive_pool(cells: int, bins: int) -> None:
    x = torch.randn(1, 4, cells, cells, generator=torch.Generator().manual_seed(0))
    used, kernel, stride = fixed_bins(cells, bins)
    assert used == bins
    expected = torch.nn.functional.adaptive_avg_pool2d(x, bins)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(x, kernel, stride), expected)


@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("cells", range(1, 65))
def test_windows_are_equal_reach_both_ends_and_overlap_by_less_than_half(cells: int, bins: int) -> None:
    used, kernel, stride = fixed_bins(cells, bins)
    assert (used - 1) * stride + kernel == cells
    assert used <= cells
    assert abs(used - min(cells, bins)) <= 2
    assert (used == 1) == (min(cells, bins) == 1)
    # Neighbours share at most half of a window, so that each bin mostly sees its own part of the image.
    assert kernel <= 2 * stride


@pytest.mark.parametrize("cells", range(1, 65))
def test_resize_returns_to_the_grid(cells: int) -> None:
    for bins in range(1, min(cells, 8) + 1):
        resized = Resize(resize_factor(cells, bins=bins), 1.0)(torch.zeros(1, 1, bins, 1))
        assert resized.shape == (1, 1, cells, 1)


def test_the_documented_example() -> None:
    assert fixed_bins(16, 6) == (4, 4, 4)
