"""Accuracy of an artifact on its engine, or of a checkpoint in PyTorch, on one data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgeseg.bench import measure_accuracy as validate_session
from edgeseg.core.artifact import MANIFEST
from edgeseg.core.measurement import Accuracy
from edgeseg.data import open_dataset
from edgeseg.data.label_check import Counted, findings

if TYPE_CHECKING:
    from edgeseg.core.progress import Progress
    from edgeseg.core.spec import ModelSpec
    from edgeseg.core.spec_file import SpecFile
    from edgeseg.data import Dataset
    from edgeseg.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The accuracy of a subject on an engine; `notice` is what the licence requires to be shown.

    `findings` names classes that never occur in the labels and so cannot be scored.
    """

    subject: str
    engine: str
    accuracy: Accuracy
    notice: str
    findings: tuple[str, ...] = ()

    @property
    def classes_scored(self) -> int:
        """Return the number of classes in the mean IoU: those that occur or were predicted."""
        return sum(value is not None for value in self.accuracy.per_class("miou").values())


def validate(
    subject: Model,
    *,
    data: str | Path,
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    split: str = "val",
    limit: int | None = None,
    engine: str | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Validation:
    """Return the accuracy of `subject`, an artifact folder or a model, at the images' own size.

    `weights` and `spec` belong to a net that edgeseg did not make, as in `edgeseg.convert`.

    Raises:
        UnknownName, InputError, ArtifactError, CheckpointError: a subject that cannot be opened.
        DatasetError: an inconsistent data set, other classes than the model's, or labels of one class.
    """
    counted = Counted(open_dataset(str(data), split=split))
    dataset = cast("Dataset", counted)
    if isinstance(subject, (str, Path)) and _is_artifact(subject):
        from edgeseg.runtime import load

        with load(Path(subject), engine=engine, threads=threads) as session:
            accuracy = validate_session(session, dataset, limit=limit, on_progress=on_progress)
            manifest = session.artifact.manifest
            return Validation(
                subject=manifest.name,
                engine=session.engine,
                accuracy=accuracy,
                notice=manifest.notice,
                findings=findings(counted, limit=limit),
            )
    from edgeseg.export.reference import TorchReference
    from edgeseg.models import open_model

    checkpoint = open_model(subject, weights=weights, spec=spec)
    accuracy = validate_session(TorchReference(checkpoint), dataset, limit=limit, on_progress=on_progress)
    return Validation(
        subject=checkpoint.spec.name,
        engine="pytorch",
        accuracy=accuracy,
        notice=checkpoint.spec.notice,
        findings=findings(counted, limit=limit),
    )


def _is_artifact(subject: str | Path) -> bool:
    folder = Path(subject)
    # A folder meant as an artifact but without its manifest must get the artifact reader's error.
    return (folder / MANIFEST).exists() or (folder.is_dir() and not (folder / "spec.json").exists())
