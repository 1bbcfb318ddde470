"""`edgeseg verify ARTIFACT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.runtime import Verification

HELP = "check an artifact's checksums, and its golden sample on an engine of this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, positive

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="folder from edgeseg convert, compile or adopt")
    add_engine(parser)
    parser.add_argument(
        "--sha256", metavar="DIGEST", help="the artifact's hash, as edgeseg convert --json printed it; refuse any other"
    )
    parser.add_argument("--receipt", action="store_true", help="write the result to receipts/ in the artifact's folder")
    parser.add_argument("--device", metavar="NAME", help="this machine's name in the receipt (default: its own)")
    parser.add_argument(
        "--time-limit", metavar="S", type=positive, default=60, help="seconds that one inference may take (default: 60)"
    )
    parser.add_argument(
        "--memory-limit", metavar="MB", type=positive, default=2048, help="memory for one inference (default: 2048)"
    )


def run(options: argparse.Namespace) -> int:
    """Verify, and print the result."""
    from edgeseg.cli import render
    from edgeseg.core.records import encode_record
    from edgeseg.runtime import Limits
    from edgeseg.verbs.verify import verify_artifact

    done = verify_artifact(
        options.artifact,
        engine=options.engine,
        threads=options.threads,
        limits=Limits(seconds=options.time_limit, memory_mb=options.memory_limit),
        receipt=options.receipt,
        device=options.device,
        sha256=options.sha256,
    )
    found = done.verification
    if options.json:
        table = encode_record(found)
        assert isinstance(table, dict)
        render.result_json({**table, "receipt": done.receipt})
        return 0
    render.result(
        f"{options.artifact}: intact. {found.files} files match their checksums. On {found.engine} "
        f"{100 * found.agreement:.2f} % of the golden labels agree with {_compared(found)}"
    )
    if done.receipt is not None:
        render.result(f"Receipt: {done.receipt}")
    return 0


def _compared(found: Verification) -> str:
    if found.foreign:
        return "the file's own when it was adopted; there is no float checkpoint to compare with."
    return f"those at conversion, {100 * found.reference_agreement:.2f} % with float PyTorch's."
