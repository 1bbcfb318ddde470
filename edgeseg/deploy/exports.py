"""The deployment graphs of one conversion: each exported once and shared by all formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.quantization import FP32, Precision, scheme_named
from edgeseg.core.quantization_rules import DEFAULT_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.core.exported import ExportedModel
    from edgeseg.core.protocols import Converter, Normalisation
    from edgeseg.core.quantization import Ranges
    from edgeseg.core.quantization_rules import QuantizationRules
    from edgeseg.export import DeployedOutput
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """Exports of one checkpoint at one size, in folders below `workdir`.

    `images` (H, W, 3) uint8 BGR show how large activations get, where rules ask for it.
    """

    checkpoint: Checkpoint
    size: tuple[int, int]
    output: DeployedOutput
    ranges: Ranges | None
    calibration: Callable[[], Iterable[NDArray[np.uint8]]] | None
    images: tuple[NDArray[np.uint8], ...]
    workdir: Path
    progress: Progress = no_progress
    rules: list[QuantizationRules] = field(default_factory=list)
    done: dict[str, ExportedModel] = field(default_factory=dict)

    def get(
        self,
        converter: Converter,
        precision: Precision,
        *,
        rules: QuantizationRules,
        normalisation: Normalisation | None = None,
    ) -> ExportedModel:
        """Return the graph for a converter's precision, quantized by `rules`, normalised where the caller wants.

        Schemes without integer activations share the float32 graph.
        """
        scheme = scheme_named(precision)
        base = scheme if scheme.needs_ranges else FP32
        normalisation = self._normalisation(converter, wanted=normalisation)
        exported = self._base(base.name, normalisation, rules if base is scheme else DEFAULT_RULES)
        for part in converter.reads:
            if part == "onnx" and part in exported.writers:
                self.progress("write ONNX", 0, 0)
                exported.write(part)
        if base is scheme:
            return exported
        name = f"{scheme.name}-{normalisation}-{'-'.join(converter.reads)}"
        if name not in self.done:
            self.done[name] = exported.as_scheme(scheme, folder=self.workdir / name)
        return self.done[name]

    def _base(self, precision: Precision, normalisation: Normalisation, rules: QuantizationRules) -> ExportedModel:
        from edgeseg.export import export

        if rules not in self.rules:
            self.rules.append(rules)
        name = f"{precision}-{normalisation}-{self.rules.index(rules)}"
        if name not in self.done:
            self.progress(f"export {precision}", 0, 0)
            self.done[name] = export(
                self.checkpoint,
                folder=self.workdir / name,
                size=self.size,
                precision=precision,
                output=self.output,
                ranges=self.ranges,
                rules=rules,
                normalisation=normalisation,
                calibration=self.calibration,
                images=self.images,
            )
        return self.done[name]

    def _normalisation(self, converter: Converter, *, wanted: Normalisation | None) -> Normalisation:
        """Return where pixels are normalised: as wanted, else as the spec prefers, if the format supports it."""
        if wanted is None:
            wanted = "graph" if self.checkpoint.spec.preprocess.in_graph else "host"
        return wanted if wanted in converter.normalisation else converter.normalisation[0]
