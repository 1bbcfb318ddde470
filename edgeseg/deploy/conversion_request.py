"""The request for a conversion: `ConversionRequest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeseg.core.quantization import Calibrator
from edgeseg.deploy.plan import RequestedPrecision
from edgeseg.export import DeployedOutput, RequestedOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """Targets and how to reach them; `plan_for_targets` and `convert_for_targets` take the same request.

    `target` is a format, a device or a `./board.toml`, or several; for a device whose chip needs a compiler, the file
    is compiled too. Precision "auto" takes a device's first precision, and int8 for a bare format if ranges are
    available, else fp32. int8 ranges come from `calibration` (a folder of training images or `streets[:count[:seed]]`;
    val and test images only with `allow_held_out`) or from the checkpoint's own ranges.json. `opset` and `ir_version`
    write ONNX for older runtimes. `require_delegation` is the smallest accepted share, in percent, of ops on the
    accelerator. With `force`, another artifact at `out` is replaced, and with `ignore_findings` calibration images are
    used although a finding says that they are wrong.

    With `max_drop` (a fraction of mIoU, or of labels without ground truth), every precision of "auto" is converted,
    timed and compared, and the fastest that loses no more is kept; with `output` "auto" every head too
    (`edgeseg.deploy.arbiter`).

    With the `calibrator` "native" the vendor's quantizer (NNCF, ONNX Runtime's, ai-edge-quantizer) makes int8 from the
    same float graph and the same images of `calibration`, for comparison.

    The proof uses images of `data` (and labels, if it is a data set of the net's classes), else calibration images that
    were left out of the calibration, else the checkpoint's own (folder `proof`), else rendered streets.
    """

    target: str | tuple[str, ...]
    precision: RequestedPrecision = "auto"
    calibration: str | None = None
    calibrator: Calibrator = "edgeseg"
    data: str | None = None
    size: tuple[int, int] | None = None
    output: RequestedOutput = "logits"
    max_drop: float | None = None
    opset: int | None = None
    ir_version: int | None = None
    out: Path | str | None = None
    force: bool = False
    allow_held_out: bool = False
    ignore_findings: bool = False
    require_delegation: float | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, one or more."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def searches(self) -> bool:
        """Whether candidates are compared, of which the best is kept."""
        return self.output == "auto" or self.max_drop is not None

    @property
    def heads(self) -> tuple[DeployedOutput, ...]:
        """What the graph may end with; the first is the one that is planned."""
        return ("logits", "full", "labels") if self.output == "auto" else (self.output,)
