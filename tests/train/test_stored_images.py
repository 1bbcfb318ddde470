"""A checkpoint takes along a few images of its own kind, where their licence allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeseg.data import Sample
from edgeseg.data.licence import read_licence
from edgeseg.deploy.proof_images import proof_images
from edgeseg.train.stored_images import STORED, store_images

if TYPE_CHECKING:
    from pathlib import Path


def samples(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(count)]
    return [Sample(id=str(index), image=image, labels=image[..., 0]) for index, image in enumerate(images)]


def test_the_stored_images_are_what_a_conversion_is_proven_on(tmp_path: Path) -> None:
    own = samples(9)
    store_images(tmp_path, own, name="nuclei", licence="CC0-1.0")
    found = proof_images(data=None, calibration=None, calibrated_on=None, trained_on="nuclei", checkpoint=tmp_path)
    assert (len(found.images), found.in_domain, found.source) == (STORED, True, "the checkpoint's own")
    assert np.array_equal(found.images[0], own[0].image)
    assert np.array_equal(found.images[-1], own[-1].image)
    assert read_licence(tmp_path / "proof") == "CC0-1.0"


@pytest.mark.parametrize(
    ("name", "licence"),
    [("camvid", "CC-BY-NC-4.0"), ("mine", "unknown"), ("papers", "CC-BY-ND-4.0"), ("streets", "Apache-2.0")],
)
def test_images_that_may_not_be_passed_on_are_not(name: str, licence: str, tmp_path: Path) -> None:
    store_images(tmp_path, samples(4), name=name, licence=licence)
    assert not (tmp_path / "proof").exists()
