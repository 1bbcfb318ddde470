"""`edgeseg inspect [MODEL|ARTIFACT]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.core.lineage import LineageStep
    from edgeseg.core.spec import TensorSpec
    from edgeseg.verbs.inspect import Inspection

HELP = "describe a checkpoint or an artifact: cost, pruned layers, ranges, lineage, licence"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_weights, positive

    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="an artifact, a checkpoint folder, a bundled name, or package.module:factory",
    )
    add_weights(parser)
    parser.add_argument(
        "--sensitivity",
        choices=("int8", "prune"),
        help="score the model once per layer, with only that layer in int8 or pruned",
    )
    parser.add_argument("--data", metavar="DIR|SET", help="images for --sensitivity (default: rendered streets)")
    parser.add_argument("--split", metavar="NAME", default="train", help="split of --data (default: train)")
    parser.add_argument("--count", metavar="N", type=positive, default=16, help="images to look at (default: 16)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where --sensitivity writes its JSON and plot")


def run(options: argparse.Namespace) -> int:
    """Print the summary, or the sensitivity of each layer."""
    from edgeseg.cli import render
    from edgeseg.verbs.inspect import inspect

    if options.sensitivity:
        from edgeseg.cli.sensitivity import run_sensitivity

        return run_sensitivity(options)
    found = inspect(options.model, weights=options.weights, spec=options.spec)
    if options.json:
        render.result_json(found)
        return 0
    for name, text in _facts(found):
        render.result(f"{name:<12}{text}")
    if found.lineage:
        columns = ("stage", "checkpoint", "weights", "from", "data", "val mIoU %", "MACs", "parameters")
        rows = [_step(step) for step in found.lineage]
        render.table("Lineage", columns, rows, numbers=columns[-3:])
    return 0


def _facts(found: Inspection) -> list[tuple[str, str]]:
    spec, (high, width) = found.spec, found.spec.size
    facts = [(found.kind, f"{spec.name} ({found.path})"), ("net", f"{spec.architecture}, {len(spec.classes)} classes, "
             f"input {high}x{width}, output stride {spec.output_stride}")]  # fmt: skip
    if found.format:
        facts.append(("format", f"{found.format} {found.precision}, {(found.size_bytes or 0) / 1e6:.2f} MB"))
    if found.proof:
        facts.append(("proof", found.proof))
    if found.macs is not None and found.parameters is not None:
        facts.append(("cost", f"{found.macs / 1e6:.1f} M MACs, {found.parameters / 1e3:.1f} k parameters"))
    facts.append(("pruned", _pruned(found)))
    if spec.bypassed:
        facts.append(("gates", f"constant, folded into the weights behind them: {len(spec.bypassed)}"))
    facts += [
        ("rewritten", f"{item.op} as {item.to}{f' in {item.layer}' if item.layer else ''}") for item in spec.rewrites
    ]
    facts.append(("ranges", _ranges(found)))
    facts += _artifact_facts(found)
    facts.append(("weights", spec.weights_sha256))
    facts.append(("licence", found.licence + (f". {found.notice}" if found.notice else "")))
    return facts


def _artifact_facts(found: Inspection) -> list[tuple[str, str]]:
    """Return how an app runs an artifact, and how well it is proven; nothing for a checkpoint."""
    if found.preprocess is None:
        return []
    rule, gate = found.preprocess, found.gate
    normalised = "bytes in, normalised by the model" if rule.in_graph else f"mean {rule.mean}, std {rule.std}"
    facts = [
        ("input", _tensor(found.inputs[0])),
        ("preprocess", f"{rule.color_order.upper()}, {rule.resize}, {rule.interpolation}; {normalised}"),
        ("output", _tensor(found.outputs[0])),
    ]
    if gate is not None:
        words = [f"{100 * gate.label_agreement:.2f} % of labels on {gate.images} images of {gate.source}"]
        if gate.decided_agreement is not None:
            words.append(f"{100 * gate.decided_agreement:.2f} % of decided ones")
        if gate.sqnr_db is not None:
            words.append(f"SQNR {gate.sqnr_db:.1f} dB")
        if gate.miou_change is not None:
            change = gate.miou_change
            words.append(f"mIoU {100 * change.value:+.2f} ({100 * change.low:+.2f} to {100 * change.high:+.2f})")
        facts.append(("gate", ", ".join(words)))
    facts.append(("sha256", found.sha256))
    return facts


def _tensor(tensor: TensorSpec) -> str:
    sides = "x".join(str(side) for side in tensor.shape)
    scale = "" if tensor.scale is None else f", scale {tensor.scale:.6g}, zero point {tensor.zero_point or 0}"
    return f"{tensor.name}: {tensor.role} {sides} {tensor.layout} {tensor.dtype}{scale}"


def _pruned(found: Inspection) -> str:
    if not found.spec.channels:
        return "no: as wide as its architecture"
    if not found.pruned:
        return f"{len(found.spec.channels)} layers are narrower than {found.spec.architecture}'s"
    before, after = sum(item.before for item in found.pruned), sum(item.after for item in found.pruned)
    worst = min(found.pruned, key=lambda item: item.after / item.before)
    return (
        f"{len(found.pruned)} layers give {after} of {before} channels ({100 * after / before:.0f} %); "
        f"most of all {worst.name}, {worst.after} of {worst.before}"
    )


def _ranges(found: Inspection) -> str:
    own = found.ranges
    if own is None:
        return "none"
    how = {"qat": "trained", "static-range": "observed"}.get(own.mode, own.mode)
    count = f"{own.count} " if found.kind == "checkpoint" else ""
    layers = f"; in float: {', '.join(own.float_layers)}" if own.float_layers else ""
    return f"{count}{how}, {own.images} images of {own.source}{layers}"


def _step(step: LineageStep) -> tuple[str, ...]:
    from edgeseg.cli import render

    macs, parameters = step.metrics.get("macs"), step.metrics.get("parameters")
    data = (
        f"{step.data[0].name} {step.data[0].split}, {step.data[0].images} ({step.data[0].licence})" if step.data else ""
    )
    parent = f"{step.parent} {step.parent_sha256[:8]}" if step.parent_sha256 else "fresh weights"
    return (
        step.stage,
        step.checkpoint,
        step.weights_sha256[:8],
        parent,
        data,
        render.percent_text(step.metrics.get("val_miou")),
        "-" if macs is None else f"{macs / 1e6:.1f} M",
        "-" if parameters is None else f"{parameters / 1e3:.1f} k",
    )
