"""The output folder of a run: recipe, metrics, state, and the best checkpoint."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING

from edgeseg.core.files import MARKER, refuse_foreign, write_json, write_whole
from edgeseg.core.records import encode_record
from edgeseg.data.identity import DataIdentity, DataRecord, explain_difference
from edgeseg.errors import InputError, TrainingError
from edgeseg.models.checkpoint import TRAINING_FILE
from edgeseg.models.resolve import CHECKPOINT_FOLDER
from edgeseg.train.describe import training_versions
from edgeseg.train.event_file import EventFile
from edgeseg.train.faults import writing
from edgeseg.train.figures import CURVES, CurvePoint, draw_curves, draw_predictions, prediction_file
from edgeseg.train.state import STATE_FILE, RunState, save_state
from edgeseg.train.stored_images import store_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Sample
    from edgeseg.train.evaluate import Score
    from edgeseg.train.method import Method
    from edgeseg.train.recipe import Recipe

_log = logging.getLogger(__name__)

METRICS, RECIPE, DATA = "metrics.jsonl", "recipe.json", "data.json"


class RunFolder:
    """The folder of one run. Only the first process writes; nothing is written before `open`."""

    def __init__(self, folder: Path, *, recipe: Recipe, command: str, method: Method) -> None:
        self.folder, self.recipe, self.command, self.method = folder, recipe, command, method
        text = json.dumps(encode_record(recipe), sort_keys=True) + method.fingerprint()
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self._plot: Callable[[str, float, int], None] = _nowhere
        self.close: Callable[[], None] = _nothing

    def check(self, *, resume: bool) -> None:
        """Raise `InputError` if edgeseg did not make the folder, or it holds a run that would be lost."""
        refuse_foreign(self.folder, replaced=False)
        if not resume and (self.folder / STATE_FILE).exists():
            raise InputError(f"{self.folder}: already holds a run. Continue it with --resume, or choose another --out.")

    def check_data(self, state: RunState, now: dict[str, DataIdentity]) -> None:
        """Raise `TrainingError` if the run would continue with other images or labels, naming the difference."""
        if not state.data:
            _log.warning(
                "%s: was saved by an older version, which did not record its data; the data is not compared",
                self.folder,
            )
        for role, found in now.items():
            if state.data.get(role, found.sha256) == found.sha256:
                continue
            what = explain_difference(self.folder / DATA, role, before_sha256=state.data[role], now=found)
            raise TrainingError(
                f"{self.folder}: was trained on other {role} data than {found.name} {found.split} is now: "
                f"{what}. Resume with the same data, or start again with another --out."
            )

    def open(self, *, epochs_done: int, identities: dict[str, DataIdentity]) -> None:
        """Create the folder, write recipe and data hashes, and drop the metrics of epochs that are repeated."""
        with writing(self.folder):
            self._open(epochs_done=epochs_done)
            write_json(DataRecord(sets=identities), self.folder / DATA)

    def _open(self, *, epochs_done: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARKER).touch()
        write_json(self.recipe, self.folder / RECIPE)
        metrics = self.folder / METRICS
        lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["epoch"] <= epochs_done]
        metrics.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        if self.recipe.run.tensorboard:
            self._open_tensorboard(purge_step=epochs_done + 1)

    def _open_tensorboard(self, *, purge_step: int) -> None:
        try:
            writer = EventFile(self.folder / "tensorboard", purge_step=purge_step)
        except ImportError:
            _log.info("no TensorBoard logs: tensorboard is not installed")
            return
        self._plot = writer.scalar
        self.close = writer.close

    def epoch(self, epoch: int, *, step: int, loss: float, rate: float, score: Score | None, seconds: float) -> None:
        """Add an epoch's line to metrics.jsonl and its points to TensorBoard."""
        line: dict[str, object] = {
            "epoch": epoch, "step": step, "loss": round(loss, 6), "rate": rate, "seconds": round(seconds, 2)
        }  # fmt: skip
        points = {"train/loss": loss, "train/rate": rate}
        if score is not None:
            line.update(miou=score.miou, pixel_accuracy=score.pixel_accuracy, per_class_iou=score.per_class_iou)
            points.update({"val/miou": score.miou, "val/pixel_accuracy": score.pixel_accuracy})
        with writing(self.folder), (self.folder / METRICS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
            for name, value in points.items():
                self._plot(name, value, epoch)

    def figures(self, samples: Sequence[Sample], predicted: Sequence[NDArray[np.uint8]], *, spec: ModelSpec) -> None:
        """Draw the curves so far, and the predictions (H, W) uint8 of `samples` in the last epoch of metrics.jsonl."""
        lines = [json.loads(line) for line in (self.folder / METRICS).read_text(encoding="utf-8").splitlines()]
        points = [CurvePoint(epoch=line["epoch"], loss=line["loss"], miou=line.get("miou")) for line in lines]
        file = prediction_file(self.folder, points[-1].epoch)
        with writing(self.folder):
            file.parent.mkdir(exist_ok=True)
            write_whole(draw_predictions(samples, predicted, spec=spec), file)
            write_whole(draw_curves(points), self.folder / CURVES)

    def best(
        self,
        net: nn.Module,
        *,
        spec: ModelSpec,
        score: Score,
        epoch: int,
        seconds: float,
        start: dict[str, str],
        data: dict[str, object],
        validation: Sequence[Sample] = (),
    ) -> None:
        """Write the checkpoint folder of the best weights so far, with a record of the training.

        A few images of `validation` go with it, if their licence allows.
        """
        account = {
            "command": self.command,
            "recipe": self.recipe.name,
            "seed": self.recipe.run.seed,
            "best_epoch": epoch,
            "epochs": self.recipe.schedule.epochs,
            "seconds": round(seconds, 1),
            "data": data,
            "start": start,
            "val": encode_record(score),
            "versions": training_versions(),
        }
        with writing(self.folder):
            self.method.save(self.folder / CHECKPOINT_FOLDER, net=net, spec=spec, training=account)
            described = data.get("val")
            if isinstance(described, dict):
                name, licence = str(described.get("name")), str(described.get("licence"))
                store_images(self.folder / CHECKPOINT_FOLDER, validation, name=name, licence=licence)

    def finish(self, *, seconds: float) -> None:
        """Add the duration of the whole run to the record of the best weights."""
        path = self.folder / CHECKPOINT_FOLDER / TRAINING_FILE
        account = json.loads(path.read_text(encoding="utf-8"))
        with writing(self.folder):
            write_json({**account, "seconds": round(seconds, 1)}, path)

    def save(self, state: RunState) -> None:
        """Write the state to resume from."""
        with writing(self.folder):
            save_state(state, self.folder)


def _nowhere(name: str, value: float, step: int) -> None:
    """Ignore a point."""


def _nothing() -> None:
    """Do nothing."""
