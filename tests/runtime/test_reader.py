"""Smoothing, regions and uncertainty: what stands between the engine's output and the labels."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.errors import InputError, UnknownName
from edgeseg.pixels import softmax
from edgeseg.runtime import Session, load
from edgeseg.runtime.frames.frame_processor import FrameProcessor, Region, region_of
from edgeseg.runtime.frames.temporal_smoothing import Exponential, Vote, smoother_of
from edgeseg.runtime.frames.uncertainty import spread, uncertainty_kind, uncertainty_of
from edgeseg.runtime.sinks.overlay import Overlay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with load(tiny.make_artifact(tmp_path / "artifact").folder, threads=1) as found:
        yield found


def read(reader: FrameProcessor, image: np.ndarray) -> np.ndarray:
    output = reader.session.infer(reader.prepare(image))
    return reader.read(output, size=(image.shape[0], image.shape[1])).labels


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_exponential_smoothing_is_the_running_mean(dtype: type) -> None:
    frames = np.random.default_rng(0).integers(-50, 50, (6, 20, 4)).astype(dtype)
    smoother = Exponential(0.6)
    expected = frames[0].astype(np.float64)
    smoother.smooth(frames[0], scale=1)
    for frame in frames[1:]:
        expected = 0.6 * expected + 0.4 * frame
        found = smoother.smooth(frame, scale=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert smoother.lag_frames == pytest.approx(1.5)


def test_a_vote_keeps_the_class_until_another_won_often_enough_or_by_far() -> None:
    a, b, far = (np.array([row], np.float32) for row in ((2, 1, 0), (1, 2, 0), (0, 9, 0)))
    vote = Vote(3, margin=4.0)
    won = [int(vote.smooth(frame, scale=1).argmax()) for frame in (a, b, b, a, b, b, b, a)]
    assert won == [0, 0, 0, 0, 0, 0, 1, 1]
    vote = Vote(3, margin=4.0)
    assert [int(vote.smooth(frame, scale=1).argmax()) for frame in (a, far)] == [0, 1]
    vote = Vote(3, margin=4.0)
    # The same numbers as quantized logits of a small scale lead by little.
    assert [int(vote.smooth(frame, scale=0.1).argmax()) for frame in (a, far)] == [0, 0]


def test_a_vote_leaves_the_engines_output_alone() -> None:
    first, second = np.array([[2, 1]], np.int8), np.array([[1, 2]], np.int8)
    vote = Vote(5)
    vote.smooth(first, scale=1)
    assert (vote.smooth(second, scale=1) == [[2, 1]]).all()
    assert (second == [[1, 2]]).all()


def test_smoothing_that_makes_no_sense_is_refused() -> None:
    for text in ("exp", "exp:1", "exp:-1", "exp:x", "exp:nan", "vote:0", "vote:2.5", "vote:2:0", "vote:1:2:3"):
        with pytest.raises(InputError):
            smoother_of(text)


def test_a_misspelt_smoothing_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match='"vote"'):
        smoother_of("vots:3")
    with pytest.raises(UnknownName, match='"margin"'):
        uncertainty_kind("margins")
    assert smoother_of(None) is None


def test_on_a_still_image_smoothing_changes_nothing(session: Session) -> None:
    image = tiny.image()
    plain = session.segment(image)
    for text in ("exp:0.6", "vote:3"):
        reader = FrameProcessor(session, smoother=smoother_of(text))
        for _ in range(4):
            assert (read(reader, image) == plain).mean() > 0.999


def test_smoothing_takes_flicker_out_of_noise(session: Session) -> None:
    rng, image = np.random.default_rng(1), tiny.image().astype(np.float32)
    noisy = [np.clip(image + rng.normal(0, 40, image.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    changes = {}
    for text in ("none", "exp:0.6", "vote:3"):
        reader = FrameProcessor(session, smoother=smoother_of(text))
        maps = [read(reader, frame) for frame in noisy]
        changes[text] = np.mean([(a != b).mean() for a, b in itertools.pairwise(maps[4:])])
    assert changes["exp:0.6"] < 0.7 * changes["none"]
    assert changes["vote:3"] < 0.9 * changes["none"]


def test_a_region_is_segmented_alone_and_the_rest_is_ignored_and_drawn_untouched(session: Session) -> None:
    image = tiny.image(size=(100, 160))
    labels = read(FrameProcessor(session, region=Region(x=20, y=10, width=96, height=64)), image)
    assert np.array_equal(labels[10:74, 20:116], session.segment(np.ascontiguousarray(image[10:74, 20:116])))
    outside = np.ones(labels.shape, bool)
    outside[10:74, 20:116] = False
    assert (labels[outside] == 255).all()
    big, marks = np.full((360, 480, 3), 90, np.uint8), np.full((360, 480), 255, np.uint8)
    marks[:, :240] = 1
    drawn = Overlay(tiny.CLASSES, palette=tiny.PALETTE).draw(big, marks)
    assert (drawn[100, 300] == 90).all()
    assert (drawn[100, 100] != 90).any()


def test_a_region_is_cut_to_the_frame_or_refused(session: Session) -> None:
    assert (
        read(FrameProcessor(session, region=Region(x=60, y=40, width=900, height=900)), tiny.image()).shape == tiny.SIZE
    )
    with pytest.raises(InputError, match="outside"):
        read(FrameProcessor(session, region=Region(x=900, y=0, width=9, height=9)), tiny.image())
    for text in ("1,2,3", "0,0,0,5", "a,b,c,d", "-1,0,5,5"):
        with pytest.raises(InputError, match="roi"):
            region_of(text)


def test_labels_are_decoded_at_the_displays_size(session: Session) -> None:
    labels = read(FrameProcessor(session), tiny.image(size=(200, 300)))
    assert labels.shape == (200, 300)
    blocks = labels[:198, :].reshape(66, 3, 300)
    assert (blocks != blocks[:, :1]).any()  # borders run through blocks: nothing was upscaled from the input's size


def test_doubt_is_highest_between_classes_and_falls_with_certainty() -> None:
    cells = np.array([[10, 0, 0], [1, 1, 0], [0, 0, 0]], np.float32)
    for kind in ("margin", "entropy"):
        sure, torn, lost = uncertainty_of(cells, scale=1.0, temperature=1.0, kind=kind)
        assert sure < 0.01 < torn <= lost + 1e-6
        assert lost == pytest.approx(1.0)
    warm = uncertainty_of(cells[:1], scale=1.0, temperature=4.0, kind="margin")
    assert warm > uncertainty_of(cells[:1], scale=1.0, temperature=1.0, kind="margin")
    np.testing.assert_allclose(softmax(cells.astype(np.float32), axis=-1).sum(axis=-1), 1, rtol=1e-6)


def test_doubt_is_spread_over_the_image_and_drawn(session: Session) -> None:
    spec = session.artifact.manifest.spec
    coarse = np.zeros((8, 12), np.float32)
    coarse[:, 6:] = 1
    grey = spread(coarse, preprocess=spec.preprocess, input_size=(64, 96), size=(128, 192))
    assert grey.shape == (128, 192)
    assert grey[:, :80].max() == 0
    assert grey[:, 112:].min() == 255
    image = np.full((128, 192, 3), 50, np.uint8)
    drawn = Overlay(spec.classes, palette=spec.palette).draw(image, np.zeros((128, 192), np.uint8), uncertainty=grey)
    assert drawn[40, 150].min() == 255 > drawn[40, 20].max()
    reading = FrameProcessor(session, uncertainty="entropy")
    found = reading.read(session.infer(session.preprocess(tiny.image())), size=tiny.SIZE)
    assert found.uncertainty is not None
    assert found.uncertainty.shape == found.labels.shape
