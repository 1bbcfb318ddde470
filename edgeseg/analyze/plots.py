"""Plots by layer, in graph order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.requirements import require_modules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from edgeseg.analyze.layer_results import QuantDebug, Sensitivity


def plot_sensitivity(found: Sensitivity, path: Path) -> None:
    """Write a PNG of what each layer alone costs, in percent of labels or, with labels, of mIoU."""
    labelled = found.layers and found.layers[0].miou_lost is not None
    values = [100 * (item.miou_lost or 0.0) if labelled else 100 * item.labels_changed for item in found.layers]
    figure, axes = _canvas([item.layer for item in found.layers])
    axes.barh(range(len(values)), values, color="#2a6f97")
    axes.set_xlabel("mIoU lost, percentage points" if labelled else "labels that change, %")
    axes.set_title(f"{found.model}: only this layer in int8 ({found.images} images of {found.data})")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def plot_noise(found: QuantDebug, path: Path) -> None:
    """Write a PNG of SQNR along the net: accumulated noise, and each point's own rounding."""
    figure, axes = _canvas([item.layer for item in found.layers])
    for label, values, colour in (
        ("with all earlier noise", [item.sqnr_db for item in found.layers], "#2a6f97"),
        ("own rounding alone", [item.own_db for item in found.layers], "#bb8a2e"),
    ):
        at = [(value, index) for index, value in enumerate(values) if value is not None]
        axes.plot([value for value, _ in at], [index for _, index in at], marker="o", ms=3, label=label, color=colour)
    axes.axvline(found.below_db, color="#a33", ls="--", lw=1)
    axes.set_xlabel("SQNR, dB")
    axes.set_title(f"{found.model}: int8 ({found.engine}) against float, {found.images} images of {found.data}")
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def _canvas(names: Sequence[str]) -> tuple[Figure, Axes]:
    require_modules(("matplotlib",), what="A plot", extra="compress")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 + 0.18 * len(names)))
    axes = figure.add_subplot()
    axes.set_yticks(range(len(names)), [name.removeprefix("net.") for name in names], fontsize=6)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    return figure, axes
