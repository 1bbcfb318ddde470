"""The parity ladder, PyTorch, exported graph, quantized graph, artifact: the first rung and layer that diverge."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import open_artifact
from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.quantization import RANGES_FILE, read_ranges
from edgeseg.errors import UnsupportedError
from edgeseg.metrics.agreement import LabelAgreement, LogitAgreement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeseg.analyze.divergence import Divergence
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.exported import ExportedModel
    from edgeseg.core.spec import Preprocess
    from edgeseg.models import Checkpoint

SAME_DB = 50.0
"""Two float rungs agree from here on: only the order of sums differs."""
ROUNDED_DB: dict[int, float] = {24: SAME_DB, 11: 25.0, 0: 10.0}
"""SQNR that a rung with rounding has to keep, by the bits of the scheme's numbers."""
_FOUND_DB: dict[int, float] = {24: 40.0, 11: 25.0, 0: 12.0}
_SATURATED = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of the ladder: how its logits compare with those of the step before, and with PyTorch's.

    `label_agreement` is the share of cells with PyTorch's label; the SQNRs are None for label maps. A rung `holds` if
    it keeps `required_db` to the step before.
    """

    name: str
    engine: str
    sqnr_db: float | None
    total_db: float | None
    label_agreement: float
    required_db: float
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """The ladder of an artifact; `rung`, `layer` and `fix` name the first divergence, empty if there is none."""

    artifact: str
    checkpoint: str
    images: int
    rungs: tuple[Rung, ...]
    rung: str = ""
    layer: str = ""
    fix: str = ""


def bisect(
    folder: Path | str,
    *,
    checkpoint: str | None = None,
    data: str | None = None,
    engine: str | None = None,
    count: int = 2,
    on_progress: Progress | None = None,
) -> Bisection:
    """Return the first rung at which an artifact diverges from its float checkpoint, its layer, and the usual fix.

    `checkpoint` is the float one, unless a bundled one has its weights; `data` gives the images (default: the golden
    samples).

    Raises:
        ArtifactError: not an artifact.
        InputError: a checkpoint with other weights, or none is known; images that cannot be used.
        UnsupportedError: the artifact gives label maps of another resolution than its net.
    """
    from edgeseg.analyze.artifact_sqnr import float_checkpoint
    from edgeseg.models import load_checkpoint

    artifact = open_artifact(folder)
    progress = on_progress or no_progress
    opened = load_checkpoint(float_checkpoint(artifact, named=checkpoint), size=artifact.manifest.spec.size)
    images = _images(artifact, data=data, count=count)
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as workdir:
        ladder = _Ladder(
            artifact=artifact, checkpoint=opened, images=images, workdir=Path(workdir), progress=progress, engine=engine
        )
        return ladder.climb()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ladder:
    artifact: Artifact
    checkpoint: Checkpoint
    images: list[NDArray[np.uint8]]
    workdir: Path
    progress: Progress
    engine: str | None

    def climb(self) -> Bisection:
        manifest = self.artifact.manifest
        found = Bisection(
            artifact=manifest.name, checkpoint=self.checkpoint.spec.name, images=len(self.images), rungs=()
        )
        setting = _other_setting(manifest.preprocess, self.checkpoint.spec.preprocess)
        if setting:
            fix = f"The manifest's preprocess has another {setting} than the checkpoint: convert again from it."
            return dataclasses.replace(found, rung="preprocess", layer=f"preprocess.{setting}", fix=fix)
        rungs: list[Rung] = []
        first = before = self._pytorch()
        for name, engine, required, run in self._steps():
            self.progress(f"rung {name}", len(rungs), 4)
            logits = run()
            rungs.append(_rung(name, engine, required, given=logits, before=before, first=first))
            if not rungs[-1].holds:
                layer, fix = self._locate(name)
                return dataclasses.replace(found, rungs=tuple(rungs), rung=name, layer=layer, fix=fix)
            before = logits
        return dataclasses.replace(found, rungs=tuple(rungs))

    def _steps(self) -> list[tuple[str, str, float, Callable[[], list[NDArray[np.float32]]]]]:
        manifest = self.artifact.manifest
        scheme = manifest.scheme
        rounded = _by_bits(ROUNDED_DB, scheme.precision_bits)
        steps: list[tuple[str, str, float, Callable[[], list[NDArray[np.float32]]]]] = [
            ("exported", "torch.export", SAME_DB, lambda: self._program(self._float()))
        ]
        ranges = self.checkpoint.folder / RANGES_FILE
        if scheme.needs_ranges and ranges.is_file():
            steps.append(("quantized", "fake quantization", rounded, lambda: self._program(self._quantized())))
        steps.append(("artifact", manifest.engine, rounded, self._artifact_logits))
        return steps

    def _pytorch(self) -> list[NDArray[np.float32]]:
        import torch

        from edgeseg.pixels import prepare

        spec = self.checkpoint.spec
        host = dataclasses.replace(spec.preprocess, in_graph=False)
        tensors = [prepare(image, preprocess=host, tensor=spec.inputs[0]) for image in self.images]
        with torch.no_grad():
            return [self.checkpoint.net(torch.from_numpy(item)).permute(0, 2, 3, 1).numpy() for item in tensors]

    def _float(self) -> ExportedModel:
        return self._export("fp32")

    def _quantized(self) -> ExportedModel:
        return self._export("int8")

    def _export(self, precision: str) -> ExportedModel:
        from edgeseg.core.protocols import RuledConverter
        from edgeseg.core.quantization_rules import DEFAULT_RULES
        from edgeseg.deploy.plan import converter_for
        from edgeseg.export import export

        ranges = read_ranges(self.checkpoint.folder / RANGES_FILE) if precision == "int8" else None
        converter = converter_for(self.artifact.manifest.format)
        rules = converter.rules if isinstance(converter, RuledConverter) else DEFAULT_RULES
        return export(self.checkpoint, folder=self.workdir / precision, precision=precision, ranges=ranges, rules=rules)

    def _program(self, exported: ExportedModel) -> list[NDArray[np.float32]]:
        import torch

        from edgeseg.pixels import prepare

        graph = exported.program().module()
        tensors = [prepare(image, preprocess=exported.preprocess, tensor=exported.input) for image in self.images]
        with torch.no_grad():
            return [np.asarray(graph(torch.from_numpy(item)).numpy()) for item in tensors]

    def _artifact_logits(self) -> list[NDArray[np.float32]]:
        from edgeseg.deploy.prove import open_for_proof
        from edgeseg.pixels import real_logits
        from edgeseg.runtime.session.opening import assure

        tensor = self.artifact.manifest.outputs[0]
        if tensor.role != "logits":
            raise UnsupportedError(
                f"{self.artifact.folder}: ends with labels; the ladder compares logits. Convert with --output logits."
            )
        assure(self.artifact, engine=self.engine)
        with open_for_proof(self.artifact, engine=self.engine) as session:
            return [real_logits(session.infer(session.preprocess(image)), tensor) for image in self.images]

    def _locate(self, rung: str) -> tuple[str, str]:
        """Return the layer at which a rung diverges, and the usual fix."""
        if rung == "exported":
            return "", (
                "The exported graph does not compute what the module does: look for control flow, random numbers, or "
                "state that depends on the input in its forward."
            )
        if rung == "quantized":
            return self._noisiest()
        from edgeseg.analyze.divergence import first_divergence_in
        from edgeseg.analyze.intermediate_values import intermediate_values
        from edgeseg.pixels import prepare

        manifest = self.artifact.manifest
        exported = self._float()
        image = self.images[0]
        tensor = prepare(image, preprocess=manifest.preprocess, tensor=manifest.inputs[0])
        try:
            values = intermediate_values(self.artifact, tensor)
        except UnsupportedError as error:
            return "", f"{error} Bisect an ONNX artifact of the same checkpoint."
        mine = prepare(image, preprocess=exported.preprocess, tensor=exported.input)
        least = _by_bits(_FOUND_DB, manifest.scheme.precision_bits)
        culprit = first_divergence_in(exported.program().module(), mine, values, least_db=least)
        if culprit is None:
            return (
                "output",
                "Every layer is found, and the output differs: its scale, its classes' order or its layout.",
            )
        return culprit.layer, usual_fix(culprit, int8=manifest.scheme.needs_ranges)

    def _noisiest(self) -> tuple[str, str]:
        from edgeseg.compress.quantize.sensitivity import first_divergence, layer_sqnr

        ranges = read_ranges(self.checkpoint.folder / RANGES_FILE)
        layers = layer_sqnr(self.checkpoint, ranges, self.images)
        first = first_divergence(layers, below_db=ROUNDED_DB[0]) or min(layers, key=lambda item: item.sqnr_db)
        stale = first.own_db < ROUNDED_DB[0]
        return first.name, (
            "Its range does not fit its values: calibrate again on images like those in use (edgeseg calibrate)."
            if stale
            else "Eight bits are too few there or before: keep layers in float (edgeseg debug-quant --bound), or train "
            "with quantization (a stage of kind qat)."
        )


def usual_fix(culprit: Divergence, *, int8: bool) -> str:
    """Return what usually fixes a divergence at a layer."""
    if culprit.after_image:
        return "The image is normalised otherwise: check mean, std, scale and the order of the colours."
    if "upsample" in culprit.op or "interpolate" in culprit.op:
        return (
            "The resize differs: nearest for bilinear, or other corners (align_corners, "
            "coordinate_transformation_mode)."
        )
    if int8 and culprit.given is not None and _is_cut(culprit.wanted, culprit.given):
        low, high = culprit.wanted
        return (
            f"Its values reach from {low:.3g} to {high:.3g}, its range in the artifact from {culprit.given[0]:.3g} to "
            f"{culprit.given[1]:.3g}: stale ranges. Calibrate again."
        )
    if culprit.op in ("conv2d", "linear", "conv_transpose2d", "addmm", "convolution"):
        return (
            "Its weights in the file are not the checkpoint's to 8 bits: use one scale per output channel "
            "(per_channel_weights), or convert again from this checkpoint."
            if int8
            else "Its weights in the file are not the checkpoint's: convert again from this checkpoint."
        )
    return (
        "Keep it in float (float_ops of the target, or --float-layers)."
        if int8
        else "The engine computes it otherwise."
    )


def _is_cut(wanted: tuple[float, float], given: tuple[float, float]) -> bool:
    return (given[1] - given[0]) < _SATURATED * (wanted[1] - wanted[0])


def _rung(
    name: str,
    engine: str,
    required: float,
    *,
    given: Sequence[NDArray[np.float32]],
    before: Sequence[NDArray[np.float32]],
    first: Sequence[NDArray[np.float32]],
) -> Rung:
    step, total, labels = LogitAgreement(), LogitAgreement(), LabelAgreement(given[0].shape[-1])
    finite = all(np.isfinite(item).all() for item in given)
    for mine, last, float_one in zip(given, before, first, strict=True):
        if finite:
            step.update(mine[0], last[0])
            total.update(mine[0], float_one[0])
        labels.update(mine[0].argmax(-1), float_one[0].argmax(-1))
    return Rung(
        name=name,
        engine=engine,
        sqnr_db=step.sqnr_db if finite else None,
        total_db=total.sqnr_db if finite else None,
        label_agreement=labels.overall,
        required_db=required,
        holds=finite and step.sqnr_db >= required,
    )


def _other_setting(given: Preprocess, wanted: Preprocess) -> str:
    """Return the first setting of the preprocessing that differs; where it is applied makes no difference."""
    names = [item.name for item in dataclasses.fields(wanted) if item.name != "in_graph"]
    return next((name for name in names if getattr(given, name) != getattr(wanted, name)), "")


def _images(artifact: Artifact, *, data: str | None, count: int) -> list[NDArray[np.uint8]]:
    if data is not None:
        from edgeseg.deploy.proof_images import proof_images

        found = proof_images(data=data, calibration=None, calibrated_on=None, trained_on="")
        return list(found.images[:count])
    from edgeseg.data.reading import read_image

    samples = artifact.manifest.golden.samples[:count]
    return [np.asarray(read_image(artifact.folder / sample.image), np.uint8) for sample in samples]


def _by_bits(limits: dict[int, float], bits: int) -> float:
    return next(limit for least, limit in sorted(limits.items(), reverse=True) if bits >= least)
