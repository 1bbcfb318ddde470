"""Learning rate, moving average, class weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from edgeseg.data import Sample
from edgeseg.errors import RecipeError
from edgeseg.train.class_weights import class_weights
from edgeseg.train.ema import WeightAverage
from edgeseg.train.recipe import LossRecipe, ScheduleRecipe
from edgeseg.train.schedule import rate_factor


def test_the_rate_warms_up_then_falls_as_a_power() -> None:
    recipe = ScheduleRecipe(epochs=10, warmup_epochs=1.0, power=0.9)
    factors = [rate_factor(step, steps=100, steps_per_epoch=10, recipe=recipe) for step in range(100)]
    assert factors[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert max(factors) == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5**0.9)
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))
    assert 0 < factors[99] < 0.02


def test_the_average_follows_its_recurrence() -> None:
    net = nn.BatchNorm1d(1)
    average = WeightAverage(net, decay=0.5)
    expected = 1.0
    for step, weight in enumerate((2.0, 5.0, -1.0)):
        nn.init.constant_(net.weight, weight)
        net.state_dict()["num_batches_tracked"].add_(1)
        average.update(net, step=step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    found = average.net.state_dict()
    assert float(found["weight"]) == pytest.approx(expected)
    assert int(found["num_batches_tracked"]) == 3
    assert not average.net.training


def test_an_average_without_decay_is_the_net_itself() -> None:
    net = nn.Linear(2, 2)
    average = WeightAverage(net, decay=0.0)
    nn.init.normal_(net.weight)
    average.update(net, step=5)
    torch.testing.assert_close(average.net.state_dict()["weight"], net.weight.detach())


def sample(*counts: int) -> Sample:
    values = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)[None]
    return Sample(id="x", image=np.zeros((*values.shape, 3), np.uint8), labels=values)


def test_median_frequency_by_hand() -> None:
    # Class 0: 9 of 20 pixels; class 1: 9 of 20; class 2 stands in the second image alone: 2 of 10.
    samples = [sample(5, 5), sample(4, 4, 2)]
    found = class_weights(
        LossRecipe(class_weights="median-frequency"), samples, classes=("a", "b", "c", "d"), ignore_index=255
    )
    raw = np.array([1.0, 1.0, 0.45 / 0.2, 0.0])
    assert found == pytest.approx(raw / ((9 + 9 + 2 * 2.25) / 20))


def test_enet_by_hand() -> None:
    found = class_weights(LossRecipe(class_weights="enet"), [sample(9, 1)], classes=("a", "b"), ignore_index=255)
    raw = 1 / np.log([1.02 + 0.9, 1.02 + 0.1])
    assert found == pytest.approx(raw / (0.9 * raw[0] + 0.1 * raw[1]))


def test_a_power_softens_the_weights() -> None:
    recipe = LossRecipe(class_weights="median-frequency", class_weight_power=0.5)
    found = class_weights(recipe, [sample(8, 2)], classes=("a", "b"), ignore_index=255)
    assert found is not None
    assert found[1] / found[0] == pytest.approx(2.0)


def test_given_weights_need_one_for_each_class() -> None:
    with pytest.raises(RecipeError, match="has 2 values for 3 classes"):
        class_weights(LossRecipe(class_weights=(1.0, 2.0)), [], classes=("a", "b", "c"), ignore_index=255)


def test_a_cosine_falls_to_zero_and_a_cycle_rises_first() -> None:
    cosine = ScheduleRecipe(epochs=10, warmup_epochs=0.0, shape="cosine")
    assert [rate_factor(step, steps=100, steps_per_epoch=10, recipe=cosine) for step in (0, 50, 100)] == pytest.approx(
        [1, 0.5, 0], abs=1e-9
    )
    cycle = ScheduleRecipe(epochs=10, warmup_epochs=3.0, shape="one-cycle")
    factors = [rate_factor(step, steps=100, steps_per_epoch=10, recipe=cycle) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 25)
    assert factors[15] == pytest.approx((1 + 1 / 25) / 2)
    assert max(factors) == factors[30] == 1
    assert factors[65] == pytest.approx(0.5)
