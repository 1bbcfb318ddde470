"""Tiles: an image of any size, cut, averaged and put together again as if it had been one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.errors import InputError
from edgeseg.pixels import decode, probabilities
from edgeseg.runtime import Session, load
from edgeseg.runtime.tiles.plan import Tiling, make_plan
from edgeseg.runtime.tiles.seams import measure_seams
from edgeseg.runtime.tiles.segment import segment_tiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("tiny") / "a"
    tiny.make_artifact(folder, file_format="onnx")
    with load(folder, threads=1) as opened:
        yield opened


@pytest.mark.parametrize("tile", ["auto", "off", (64, 96), (200, 200)])
def test_an_image_that_fits_one_tile_is_segmented_as_ever(session: Session, tile: object) -> None:
    image = tiny.image((60, 90))
    done = segment_tiled(session, image, tiling=Tiling(tile=tile))  # type: ignore[arg-type]
    assert np.array_equal(done.labels, session.segment(image))
    assert (done.runs, done.seams) == (1, None)


def test_the_average_of_one_view_is_that_view(session: Session) -> None:
    image = tiny.image((70, 100))
    planes = np.log(probabilities(session.infer(session.preprocess(image)), session.output, classes=4))
    mean = TensorSpec(name="mean", shape=(1, *planes.shape), dtype="float32", layout="NCHW", role="logits")
    labels = decode(planes[None], tensor=mean, preprocess=Preprocess(), input_size=tiny.SIZE, size=(70, 100))
    assert np.mean(labels == session.segment(image)) > 0.9999


@pytest.mark.parametrize("size", [(64, 200), (130, 96), (137, 251), (20, 300), (300, 10), (65, 97)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_tiles_give_what_one_run_over_all_would(session: Session, size: tuple[int, int], overlap: float) -> None:
    # The tiny net looks at nothing outside a cell, so tiles cannot differ from a run over the padded image.
    image = tiny.image(size, seed=size[0])
    done = segment_tiled(session, image, tiling=Tiling(tile="auto", overlap=overlap))
    cells = [-(-side // tiny.STRIDE) for side in size]
    padded = [count * tiny.STRIDE for count in cells]
    canvas = cv2.copyMakeBorder(image, 0, padded[0] - size[0], 0, padded[1] - size[1], cv2.BORDER_REFLECT_101)
    logits = tiny.logits_of(canvas[None, :, :, ::-1]).transpose(0, 3, 1, 2)
    whole = TensorSpec(name="all", shape=logits.shape, dtype="float32", layout="NCHW", role="logits")
    wanted = decode(
        logits, tensor=whole, preprocess=Preprocess(), input_size=(padded[0], padded[1]), size=(padded[0], padded[1])
    )
    assert done.labels.shape == size
    assert np.mean(done.labels == wanted[: size[0], : size[1]]) > 0.999
    assert done.seams is not None
    assert done.seams.disagreement < 0.01


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("tile", ["off", "auto"])
@pytest.mark.parametrize("size", [(64, 96), (100, 333), (150, 40)])
def test_each_cell_is_covered_and_each_view_has_an_equal_say(resize: str, tile: str, size: tuple[int, int]) -> None:
    tiling = Tiling(tile=tile, flip=True, scales=(0.5, 1.0, 1.4))  # type: ignore[arg-type]
    preprocess = Preprocess(resize=resize)  # type: ignore[arg-type]
    plan = make_plan(size, tiling=tiling, input_size=(64, 96), cells=(8, 12), preprocess=preprocess)
    total = np.zeros((plan.rows.cells, plan.columns.cells))
    for one in plan.tiles:
        rows, columns = one.rows, one.columns
        total[rows.first :][: len(rows.weights), columns.first :][:, : len(columns.weights)] += np.outer(
            rows.weights, columns.weights
        )
    assert np.allclose(total, 6, atol=1e-4)
    firsts = [one.rows.first for one in plan.tiles]
    assert firsts == sorted(firsts)


def test_other_views_are_brought_back_to_the_image(session: Session) -> None:
    # Broad stripes are the same at every size, up to the width of a cell.
    image = np.zeros((128, 192, 3), np.uint8)
    image[:, :96], image[:, 96:] = (0, 60, 255), (255, 60, 0)
    plain = session.segment(image)
    for tiling in (Tiling(flip=True), Tiling(scales=(0.5,)), Tiling(scales=(0.75, 1.0, 1.25), flip=True)):
        assert np.mean(segment_tiled(session, image, tiling=tiling).labels == plain) > 0.95
        cut = Tiling(tile="auto", flip=tiling.flip, scales=tiling.scales)
        assert np.mean(segment_tiled(session, image, tiling=cut).labels == plain) > 0.95


def test_a_visible_seam_is_told_from_an_invisible_one() -> None:
    seams, cell_px = ((), (96,)), (8, 8)
    noise = (tiny.image((200, 192), seed=1)[:, :, 0] > 128).astype(np.uint8)
    quiet = measure_seams(noise, seams_px=seams, cell_px=cell_px, disagreement=0.0)
    noise[:, 96:] = noise[:, :95:-1]
    loud = measure_seams(noise, seams_px=seams, cell_px=cell_px, disagreement=0.0)
    assert quiet.visibility == pytest.approx(1, abs=0.35)
    assert loud.visibility is not None
    assert quiet.visibility is not None
    assert loud.visibility > 1.5 * quiet.visibility


def test_memory_holds_rows_of_tiles_and_not_the_image(session: Session, tmp_path: Path) -> None:
    import tracemalloc

    image = np.lib.format.open_memmap(tmp_path / "p.npy", mode="w+", dtype=np.uint8, shape=(3000, 500, 3))
    image[::7] = 200
    tracemalloc.start()
    done = segment_tiled(session, image, tiling=Tiling(tile="auto"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    full_size_planes = image.shape[0] * image.shape[1] * len(tiny.CLASSES) * 4
    assert done.labels.shape == (3000, 500)
    assert peak < full_size_planes / 3


@pytest.mark.parametrize(
    ("tiling", "message"),
    [
        (Tiling(overlap=1.0), "overlap is 1"),
        (Tiling(scales=(9.0,)), "scale 9"),
        (Tiling(scales=()), "scales"),
        (Tiling(scales=(1.0, 1.0)), "each once"),
        (Tiling(tile=(0, 5)), "tile is 0x5"),
    ],
)
def test_a_tiling_without_sense_is_refused(session: Session, tiling: Tiling, message: str) -> None:
    with pytest.raises(InputError, match=message):
        segment_tiled(session, tiny.image(), tiling=tiling)
