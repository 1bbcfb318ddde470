"""`edgeseg targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.core.target import Backend

HELP = "list the formats and devices that --target takes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="TARGET", nargs="?", help="show one device in full (a name, or ./board.toml)")


def run(options: argparse.Namespace) -> int:
    """List targets, or show one."""
    from edgeseg.cli import render
    from edgeseg.core import registry
    from edgeseg.targets import load_targets

    if options.name:
        return _show(options)
    targets, formats = load_targets(), registry.names("converters")
    if options.json:
        render.result_json({"formats": formats, "targets": targets})
        return 0
    render.result(f"Formats: {', '.join(formats)}\n")
    rows = [
        (
            target.name,
            target.title,
            target.arch,
            ", ".join(f"{backend.format} ({backend.schemes[0]}, {backend.engine})" for backend in target.backends),
        )
        for target in targets
    ]
    render.table("Devices", ("name", "device", "arch", "backends, best first"), rows)
    render.result("Your own device is one TOML file: edgeseg convert --target ./my-board.toml")
    return 0


def _show(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.targets import find_target

    target = find_target(options.name)
    if options.json:
        render.result_json(target)
        return 0
    render.result(f"{target.name}: {target.title}, {target.soc}, {target.arch}, {target.memory_mb} MB")
    if target.cameras:
        render.result(f"Cameras: {', '.join(target.cameras)}")
    columns = ("format", "engine", "delegate", "precisions", "threads", "options", "why")
    render.table("", columns, [_row(backend) for backend in target.backends])
    render.result(f"Verified: {target.verified}")
    return 0


def _row(backend: Backend) -> tuple[str, ...]:
    options = ", ".join(f"{name} = {value}" for name, value in backend.options.items())
    return (
        backend.format,
        backend.engine,
        backend.delegate or "default",
        ", ".join(backend.schemes),
        str(backend.threads),
        options or "-",
        backend.reason,
    )
