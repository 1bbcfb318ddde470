"""`edgeseg convert [MODEL] --target T`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.cli.placement import SHOWN_FALLBACKS, placement_lines

if TYPE_CHECKING:
    import argparse

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.choice import Choice
    from edgeseg.verbs.convert import ConversionPlan

HELP = "turn a checkpoint into proven artifacts for one or more targets"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_delegation, add_model, fraction, positive
    from edgeseg.core.quantization import CALIBRATORS, PRECISIONS

    add_model(parser)
    parser.add_argument(
        "--target",
        metavar="T",
        action="append",
        required=True,
        help="a format or a device (edgeseg targets lists them), or ./board.toml; may be given several times",
    )
    parser.add_argument(
        "--precision",
        metavar="P",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="of weights and activations: fp32, fp16, int8 or another of the format (default: auto: the device's "
        "first; for a format int8 where there are ranges, else fp32)",
    )
    parser.add_argument(
        "--calibration",
        metavar="DIR|SET",
        help="train images to observe int8 ranges on, or streets[:count[:seed]] (default: the ranges that "
        "come with the checkpoint)",
    )
    parser.add_argument(
        "--calibrator",
        choices=CALIBRATORS,
        default="edgeseg",
        help="who makes int8: edgeseg, or for comparison the vendor's own quantizer (NNCF for openvino, ONNX Runtime's "
        "for onnx, ai-edge-quantizer for tflite) on the same images of --calibration",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="images to prove on, a folder or a data set (default: calibration images that were left out of the "
        "calibration, else the checkpoint's own, else rendered streets)",
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        help="input size in pixels, HEIGHTxWIDTH (default: the checkpoint's own)",
    )
    parser.add_argument(
        "--output",
        "--head",
        choices=("logits", "labels", "full", "auto"),
        default="logits",
        help="what the graph ends with: logits, decoded exactly at any size by edgeseg; labels at the output's own "
        "resolution; full: exact labels at the input's size; auto: the fastest of them (default: logits)",
    )
    parser.add_argument(
        "--max-drop",
        metavar="X",
        type=fraction,
        help="most that may be lost, a fraction of mIoU (of labels without ground truth in --data): try every "
        "precision that --precision allows, and keep the fastest within it",
    )
    parser.add_argument("--opset", metavar="N", type=positive, help="ONNX opset for an older runtime, 13 to 20")
    parser.add_argument(
        "--ir-version", metavar="N", type=positive, help="ONNX IR version for an older runtime, 7 to 10"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="folder of the artifact, or of all where there are several (default: artifacts/<name>)",
    )
    parser.add_argument("--force", action="store_true", help="replace another artifact at --out")
    parser.add_argument(
        "--allow-held-out",
        action="store_true",
        help="calibrate on val or test images, whose figures then look too good",
    )
    parser.add_argument(
        "--ignore-findings", action="store_true", help="calibrate although a finding says that the images are wrong"
    )
    add_delegation(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")


def run(options: argparse.Namespace) -> int:
    """Convert, and print where the artifacts are, and how closely they agree with the float checkpoint."""
    from edgeseg.cli import render
    from edgeseg.cli.options import size_of
    from edgeseg.verbs.convert import ConversionRequest, convert_as_requested, plan_conversion

    request = ConversionRequest(
        target=tuple(options.target),
        precision=options.precision,
        calibration=options.calibration,
        calibrator=options.calibrator,
        data=options.data,
        size=size_of(options.size),
        output=options.output,
        max_drop=options.max_drop,
        opset=options.opset,
        ir_version=options.ir_version,
        out=options.out,
        force=options.force,
        allow_held_out=options.allow_held_out,
        ignore_findings=options.ignore_findings,
        require_delegation=options.require_delegation,
    )
    if options.dry_run:
        planned = plan_conversion(options.model, request, weights=options.weights, spec=options.spec)
        return _show_plan(planned, options)
    with render.progress(quiet=options.json) as advance:
        artifacts = convert_as_requested(
            options.model,
            request,
            weights=options.weights,
            spec=options.spec,
            on_progress=advance,
            on_notice=render.say,
        )
    if artifacts and artifacts[0].manifest.notice:
        render.say(artifacts[0].manifest.notice)
    if options.json:
        render.result_json({"artifacts": [summary(artifact) for artifact in artifacts]})
        return 0
    for artifact in artifacts:
        render.result(_sentence(artifact))
        if artifact.manifest.choice is not None:
            _show_choice(artifact.manifest.choice)
    return 0


def _show_choice(choice: Choice) -> None:
    from edgeseg.cli import render

    high, wide = choice.display
    rows = [
        (
            item.precision,
            item.output,
            "-" if item.p50_ms is None else f"{item.p50_ms:.2f}",
            render.percent_text(item.drop),
            "-" if item.size_bytes is None else f"{item.size_bytes / 1e6:.2f}",
            item.reason,
        )
        for item in choice.candidates
    ]
    columns = ("precision", "head", "p50 ms", f"lost {choice.measure} %", "MB", "why")
    title = f"Measured on {choice.engine}, {choice.threads} threads, decoded to {high}x{wide}"
    render.table(title, columns, rows, numbers=columns[2:5])


def summary(artifact: Artifact) -> dict[str, object]:
    """Return what `--json` says of an artifact: the words that scripts rely on."""
    manifest = artifact.manifest
    return {
        "path": str(artifact.folder),
        "name": manifest.name,
        "target": manifest.target,
        "format": manifest.format,
        "precision": manifest.scheme.name,
        "engine": manifest.engine,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "licence": manifest.licence,
        "float_layers": manifest.scheme.float_layers,
        "proof": manifest.proof,
        "parity": manifest.parity,
        "gate": manifest.gate,
        "choice": manifest.choice,
        "report": manifest.report,
    }


def _sentence(artifact: Artifact) -> str:

    manifest, parity = artifact.manifest, artifact.manifest.parity
    report = manifest.report
    proven = "not proven here"
    if parity.images:
        proven = f"{100 * parity.label_agreement:.2f} % of labels as float PyTorch on {parity.images} images"
        proven += f" ({parity.engine})"
    lines = [
        f"{artifact.folder}  {manifest.format} {manifest.scheme.name}, {artifact.size_bytes / 1e6:.2f} MB, {proven}"
    ]
    if manifest.proof.level != "engine":
        lines.append(f"  proof level: {manifest.proof.level}. {manifest.proof.reason}".rstrip())
    if manifest.origin == "compiled":
        return "\n".join([*lines, *placement_lines(artifact)])
    if manifest.scheme.needs_ranges:
        by = f", by {report.calibrator}" if report.calibrator else ""
        lines.append(f"  {report.ops_quantized} of {report.ops_total} ops in int8{by}")
    lines += [f"  in float: {item.op} {item.node}: {item.reason}" for item in report.fallbacks[:SHOWN_FALLBACKS]]
    if len(report.fallbacks) > SHOWN_FALLBACKS:
        lines.append(f"  and {len(report.fallbacks) - SHOWN_FALLBACKS} more in {artifact.folder / 'manifest.json'}")
    return "\n".join(lines)


def _show_plan(planned: ConversionPlan, options: argparse.Namespace) -> int:
    from edgeseg.cli import render

    if planned.warning:
        render.say(planned.warning)
    if options.json:
        render.result_json(planned)
        return 0
    render.result(f"{planned.model} from {planned.checkpoint}, input {planned.size[0]}x{planned.size[1]}")
    if planned.ranges:
        render.result(f"int8 ranges: {planned.ranges}")
    rows = [(a.target, a.format, a.precision, a.engine, str(a.path), a.reason) for a in planned.artifacts]
    render.table("Would write", ("target", "format", "precision", "engine", "path", "why"), rows)
    for remark in filter(None, (item.remark for item in planned.artifacts)):
        render.say(remark)
    return 0
