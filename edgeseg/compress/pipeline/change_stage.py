"""The base of stages that change a net without training."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from edgeseg.compress.pipeline.stage import Job, Stage
from edgeseg.compress.pipeline.terms import with_terms
from edgeseg.core.records import encode_record, renamed
from edgeseg.core.spec import ModelSpec
from edgeseg.models import Checkpoint, load_checkpoint, save_checkpoint
from edgeseg.train.data import open_pair
from edgeseg.train.describe import training_versions
from edgeseg.train.evaluate import evaluate
from edgeseg.train.setup import seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.data import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSample:
    """The training images that a stage uses: `images` of them, drawn by `seed`."""

    images: int = field(default=64, metadata=renamed("pictures"))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 2 or self.seed < 0:
            raise ValueError("images must be 2 or more, seed 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A changed net in evaluation mode, its spec, and the record of the change for training.json."""

    net: nn.Module
    spec: ModelSpec
    account: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class ChangeStage(Stage):
    """A stage that changes a net with the help of some training images; subclasses implement `change`.

    Its checkpoint records the mIoU on the validation split before any further training.
    """

    settings: ImageSample

    @property
    def seed(self) -> int | None:
        """The seed for drawing the images."""
        return self.settings.seed

    @abstractmethod
    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the changed net; the checkpoint's own may be changed in place. `data` is the training split.

        Raises:
            EdgesegError: the net cannot be changed in this way.
        """

    def run(self, job: Job) -> None:
        """Write the changed checkpoint of the stage's parent with its score; raises as `change`."""
        parent = load_checkpoint(job.parent, size=job.size)
        data = open_pair(job.data)[0]
        changed = self.change(parent, data=data, job=job)
        validation = open_pair(job.data)[1]
        account = {
            "command": job.command,
            "recipe": job.result,
            "start": {"checkpoint": parent.spec.name, "sha256": parent.spec.weights_sha256},
            "data": {
                "train": {
                    **seen(data, sha256=job.data_sha256.get("train", "")),
                    "images": min(len(data), self.settings.images),
                },
                "val": seen(validation, sha256=job.data_sha256.get("val", "")),
            },
            "val": encode_record(evaluate(changed.net, validation, spec=changed.spec)),
            self.name: encode_record(self.settings),
            **changed.account,
            "versions": training_versions(),
        }
        spec = with_terms(dataclasses.replace(changed.spec, name=job.result), job=job)
        save_checkpoint(job.checkpoint, net=changed.net, spec=spec, training=account)
