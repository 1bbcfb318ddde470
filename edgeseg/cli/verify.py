"""`edgeseg verify ARTIFACT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "check an artifact's checksums and its golden sample on an engine of this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="folder that edgeseg convert wrote")
    add_engine(parser)


def run(options: argparse.Namespace) -> int:
    """Verify, and print what was found."""
    from edgeseg.cli import render
    from edgeseg.runtime import verify

    found = verify(options.artifact, engine=options.engine, threads=options.threads)
    if options.json:
        render.result_json(found)
        return 0
    render.result(
        f"{options.artifact}: intact. {found.files} files match their checksums; on {found.engine} the golden sample's "
        f"labels agree in {100 * found.agreement:.2f} % with the conversion's and in "
        f"{100 * found.reference_agreement:.2f} % with float PyTorch's."
    )
    return 0
