"""`edgeseg adopt FILE --spec spec.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.core.artifact import Artifact

HELP = "turn a model file that edgeseg did not make into an artifact"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive

    parser.add_argument("file", metavar="FILE", type=Path, help="a .onnx, .tflite, .xml (with its .bin) or .mlpackage")
    parser.add_argument(
        "--spec",
        metavar="FILE",
        type=Path,
        help="spec.toml: classes, preprocessing and what the output holds (without it, one to start with is printed)",
    )
    parser.add_argument("--size", metavar="HxW", help="input size, HEIGHTxWIDTH, where the file leaves it open")
    parser.add_argument("--output", metavar="NAME", help="the output to use where there are several")
    parser.add_argument(
        "--image",
        metavar="FILE",
        type=Path,
        help="image of the golden sample, stored in the artifact (default: a rendered street)",
    )
    parser.add_argument("--engine", metavar="E", help="engine that makes the golden sample (default: the format's)")
    parser.add_argument(
        "-o", "--out", metavar="DIR", type=Path, help="folder of the artifact (default: artifacts/<name>)"
    )
    parser.add_argument("--force", action="store_true", help="replace another artifact at --out")
    parser.add_argument(
        "--time-limit",
        metavar="S",
        type=positive,
        default=300,
        help="seconds that its first run may take (default: 300)",
    )
    parser.add_argument(
        "--memory-limit", metavar="MB", type=positive, default=8192, help="memory for its first run (default: 8192)"
    )


def run(options: argparse.Namespace) -> int:
    """Adopt, and print where the artifact is and how the file was read."""
    from edgeseg.cli import render
    from edgeseg.cli.convert import summary
    from edgeseg.cli.options import size_of
    from edgeseg.errors import InputError
    from edgeseg.runtime import Limits
    from edgeseg.verbs.adopt import adopt, starter_spec

    if options.spec is None:
        starter = starter_spec(options.file, size=size_of(options.size))
        if not options.json:
            render.result(starter.rstrip())
        raise InputError(
            f"{options.file}: classes and preprocessing are not in the file. Write a spec.toml, such as the one on "
            "stdout, correct its guesses, and give it with --spec spec.toml."
        )
    made = adopt(
        options.file,
        spec=options.spec,
        size=size_of(options.size),
        output=options.output,
        image=options.image,
        engine=options.engine,
        out=options.out,
        force=options.force,
        limits=Limits(seconds=options.time_limit, memory_mb=options.memory_limit),
        on_notice=render.say,
    )
    if made.manifest.notice:
        render.say(made.manifest.notice)
    if options.json:
        render.result_json({"artifacts": [summary(made)]})
        return 0
    render.result(f"{made.folder}  {_sentence(made)}")
    return 0


def _sentence(made: Artifact) -> str:
    manifest = made.manifest
    file, preprocess = manifest.file, manifest.preprocess
    assert file is not None
    shapes = ["x".join(map(str, tensor.shape)) for tensor in (file.input, file.output)]
    pixels = "pixels as they are" if preprocess.in_graph else "normalised pixels"
    holds = f"{file.values} of {'one channel' if file.one_channel else 'each class'}"
    return "\n".join((
        f"{manifest.format} {manifest.scheme.name}, {made.size_bytes / 1e6:.2f} MB",
        f"  input:  {file.input.name}, {shapes[0]} {file.input.dtype}: {pixels}, {preprocess.color_order.upper()}, "
        f"{preprocess.resize}",
        f"  output: {file.output.name}, {shapes[1]} {file.output.dtype}: "
        f"{'class ids' if file.values == 'labels' else holds}",
        f"  {len(manifest.spec.classes)} classes: {_some(manifest.spec.classes)}",
        f"  proof level: file, {manifest.proof.reason} ({manifest.golden.engine})",
    ))  # fmt: skip


def _some(names: tuple[str, ...], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")
