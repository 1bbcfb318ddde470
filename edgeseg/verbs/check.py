"""`edgeseg.check`: where each op of a model would run on a target's accelerator, before anything slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.deploy.chip_check import ChipCheck
from edgeseg.deploy.model_check import check_model

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec
    from edgeseg.core.spec_file import SpecFile
    from edgeseg.models import Model

__all__ = ["ChipCheck", "check"]


def check(
    model: Model,
    *,
    target: str,
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    size: tuple[int, int] | None = None,
) -> ChipCheck:
    """Return where each op of a model would run on a `target`: a device with a chip, a chip, or a TOML of either.

    `model`, `weights`, `spec` and `size` are those of `edgeseg.convert`. Nothing is converted, and no tool of a vendor
    is needed: the ops are compared with the chip's capability table, which names its source and date.

    Raises as `edgeseg.models.open_model`, and `InputError` for a target without a chip.
    """
    from edgeseg.models import open_model

    return check_model(open_model(model, weights=weights, spec=spec, size=size), target=target)
