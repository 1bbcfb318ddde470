"""Which rewrites help on a chip and keep the labels: each is tried on the net, counted, and judged on images."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeseg.core.chip import VIEWS
from edgeseg.core.quantization import SCHEMES
from edgeseg.core.spec import OpRewrite
from edgeseg.deploy.chip_check import lacking
from edgeseg.deploy.gate import judge
from edgeseg.deploy.reference import float_logits
from edgeseg.export.export import deploy, export_program
from edgeseg.graph.op_facts import op_facts
from edgeseg.models.op_rewrites import alternative, alternatives
from edgeseg.models.rewriting import rewrite_ops

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgeseg.core.chip import Chip, OpFacts
    from edgeseg.core.progress import Progress
    from edgeseg.deploy.gate import Judged
    from edgeseg.deploy.reference import Reference
    from edgeseg.export.head import Deployed
    from edgeseg.models import Checkpoint
    from edgeseg.models.op_rewrites import OpAlternative

_EXACT, _APPROXIMATE = SCHEMES["fp32"], SCHEMES["fp16"]
"""Whose thresholds a rewrite has to reach, together with those before it.

Exact ones differ by the order of sums. Others may change as much as a conversion to float16: int8 comes on top.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRewrite:
    """One rewrite that was tried: `op` computed as `to` in modules `layers`, and whether the labels stayed.

    `agreement` is the share of labels that stay, with the rewrites accepted before. `refused` says which measure
    failed, empty for one that was accepted.
    """

    op: str
    to: str
    does: str
    exact: bool
    layers: tuple[str, ...]
    agreement: float
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was accepted, everything that was tried, and the report on the accepted rewrites together, if any."""

    accepted: tuple[OpRewrite, ...]
    tried: tuple[TriedRewrite, ...]
    judged: Judged | None


def find_rewrites(checkpoint: Checkpoint, *, chip: Chip, reference: Reference, progress: Progress) -> Search:
    """Return the rewrites of a checkpoint's net that put more of its ops on a chip and keep its labels.

    Exact ways come first. One that fails for all layers together is tried layer by layer, on top of what was accepted.
    """
    search = _Search(checkpoint, chip=chip, reference=reference)
    missing = search.missing()
    for op in dict.fromkeys(_op(item) for item in missing):
        for way in alternatives(op):
            layers = tuple(dict.fromkeys(_layer(item) for item in missing if _op(item) == op))
            if layers and _takes(chip, way):
                progress(f"try {op} as {way.name}", 0, 0)
                search.attempt(way, layers)
                missing = search.missing()
    return Search(accepted=tuple(search.accepted), tried=tuple(search.tried), judged=search.judged)


class _Search:
    """The net with what was accepted so far."""

    def __init__(self, checkpoint: Checkpoint, *, chip: Chip, reference: Reference) -> None:
        self.chip, self.reference = chip, reference
        self.spec = checkpoint.spec
        self.host = deploy(checkpoint, spec=self.spec, output="logits", normalisation="host")
        self.plain = deploy(checkpoint, spec=reference.spec, output="logits")
        self.accepted: list[OpRewrite] = []
        self.tried: list[TriedRewrite] = []
        self.judged: Judged | None = None
        self._missing: tuple[OpFacts, ...] | None = None

    def missing(self) -> tuple[OpFacts, ...]:
        """Return the ops that the chip lacks with what was accepted."""
        if self._missing is None:
            self._missing = self._lacking(self.accepted)
        return self._missing

    def attempt(self, way: OpAlternative, layers: tuple[str, ...]) -> None:
        """Accept a way in the layers that it puts on the chip, or in those of them that keep the labels."""
        left = self._lacking([*self.accepted, *_in(way, layers)])
        unhelped = {_layer(item) for item in left}
        helped = tuple(layer for layer in layers if layer not in unhelped)
        if not helped:
            return
        whole = self._judge(way, helped)
        if not whole.failures:
            self._accept(way, helped, whole)
            return
        self._record(way, helped, whole)
        if way.exact or len(helped) == 1:
            return
        kept: tuple[str, ...] = ()
        for layer in helped:
            judged = self._judge(way, (*kept, layer))
            if not judged.failures:
                kept, last = (*kept, layer), judged
        if kept:
            self._accept(way, kept, last)

    def _accept(self, way: OpAlternative, layers: tuple[str, ...], judged: Judged) -> None:
        self.accepted += _in(way, layers)
        self.judged, self._missing = judged, None
        self._record(way, layers, judged)

    def _record(self, way: OpAlternative, layers: tuple[str, ...], judged: Judged) -> None:
        self.tried.append(
            TriedRewrite(
                op=way.op,
                to=way.name,
                does=way.does,
                exact=way.exact,
                layers=layers,
                agreement=judged.report.label_agreement,
                refused=why_refused(judged),
            )
        )

    def _lacking(self, rewrites: Iterable[OpRewrite]) -> tuple[OpFacts, ...]:
        return lacking(self.chip, op_facts(export_program(_rewritten(self.host, rewrites), spec=self.spec)))

    def _judge(self, way: OpAlternative, layers: tuple[str, ...]) -> Judged:
        rewrites = [*self.accepted, *_in(way, layers)]
        exact = all(alternative(item.op, item.to).exact for item in rewrites)
        return judged_labels(_rewritten(self.plain, rewrites), reference=self.reference, exact=exact)


def judged_labels(deployed: Deployed, *, reference: Reference, exact: bool) -> Judged:
    """Return how the labels of a deployment module compare with the reference's; see `_EXACT`."""
    size = reference.tensor.size
    outputs = [_at_cells(item, size=size) for item in float_logits(deployed, reference=reference)]
    return judge(outputs, tensor=reference.tensor, reference=reference, scheme=_EXACT if exact else _APPROXIMATE)


def _rewritten(deployed: Deployed, rewrites: Iterable[OpRewrite]) -> Deployed:
    changed = copy.deepcopy(deployed)
    rewrite_ops(changed.net, tuple(rewrites))
    return changed


def why_refused(judged: Judged) -> str:
    """Return the first measure that failed, with what was found and required; empty if none did."""
    failure = next(iter(judged.failures), None)
    if failure is None:
        return ""
    what = f'class "{failure.name}"' if failure.name else failure.measure
    return f"{what}: {failure.found} (required: {failure.required})"


def _in(way: OpAlternative, layers: Iterable[str]) -> list[OpRewrite]:
    return [OpRewrite(op=way.op, to=way.name, layer=layer) for layer in layers]


def _op(facts: OpFacts) -> str:
    """Return the op to look for another way for: views of too many dimensions are reshapes."""
    return "reshape" if facts.op in VIEWS else facts.op


def _layer(facts: OpFacts) -> str:
    return "" if facts.layer == "net" else facts.layer


def _takes(chip: Chip, way: OpAlternative) -> bool:
    return all(name in chip.ops or name in chip.limits for name in way.needs)


def _at_cells(logits: NDArray[np.float32], *, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return logits (1, h, w, C) at the cells of the reference, resized as edgeseg resizes logits."""
    if logits.shape[1:3] == size:
        return logits
    planes = torch.from_numpy(logits).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())
