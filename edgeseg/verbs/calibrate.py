"""Activation ranges of a checkpoint, observed once and stored, so that int8 conversions need no data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.calibration import CalibrationFinding
from edgeseg.core.files import write_json
from edgeseg.core.quantization import RANGES_FILE, Ranges
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.core.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The ranges, the file they were written to (None for a check), and what the doctor found in the images.

    `curve` holds (images, mean width of the ranges as a share of their final width), `model` the model's name.
    """

    path: Path | None
    ranges: Ranges
    findings: tuple[CalibrationFinding, ...]
    curve: tuple[tuple[int, float], ...]
    model: str
    classes: tuple[str, ...]

    @property
    def blocked(self) -> bool:
        """Whether a finding forbids calibrating on these images."""
        return any(item.severity == "blocking" for item in self.findings)


def calibrate(
    model: str | Path | None,
    *,
    data: str | Path,
    count: int = 64,
    seed: int = 0,
    selection: str = "mixed",
    observer: str = "auto",
    allow_held_out: bool = False,
    skip_broken: bool = False,
    ignore_findings: bool = False,
    check_only: bool = False,
    float_layers: tuple[str, ...] = (),
    out: Path | str | None = None,
    on_progress: Progress | None = None,
) -> Calibration:
    """Return the ranges of a model on `count` images of `data`, written to `out` or beside the model's weights.

    `selection` takes the images, `observer` chooses each range by its values; both are registered names. int8
    conversions leave the modules at the paths `float_layers`, and what is inside them, in float. With `check_only`
    nothing is written, and blocking findings are returned, not raised.

    Raises:
        UnknownName, InputError, CheckpointError: a model that cannot be opened, a layer that it does not have, or a
            place that cannot be written.
        DatasetError: images that cannot be used, without `skip_broken`.
        InputError: val or test images without `allow_held_out`.
        GateError: a blocking finding (leakage, wrong colour order, double normalisation) without `ignore_findings`.
    """
    from edgeseg.export import calibrate_ranges as observe
    from edgeseg.export import check_float_layers
    from edgeseg.models import load_checkpoint, resolve_model

    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more.")
    checkpoint = load_checkpoint(resolve_model(None if model is None else str(model)))
    check_float_layers(checkpoint.net, float_layers)
    done = observe(
        checkpoint,
        str(data),
        count=count,
        seed=seed,
        allow_held_out=allow_held_out,
        selection=selection,
        observer=observer,
        skip_broken=skip_broken,
        ignore_findings=ignore_findings or check_only,
        on_progress=on_progress,
    )
    ranges = dataclasses.replace(done.ranges, float_layers=float_layers)
    path = None if check_only else checkpoint.folder / RANGES_FILE if out is None else Path(out)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(ranges, path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another --out.") from None
    return Calibration(
        path=path,
        ranges=ranges,
        findings=done.findings,
        curve=done.curve,
        model=checkpoint.spec.name,
        classes=checkpoint.spec.classes,
    )
