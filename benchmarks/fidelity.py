"""Compares the camera loop's labels with those that `edgeseg validate` scores, frame by frame, on a labelled video.

Three scores of each artifact: `edgeseg validate` on the images of a data set's split; the same on the frames of the
video, read by OpenCV one by one; and the loop over the video. Frames against images is the cost of video
coding, the loop against frames that of the loop: none if every pixel of every frame has the same label. Frame i of the
video must be image i of the split, in sorted order.

Usage: python benchmarks/fidelity.py VIDEO DATA ARTIFACT... [--split val] [--threads N] [--within 0.5] [--json FILE]
Prints one line per artifact. Exit status 3 if the loop differs by more than `--within` points of mIoU, or by a pixel.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edgeseg.bench import measure_accuracy
from edgeseg.data import Dataset, FolderDataset, Sample
from edgeseg.errors import DatasetError
from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.runtime import Session, load, open_camera, run

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """mIoU as fractions, and the loop's difference from reading frame by frame.

    `worst_frame_points` is the largest difference of one frame's own mIoU, `other_pixels` how many labels differ.
    """

    artifact: str
    engine: str
    threads: int
    frames: int
    images_miou: float
    frames_miou: float
    loop_miou: float
    worst_frame_points: float
    other_pixels: int

    def words(self) -> str:
        """Return everything in one line."""
        return (
            f"{self.artifact} on {self.engine}, {self.frames} frames: mIoU images {100 * self.images_miou:.2f} %, "
            f"frames one by one {100 * self.frames_miou:.2f} % (coding {self.coding_points():+.2f}), "
            f"loop {100 * self.loop_miou:.2f} % (loop {self.loop_points():+.2f}); "
            f"worst frame {self.worst_frame_points:.2f}, {self.other_pixels} pixels differ"
        )

    def coding_points(self) -> float:
        """Return the effect of video coding, in points of mIoU."""
        return 100 * (self.frames_miou - self.images_miou)

    def loop_points(self) -> float:
        """Return the effect of the loop, in points of mIoU."""
        return 100 * (self.loop_miou - self.frames_miou)

    def holds(self, *, within: float) -> bool:
        """Return whether the loop's labels are the same, and its score within this many points."""
        return self.other_pixels == 0 and abs(self.loop_points()) <= within


class Video:
    """A data set whose images are the frames of a video, read by OpenCV one by one."""

    def __init__(self, labelled: Dataset, video: str) -> None:
        self.classes = labelled.classes
        self.ignore_index = labelled.ignore_index
        self.name = Path(video).name
        self.split = labelled.split
        self.licence = labelled.licence
        self.images = _frames(video)
        self._labelled = labelled
        if len(self.images) != len(labelled):
            raise DatasetError(f"{video}: has {len(self.images)} frames; the split has {len(labelled)} images.")

    def __len__(self) -> int:
        return len(self.images)

    def item_id(self, index: int) -> str:
        """Return the image's name."""
        return self._labelled.item_id(index)

    def load(self, index: int) -> Sample:
        """Return the frame with the image's labels."""
        return replace(self._labelled.load(index), image=self.images[index])


def loop_labels(session: Session, video: str) -> list[np.ndarray]:
    """Return the loop's label map of every frame."""
    found: dict[int, np.ndarray] = {}
    with open_camera(video) as camera:
        run(session, camera, overlay=False, on_labels=lambda index, labels: found.update({index: labels}) or True)
    return [found[index] for index in range(len(found))]


def measured(session: Session, images: Dataset, video: Video, *, path: str) -> Fidelity:
    """Return the three scores of an opened artifact."""
    labels = loop_labels(session, path)
    if len(labels) != len(video):
        raise DatasetError(f"The loop gave {len(labels)} of {len(video)} frames.")
    singly = [session.segment(image) for image in video.images]

    def score(predicted: list[np.ndarray], index: int | None = None) -> float:
        confusion = ConfusionMatrix(len(video.classes), ignore_index=video.ignore_index)
        for one in range(len(video)) if index is None else (index,):
            confusion.update(predicted[one], video.load(one).labels)
        return confusion.miou()

    return Fidelity(
        artifact=session.artifact.manifest.name,
        engine=session.engine,
        threads=session.threads,
        frames=len(labels),
        images_miou=measure_accuracy(session, images).miou,
        frames_miou=measure_accuracy(session, video).miou,
        loop_miou=score(labels),
        worst_frame_points=100 * max(abs(score(labels, i) - score(singly, i)) for i in range(len(video))),
        other_pixels=int(sum((ours != other).sum() for ours, other in zip(labels, singly, strict=True))),
    )


def _frames(video: str) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(video), []
    while True:
        good, image = capture.read()
        if not good:
            break
        images.append(image)
    capture.release()
    return images


def main() -> int:
    """Measure and print; return 3 if the loop differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("data", type=Path)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--within", type=float, default=0.5, help="points of mIoU")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    images = FolderDataset.open(options.data, split=options.split)
    video = Video(images, options.video)
    rows = []
    for folder in options.artifacts:
        with load(folder, threads=options.threads) as session:
            rows.append(measured(session, images, video, path=options.video))
        print(rows[-1].words(), flush=True)
    if options.json:
        found = [
            {**asdict(row), "coding_points": row.coding_points(), "loop_points": row.loop_points()} for row in rows
        ]
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(row.holds(within=options.within) for row in rows) else 3


if __name__ == "__main__":
    sys.exit(main())
