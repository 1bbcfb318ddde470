"""Each selection kind on candidates of which the right choice can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeseg.calibration.selecting import selection_kind
from edgeseg.calibration.selections import SeenImage
from edgeseg.core import registry
from edgeseg.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Sequence


def candidate(pixels: Sequence[int] = (1, 1), *, features: Sequence[float] = (0.0,), entropy: float = 0.0) -> SeenImage:
    counts = np.array(pixels)
    return SeenImage(
        class_pixels=counts, probabilities=counts / counts.sum(), features=np.array(features), entropy=entropy
    )


def test_random_takes_them_as_drawn() -> None:
    assert selection_kind("random").choose([candidate()] * 5, count=3) == [0, 1, 2]


def test_mixed_covers_the_rare_class_with_its_second_half() -> None:
    shown = [candidate((9, 0)), candidate((9, 0)), candidate((8, 1)), candidate((1, 8))]
    assert selection_kind("mixed").choose(shown, count=2) == [0, 3]


def test_stratified_takes_as_many_of_each_kind_of_scene_the_rarest_first() -> None:
    """Three road scenes, two with trees, one with a person: the person, then a tree, then a road, and so on."""
    road, tree, person = (8, 1, 0), (4, 5, 0), (7, 1, 1)
    shown = [candidate(pixels) for pixels in (road, road, tree, road, tree, person)]
    assert selection_kind("stratified").choose(shown, count=4) == [5, 2, 0, 4]
    assert sorted(selection_kind("stratified").choose(shown, count=9)) == [0, 1, 2, 3, 4, 5]


def test_coreset_takes_those_furthest_from_all_that_are_taken() -> None:
    """On a line at 0, 1, 2, 3 and 10 the mean is 3.2: first 3, then 10, then 0."""
    shown = [candidate(features=(place,)) for place in (0.0, 1.0, 2.0, 3.0, 10.0)]
    assert selection_kind("coreset").choose(shown, count=3) == [3, 4, 0]


def test_hardest_takes_those_of_which_the_model_is_least_sure() -> None:
    shown = [candidate(entropy=share) for share in (0.2, 0.9, 0.1, 0.5)]
    assert selection_kind("hardest").choose(shown, count=2) == [1, 3]


@pytest.mark.parametrize("name", registry.names("selections"))
def test_every_kind_takes_each_at_most_once_and_never_more_than_asked(name: str) -> None:
    kind = selection_kind(name)
    rng = np.random.default_rng(0)
    shown = [
        candidate(rng.integers(1, 50, 4), features=rng.normal(size=3), entropy=float(rng.random())) for _ in range(11)
    ]
    assert kind.identity
    assert kind.summary
    for count in (1, 4, 11, 20):
        found = kind.choose(shown, count=count)
        assert len(found) == len(set(found)) == min(count, 11)
    assert kind.choose([], count=3) == []


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match='Did you mean "coreset"'):
        selection_kind("core-set")
