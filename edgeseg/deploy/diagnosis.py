"""Which common fault explains an artifact's outputs: each is undone, and the one that helps most is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.metrics.agreement import LogitAgreement
from edgeseg.pixels import real_logits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeseg.core.spec import TensorSpec
    from edgeseg.deploy.reference import Reference

_CLEAR_DB = 6.0
"""A fault explains the outputs if undoing it halves the error."""


def diagnose_artifact(
    outputs: Sequence[NDArray[Any]],
    *,
    tensor: TensorSpec,
    reference: Reference,
    rerun: Callable[[NDArray[np.uint8]], NDArray[Any]] | None = None,
) -> str:
    """Return one sentence that names the fault behind an artifact's logits, empty if none of the usual ones is it.

    `rerun` gives the artifact's output for an image (H, W, 3) BGR; with it the order of colours can be tried.
    """
    if tensor.role != "logits":
        return ""
    given = [real_logits(output, tensor)[0] for output in outputs]
    wanted = [item[0] for item in reference.logits]
    before = _sqnr(given, wanted)
    order = _class_order(given, wanted)
    found = [(_sqnr([item[..., order] for item in given], wanted), _swapped(order, reference.spec.classes))]
    factor = _factor(given, wanted)
    scaled = [item / factor for item in given] if factor > 0 else given
    found.append((_sqnr(scaled, wanted), f"its logits are {factor:.2g} times the float ones: a scale is wrong."))
    if rerun is not None:
        swapped = [real_logits(rerun(image[..., ::-1].copy()), tensor)[0] for image in reference.images]
        found.append((_sqnr(swapped, wanted), "it reads blue for red: the order of the colours is wrong."))
    best, text = max(found, key=lambda item: item[0])
    return f"With that undone the error shrinks by {best - before:.0f} dB: {text}" if best > before + _CLEAR_DB else ""


def _sqnr(given: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> float:
    if not all(np.isfinite(item).all() for item in given):
        return -np.inf
    met = LogitAgreement()
    for one, other in zip(given, wanted, strict=True):
        met.update(one, other)
    return met.sqnr_db


def _class_order(given: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> list[int]:
    """Return for each wanted class the given one that is most like it, each taken once, the best pairs first."""
    mine, theirs = (np.concatenate([item.reshape(-1, item.shape[-1]) for item in items]) for items in (given, wanted))
    # The square written out: a table of all cells for each pair of classes would take gigabytes.
    power = [np.square(item, dtype=np.float64).mean(axis=0) for item in (theirs, mine)]
    product = np.einsum("ni,nj->ij", theirs, mine, dtype=np.float64, optimize=True)
    distance = power[0][:, None] + power[1][None, :] - 2 * product / len(mine)
    order = [0] * len(distance)
    for _ in order:
        row, column = np.unravel_index(int(np.argmin(distance)), distance.shape)
        order[int(row)] = int(column)
        distance[row], distance[:, column] = np.inf, np.inf
    return order


def _swapped(order: list[int], names: tuple[str, ...]) -> str:
    moved = [names[index] for index, other in enumerate(order) if index != other]
    return f"the classes {', '.join(moved)} are in another order."


def _factor(given: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> float:
    power = sum(float(np.square(item, dtype=np.float64).sum()) for item in wanted)
    return sum(float((one * other).sum(dtype=np.float64)) for one, other in zip(given, wanted, strict=True)) / power
