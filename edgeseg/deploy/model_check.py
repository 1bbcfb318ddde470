"""A checkpoint against a target's chip: its graph exported, its values observed where float16 matters, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.files import read_toml_table
from edgeseg.core.suggestions import unknown
from edgeseg.deploy.chip_check import IN_PLACE, ChipCheck, advice, judge_chip, place_ops
from edgeseg.errors import InputError, UnknownName
from edgeseg.export.export import deploy, export_program
from edgeseg.graph.op_facts import PeakActivations, nodes_to_watch, op_facts, peak_activations
from edgeseg.targets import find_target, load_targets
from edgeseg.targets.chips import chip_names, find_chip

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from edgeseg.core.chip import Chip
    from edgeseg.models import Checkpoint

OBSERVED_IMAGES = 3
"""Rendered streets, beside the golden image, on which values are compared with float16's range."""


def check_model(checkpoint: Checkpoint, *, target: str) -> ChipCheck:
    """Return where each op of a checkpoint's net would run on a target, at the size of its spec.

    The graph is the one that is converted: batch norms folded, logits at the net's own stride, the image normalised
    by the host. Weights count into the memory where the chip keeps them in the same place.

    Raises:
        UnknownName, InputError: no such target, or one that has no accelerator to check against.
        RecipeError: a TOML file that follows neither schema.
    """
    chip, available = chip_of(target)
    spec = checkpoint.spec
    program = export_program(deploy(checkpoint, spec=spec, output="logits", normalisation="host"), spec=spec)
    facts = op_facts(program, peaks=_peaks(program, checkpoint) if chip.float16 else None)
    ops = place_ops(chip, facts)
    peak = peak_activations(program, merged=IN_PLACE)
    memory = _memory_kib(chip, peak, program)
    verdict, reason = judge_chip(chip, ops, memory_kib=memory, available_kib=available)
    place = f"{peak.op} in {peak.layer}" if peak.layer else peak.op
    return ChipCheck(
        model=spec.name,
        target=target,
        chip=chip.title,
        source=chip.source,
        dated=chip.dated,
        evidence=chip.evidence,
        verified=chip.verified,
        size=spec.size,
        ops=ops,
        memory_kib=memory,
        memory_at=place,
        available_kib=available,
        verdict=verdict,
        reason=reason,
        advice=tuple(advice(chip, ops, memory_kib=memory, available_kib=available, memory_at=place)),
    )


def chip_of(target: str) -> tuple[Chip, int]:
    """Return the chip that a target names, and the KiB of fast memory that it has there (0: no limit is known).

    `target` is a chip, a device, or the TOML file of either. Raises as `check_model`.
    """
    if target in chip_names() or _is_chip_file(target):
        chip = find_chip(target)
        return chip, chip.memory_kib
    try:
        found = find_target(target)
    except UnknownName:
        names = (*chip_names(), *(item.name for item in load_targets()))
        raise unknown("target or chip", target, names) from None
    for backend in found.backends:
        if backend.chip:
            chip = find_chip(backend.chip)
            return chip, backend.chip_memory_kib or chip.memory_kib
    able = ", ".join(item.name for item in load_targets() if any(backend.chip for backend in item.backends))
    raise InputError(
        f"{target}: runs on its CPU, which takes every op; there is no accelerator to check. Devices with one: {able}; "
        f"chips: {', '.join(chip_names())}."
    )


def _is_chip_file(target: str) -> bool:
    return target.endswith(".toml") and "ops" in read_toml_table(Path(target).expanduser())


def _memory_kib(chip: Chip, peak: PeakActivations, program: ExportedProgram) -> float:
    values = peak.values
    if chip.holds_weights:
        values += sum(tensor.numel() for tensor in program.state_dict.values())
    return values * chip.bits / 8 / 1024


def _peaks(program: ExportedProgram, checkpoint: Checkpoint) -> dict[str, float]:
    """Return the largest absolute value of each op on the golden image and on rendered streets."""
    import dataclasses

    import numpy as np
    import torch

    from edgeseg.data import render_street
    from edgeseg.export.golden import golden_image
    from edgeseg.export.head import image_spec
    from edgeseg.graph.node_values import NodeObserver
    from edgeseg.pixels import prepare

    spec = checkpoint.spec
    graph = program.module()
    found: dict[str, float] = {}

    def keep(name: str, value: Tensor) -> None:
        largest = float(value.abs().max()) if value.numel() else 0.0
        found[name] = max(found.get(name, 0.0), largest)

    watched = {node: lambda value, name=node.name: keep(name, value) for node in nodes_to_watch(graph.graph)}
    host = dataclasses.replace(spec.preprocess, in_graph=False)
    tensor = image_spec(spec, normalisation="host")
    images = [golden_image(spec), *(render_street(seed)[0] for seed in range(OBSERVED_IMAGES))]
    with torch.no_grad():
        for image in images:
            NodeObserver(graph, watched).run(
                torch.from_numpy(np.asarray(prepare(image, preprocess=host, tensor=tensor)))
            )
    return found
