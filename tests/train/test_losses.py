"""Every loss against a case worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeseg.core.records import decode_record
from edgeseg.data import Sample
from edgeseg.train.class_weights import class_weights
from edgeseg.train.losses import border_map, boundary, cross_entropy, dice, focal, lovasz, tversky
from edgeseg.train.objective import Objective, at_pixels
from edgeseg.train.recipe import LossRecipe

LOSSES = [cross_entropy, focal, dice, lovasz, tversky]


def pixels(*probabilities: tuple[float, ...]) -> Tensor:
    """Return logits (1, C, 1, n) whose softmax is the given probabilities."""
    return torch.tensor(probabilities).log().T[None, :, None, :]


def labels(*values: int) -> Tensor:
    return torch.tensor(values)[None, None, :]


def test_cross_entropy_is_the_weighted_mean_of_minus_log_p() -> None:
    logits, truth = pixels((0.5, 0.5), (0.25, 0.75), (0.9, 0.1)), labels(0, 1, 255)
    plain = cross_entropy(logits, truth, ignore_index=255)
    assert float(plain) == pytest.approx((math.log(2) - math.log(0.75)) / 2)
    weighted = cross_entropy(logits, truth, ignore_index=255, weights=torch.tensor([1.0, 3.0]))
    assert float(weighted) == pytest.approx((math.log(2) - 3 * math.log(0.75)) / 4)


def test_cross_entropy_agrees_with_pytorch() -> None:
    torch.manual_seed(0)
    logits, truth, weights = torch.randn(2, 5, 6, 7), torch.randint(0, 5, (2, 6, 7)), torch.rand(5)
    truth[0, :2] = 255
    expected = F.cross_entropy(logits, truth, weight=weights, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, truth, ignore_index=255, weights=weights), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_classes_that_weigh_nothing_is_nothing(smoothing: float) -> None:
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    truth, weights = torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([0.0, 1.0])
    loss = cross_entropy(logits, truth, ignore_index=255, weights=weights, smoothing=smoothing)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_ohem_keeps_the_hardest_share() -> None:
    logits, truth = pixels((0.9, 0.1), (0.2, 0.8), (0.6, 0.4), (0.1, 0.9)), labels(0, 0, 0, 255)
    kept = cross_entropy(logits, truth, ignore_index=255, ohem_share=1 / 3)
    assert float(kept) == pytest.approx(-math.log(0.2))


def test_ohem_keeps_pixels_below_the_threshold_too() -> None:
    logits, truth = pixels((0.9, 0.1), (0.2, 0.8), (0.6, 0.4)), labels(0, 0, 0)
    kept = cross_entropy(logits, truth, ignore_index=255, ohem_share=1 / 3, ohem_threshold=0.7)
    assert float(kept) == pytest.approx(-(math.log(0.2) + math.log(0.6)) / 2)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_has_a_gradient_where_the_net_is_sure(gamma: float) -> None:
    logits = torch.tensor([[60.0], [-60.0]]).reshape(1, 2, 1, 1).requires_grad_()
    focal(logits, torch.zeros(1, 1, 1, dtype=torch.int64), ignore_index=255, gamma=gamma).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_focal_of_classes_that_weigh_nothing_is_nothing() -> None:
    logits, truth = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    assert float(focal(logits, truth, ignore_index=255, gamma=2.0, weights=torch.tensor([0.0, 1.0]))) == 0.0


def test_focal_scales_each_pixel_by_one_minus_p_to_gamma() -> None:
    logits, truth = pixels((0.5, 0.5), (0.25, 0.75)), labels(0, 1)
    expected = (0.5**2 * math.log(2) - 0.25**2 * math.log(0.75)) / 2
    assert float(focal(logits, truth, ignore_index=255, gamma=2.0)) == pytest.approx(expected)
    without = focal(logits, truth, ignore_index=255, gamma=0.0)
    torch.testing.assert_close(without, cross_entropy(logits, truth, ignore_index=255))


def test_dice_by_hand() -> None:
    # Class 0: p = 0.8, 0.4, y = 1, 0: 2 * 0.8 / (0.64 + 0.16 + 1). Class 1: p = 0.2, 0.6, y = 0, 1.
    logits, truth = pixels((0.8, 0.2), (0.4, 0.6), (0.1, 0.9)), labels(0, 1, 255)
    expected = 1 - (1.6 / 1.8 + 1.2 / 1.4) / 2
    assert float(dice(logits, truth, ignore_index=255)) == pytest.approx(expected)


def test_tversky_by_hand() -> None:
    # Class 0: TP 0.8, FP 0.4, FN 0.2. Class 1: TP 0.6, FP 0.2, FN 0.4. The third pixel is ignored.
    logits, truth = pixels((0.8, 0.2), (0.4, 0.6), (0.1, 0.9)), labels(0, 1, 255)
    first, second = 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2), 0.6 / (0.6 + 0.3 * 0.2 + 0.7 * 0.4)
    assert float(tversky(logits, truth, ignore_index=255)) == pytest.approx(1 - (first + second) / 2)


def test_borders_lie_beside_another_class_but_not_beside_ignored_pixels() -> None:
    truth = torch.tensor([[[0, 0, 0, 2, 2, 255, 7, 7]]])
    assert border_map(truth, ignore_index=255).tolist() == [[[0, 0, 1, 1, 0, -1, 0, 0]]]
    assert border_map(truth, ignore_index=255, width=2).tolist() == [[[0, 1, 1, 1, 1, -1, 1, 0]]]


def test_boundary_loss_by_hand() -> None:
    # One border pixel of p = 0.8 and three others of p = 0.25; the last pixel is ignored.
    logits = torch.logit(torch.tensor([0.8, 0.25, 0.25, 0.25, 0.9]))[None, None, None, :]
    borders = torch.tensor([[[1, 0, 0, 0, -1]]])
    entropy = (0.75 * -math.log(0.8) + 3 * 0.25 * -math.log(0.75)) / 4
    overlap = (2 * 0.8 + 1) / (0.8**2 + 3 * 0.25**2 + 1 + 1)
    assert float(boundary(logits, borders)) == pytest.approx(entropy + 1 - overlap)


@pytest.mark.parametrize("value", [-1, 0])
def test_boundary_loss_of_an_image_without_borders_is_no_nan(value: int) -> None:
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = boundary(logits, torch.full((1, 4, 4), value))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_objective_trains_a_boundary_head_on_borders() -> None:
    torch.manual_seed(0)
    recipe = decode_record(LossRecipe, {"boundary": 3.0, "stride": 2}, where="r")
    logits, head, truth = torch.randn(2, 3, 8, 8), torch.randn(2, 1, 8, 8), torch.randint(0, 3, (2, 8, 8))
    borders = border_map(truth, ignore_index=255)[:, ::2, ::2]
    objective = Objective(recipe=recipe, ignore_index=255)
    expected = objective((logits,), truth) + 3.0 * boundary(head[..., ::2, ::2], borders)
    torch.testing.assert_close(objective((logits, head), truth), expected)


def counted(*pixels_of_each: tuple[int, ...]) -> list[Sample]:
    """Return one sample an item, with that many pixels of each class."""
    maps = [np.repeat(np.arange(len(item)), item)[None].astype(np.uint8) for item in pixels_of_each]
    return [Sample(id=str(index), image=np.zeros((*x.shape, 3), np.uint8), labels=x) for index, x in enumerate(maps)]


@pytest.mark.parametrize(
    ("rule", "ratio"),
    # 60 pixels of class 0 in both images, 20 of class 1 in one of 50 pixels: its frequencies are 0.75 and 0.4.
    [
        ("inverse", 60 / 20),
        ("median-frequency", 0.75 / 0.4),
        ("enet", math.log(1.02 + 0.75) / math.log(1.02 + 0.25)),
        ("effective-number", (1 - (1 - 1 / 80) ** 60) / (1 - (1 - 1 / 80) ** 20)),
    ],
)
def test_class_weights_by_hand(rule: str, ratio: float) -> None:
    recipe = decode_record(LossRecipe, {"class_weights": rule}, where="r")
    found = class_weights(recipe, counted((30, 20, 0), (30, 0, 0)), classes=("a", "b", "c"), ignore_index=255)
    assert found is not None
    assert found[1] / found[0] == pytest.approx(ratio)
    assert found[2] == 0
    assert 60 * found[0] + 20 * found[1] == pytest.approx(80)


@pytest.mark.parametrize("rule", ["inverse", "median-frequency", "enet", "effective-number"])
def test_class_weights_are_bounded_and_never_nan(rule: str) -> None:
    recipe = decode_record(LossRecipe, {"class_weights": rule, "class_weight_limit": 10.0}, where="r")
    found = class_weights(recipe, counted((99_999, 1)), classes=("a", "b"), ignore_index=255)
    assert found is not None
    assert 1 < found[1] / found[0] <= 10.0001
    none = class_weights(recipe, [], classes=("a", "b"), ignore_index=255)
    assert none is not None
    assert not none.any()


def test_lovasz_by_hand() -> None:
    # Class 0: errors 0.7 (its own pixel), 0.6 (foreign), 0.1 (its own). The Jaccard loss grows 1/2, 2/3, 1.
    # Class 1: errors the same, its one own pixel second: the Jaccard loss grows 1/2, 1, 1.
    logits, truth = pixels((0.3, 0.7), (0.6, 0.4), (0.9, 0.1)), labels(0, 1, 0)
    first = 0.7 * 1 / 2 + 0.6 * 1 / 6 + 0.1 * 1 / 3
    second = 0.7 * 1 / 2 + 0.6 * 1 / 2 + 0.1 * 0
    assert float(lovasz(logits, truth, ignore_index=255)) == pytest.approx((first + second) / 2)


def test_lovasz_of_certain_answers_is_one_minus_the_iou() -> None:
    # Class 0: 1 hit of a union of 2; class 1: 2 hits of a union of 3.
    logits = torch.tensor([[[[60.0, -60.0, -60.0, -60.0]], [[-60.0, 60.0, 60.0, 60.0]]]])
    loss = lovasz(logits, labels(0, 0, 1, 1), ignore_index=255)
    assert float(loss) == pytest.approx(1 - (1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_but_ignored_pixels_gives_zero_and_a_gradient(loss: object) -> None:
    assert callable(loss)
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    value = loss(logits, torch.full((1, 2, 2), 255), ignore_index=255)
    value.backward()
    assert float(value.detach()) == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_ignored_pixels_have_no_gradient(loss: object) -> None:
    assert callable(loss)
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 1, 4, requires_grad=True)
    loss(logits, labels(0, 1, 2, 255), ignore_index=255).backward()
    assert logits.grad is not None
    assert logits.grad[..., :3].abs().sum() > 0
    assert not logits.grad[..., 3].any()


@pytest.mark.parametrize(("stride", "offset"), [(1, (0, 0)), (3, (2, 1))])
def test_logits_at_pixels_are_those_of_a_bilinear_resize(stride: int, offset: tuple[int, int]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 12)
    whole = F.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False)
    expected = whole[:, :, offset[0] :: stride, offset[1] :: stride]
    torch.testing.assert_close(at_pixels(logits, size=(64, 96), offset=offset, stride=stride), expected)


def test_the_objective_adds_its_terms_and_the_auxiliary_heads() -> None:
    torch.manual_seed(0)
    recipe = decode_record(
        LossRecipe, {"dice": 0.5, "lovasz": 2.0, "focal": 1.5, "aux": 0.25, "lovasz_stride": 1}, where="r"
    )
    logits, aux, truth = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 2, 2), torch.randint(0, 3, (2, 8, 8))
    fine, coarse = (F.interpolate(x, size=(8, 8), mode="bilinear") for x in (logits, aux))
    expected = (
        cross_entropy(fine, truth, ignore_index=255)
        + 0.5 * dice(fine, truth, ignore_index=255)
        + 2.0 * lovasz(fine, truth, ignore_index=255)
        + 1.5 * focal(fine, truth, ignore_index=255)
        + 0.25 * cross_entropy(coarse, truth, ignore_index=255)
    )
    found = Objective(recipe=recipe, ignore_index=255)((logits, aux), truth.to(torch.uint8))
    torch.testing.assert_close(found, expected)
