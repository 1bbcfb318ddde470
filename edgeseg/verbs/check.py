"""`edgeseg.check` and `edgeseg.rewrite`: where each op would run on a target's accelerator, and nets that suit it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.progress import no_progress
from edgeseg.deploy.chip_check import ChipCheck
from edgeseg.deploy.model_check import check_model
from edgeseg.deploy.rewrite import Rewritten, rewrite_checkpoint

if TYPE_CHECKING:
    from edgeseg.core.progress import Progress
    from edgeseg.core.spec import ModelSpec
    from edgeseg.core.spec_file import SpecFile
    from edgeseg.models import Model

__all__ = ["ChipCheck", "Rewritten", "check", "rewrite"]


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


def rewrite(
    model: Model,
    *,
    target: str,
    out: str | Path,
    data: str | None = None,
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    size: tuple[int, int] | None = None,
    on_progress: Progress | None = None,
) -> Rewritten:
    """Write a checkpoint to `out` that computes ops which a target's chip lacks in other ways; return what was done.

    Only rewrites that keep the labels on `data` (default: the checkpoint's stored proof images) are applied.

    Raises as `check`, and:
        InputError: no images to compare labels on, or a net that runs whole already.
        GateError: no rewrite keeps the labels; with each figure, and how to retrain.
    """
    from edgeseg.models import open_model

    opened = open_model(model, weights=weights, spec=spec, size=size)
    progress = on_progress or no_progress
    return rewrite_checkpoint(opened, target=target, out=Path(out).expanduser(), data=data, progress=progress)
