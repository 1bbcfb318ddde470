"""Each term of distillation against a case worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from edgeseg.compress.distill import losses as terms
from edgeseg.compress.distill.recipe import DistillRecipe, FeaturePair
from edgeseg.core.records import decode_record
from edgeseg.errors import RecipeError

# KL((3/4, 1/4) || (1/2, 1/2))
DIVERGENCE = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
TERMS = {
    "logits": lambda s, t, m: terms.logits_kd(s, t, mask=m, temperature=2.0),
    "channels": lambda s, t, m: terms.channel_wise(s, t, mask=m, temperature=2.0),
    "features": lambda s, t, m: terms.features(s, t, mask=m),
    "pairs": lambda s, t, m: terms.pairwise(s, t, mask=m, pool=2),
    "pixels": lambda s, t, m: terms.batch_pixels(s, t, mask=m, pool=2, temperature=0.1),
}


def maps(*images: list[list[float]]) -> Tensor:
    """Return (N, C, 1, w) from the rows of each channel."""
    return torch.tensor(images)[:, :, None, :]


def all_of(item: Tensor) -> Tensor:
    return torch.ones(item.shape[0], *item.shape[2:], dtype=torch.bool)


def test_logits_kd_is_the_divergence_of_a_pixel_times_t_squared() -> None:
    teacher = maps([[2 * math.log(3)], [0.0]])  # at temperature 2: (3/4, 1/4)
    found = terms.logits_kd(torch.zeros(1, 2, 1, 1), teacher, mask=all_of(teacher), temperature=2.0)
    assert float(found) == pytest.approx(4 * DIVERGENCE, rel=1e-5)


def test_channel_wise_compares_where_each_channel_looks() -> None:
    far = 2 * math.log(3)
    # Channel 0 looks left in the first image; channel 1 and the second image are the student's own.
    teacher = maps([[far, 0.0], [5.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]])
    found = terms.channel_wise(torch.zeros(2, 2, 1, 2), teacher, mask=all_of(teacher), temperature=2.0)
    assert float(found) == pytest.approx(4 / 2 * DIVERGENCE / 2, rel=1e-5)


def test_features_are_the_mean_square() -> None:
    found = terms.features(maps([[1.0], [2.0]]), maps([[0.0], [0.0]]), mask=torch.ones(1, 1, 1, dtype=torch.bool))
    assert float(found) == 2.5


def test_pairwise_compares_cosines_of_nodes() -> None:
    student = maps([[1.0, 0.0], [0.0, 7.0]])  # two nodes at a right angle
    teacher = maps([[3.0, 1.0]])  # one direction: another number of channels, and cosines of 1
    assert float(terms.pairwise(student, teacher, mask=all_of(student), pool=1)) == pytest.approx(2 / 4)


def test_batch_pixels_compare_relations_across_images() -> None:
    student, teacher = maps([[1.0, 0.0], [0.0, 1.0]]), maps([[1.0, 1.0], [0.0, 0.0]])
    near = 1 / (1 + math.exp(-1))  # softmax of (1, 0)
    expected = 0.5 * math.log(0.5 / near) + 0.5 * math.log(0.5 / (1 - near))
    for copies in (1, 3):
        s, t = student.repeat(copies, 1, 1, 1), teacher.repeat(copies, 1, 1, 1)
        found = terms.batch_pixels(s, t, mask=all_of(s), pool=1, temperature=1.0)
        assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_zero_at_the_teacher_and_deaf_to_padding(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(2, 3, 6, 7, generator=generator) for _ in range(2))
    mask = torch.zeros(2, 6, 7, dtype=torch.bool)
    mask[:, 1:5, :4] = True
    value = TERMS[name](student, teacher, mask)
    assert float(TERMS[name](teacher, teacher, mask)) == pytest.approx(0, abs=1e-6)
    assert float(value) > 1e-3
    altered = torch.where(mask[:, None], student, 100.0)
    assert float(TERMS[name](altered, teacher, mask)) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_an_image_of_padding_alone_has_a_finite_gradient(name: str) -> None:
    student = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = TERMS[name](student, torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool))
    value.backward()
    assert float(value.detach()) == 0
    assert student.grad is not None
    assert bool((student.grad == 0).all())


def test_the_teacher_has_effect_from_start_and_fades() -> None:
    recipe = DistillRecipe(teachers=("x",), start=0.25, fade_from=0.5)
    assert [recipe.fade(step=step, steps=8) for step in range(8)] == [0, 0, 1, 1, 1, 0.75, 0.5, 0.25]
    assert {DistillRecipe(teachers=("x",)).fade(step=step, steps=8) for step in range(8)} == {1.0}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"teachers": []}, "teachers is empty"),
        ({"teachers": ["x"], "logits": 0}, "would have no effect"),
        ({"teachers": ["x"], "temperatur": 2.0}, 'Did you mean "temperature"'),
        ({"teachers": ["x"], "fade_from": 1.5}, "fade_from from start to 1"),
        ({"teachers": ["x"], "features": [{"student": "a", "teacher": "b"}]}, "features need live = true"),
    ],
)
def test_settings_that_cannot_work_are_refused(table: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        decode_record(DistillRecipe, table, where="distill")


def test_features_come_from_a_table_each() -> None:
    table = {"teachers": ["x"], "live": True, "features": [{"student": "a", "teacher": "b", "weight": 2}]}
    assert decode_record(DistillRecipe, table, where="distill").features == (
        FeaturePair(student="a", teacher="b", weight=2.0),
    )
