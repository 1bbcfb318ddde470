"""`edgeseg compile ARTIFACT --with NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "compile an artifact for one chip"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_delegation

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="a folder from edgeseg convert")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--with", metavar="NAME", dest="compiler", help="the compiler's name")
    which.add_argument("--target", metavar="T", help="a device whose chip a compiler makes files for, or ./board.toml")
    parser.add_argument(
        "--option", metavar="KEY=VALUE", action="append", default=[], help="an option of the compiler; may be repeated"
    )
    add_delegation(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder of the artifact (default: artifacts/<name>)")
    parser.add_argument("--force", action="store_true", help="replace another artifact at --out")


def run(options: argparse.Namespace) -> int:
    """Compile, and print where the artifact is and how far it was proven."""
    from edgeseg.cli import render
    from edgeseg.cli.convert import summary
    from edgeseg.cli.options import UsageError
    from edgeseg.cli.placement import placement_lines
    from edgeseg.verbs.compile import compile_artifact

    given = {}
    for text in options.option:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f'--option "{text}" is not KEY=VALUE.')
        given[key] = value
    with render.progress(quiet=options.json) as advance:
        made = compile_artifact(
            options.artifact,
            compiler=options.compiler,
            target=options.target,
            options=given,
            out=options.out,
            force=options.force,
            require_delegation=options.require_delegation,
            on_progress=advance,
        )
    if options.json:
        render.result_json({"artifacts": [summary(made)]})
        return 0
    manifest = made.manifest
    render.result(f"{made.folder}  {manifest.format} {manifest.scheme.name}, {made.size_bytes / 1e6:.2f} MB")
    render.result(f"  proof level: {manifest.proof.level}. {manifest.proof.reason}".rstrip())
    for line in placement_lines(made):
        render.result(line)
    return 0
