"""`edgeseg verify ARTIFACT`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edgeseg.runtime import Verification

HELP = "check an artifact's checksums, and its golden sample on an engine of this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_delegation, add_engine, positive
    from edgeseg.cli.remote import add_device_name, add_device_option

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="folder from edgeseg convert, compile or adopt")
    add_engine(parser)
    parser.add_argument(
        "--sha256", metavar="DIGEST", help="the artifact's hash, as edgeseg convert --json printed it; refuse any other"
    )
    parser.add_argument("--receipt", action="store_true", help="write the result to receipts/ in the artifact's folder")
    add_delegation(parser)
    add_device_option(parser)
    add_device_name(parser)
    parser.add_argument(
        "--time-limit", metavar="S", type=positive, default=60, help="seconds that one inference may take (default: 60)"
    )
    parser.add_argument(
        "--memory-limit", metavar="MB", type=positive, default=2048, help="memory for one inference (default: 2048)"
    )


def run(options: argparse.Namespace) -> int:
    """Verify, and print the result."""
    from edgeseg.cli import render
    from edgeseg.cli.remote import remote_names
    from edgeseg.core.records import encode_record
    from edgeseg.runtime import Limits
    from edgeseg.verbs.verify import verify_artifact

    if names := remote_names(options):
        return _run_on_devices(options, names)
    done = verify_artifact(
        options.artifact,
        engine=options.engine,
        threads=options.threads,
        limits=Limits(seconds=options.time_limit, memory_mb=options.memory_limit),
        receipt=options.receipt,
        device=options.device_name,
        sha256=options.sha256,
        require_delegation=options.require_delegation,
    )
    found = done.verification
    if options.json:
        table = encode_record(found)
        assert isinstance(table, dict)
        placements = [encode_record(item) for item in done.placements]
        render.result_json({**table, "receipt": done.receipt, "proof": done.proof, "placements": placements})
        return 0
    render.result(
        f"{options.artifact}: intact. {found.files} files match their checksums. On {found.engine} "
        f"{100 * found.agreement:.2f} % of the golden labels agree with {_compared(found)}"
    )
    if done.placements:
        units = Counter(item.unit for item in done.placements)
        render.result(f"Ops that ran: {', '.join(f'{count} on {unit}' for unit, count in units.most_common())}")
    if done.receipt is not None:
        render.result(f"Receipt: {done.receipt}")
    return 0


def _compared(found: Verification) -> str:
    if found.foreign:
        return "the file's own when it was adopted; there is no float checkpoint to compare with."
    return f"those at conversion, {100 * found.reference_agreement:.2f} % with float PyTorch's."


def _run_on_devices(options: argparse.Namespace, names: Sequence[str]) -> int:
    from edgeseg.cli import render
    from edgeseg.cli.remote import forwarded, outcome_table, show_line
    from edgeseg.verbs.device import raise_failures, run_verb_on, store_receipt

    words = forwarded(options)
    outcomes = run_verb_on(names, "verify", words if options.receipt else [*words, "--receipt"], tell=show_line)
    receipts = [(item, store_receipt(item, artifact=options.artifact)) for item in outcomes]
    if options.json:
        devices = [{**outcome_table(item), "receipt": receipt} for item, receipt in receipts]
        render.result_json({"schema": 1, "devices": devices})
    else:
        for item, receipt in receipts:
            if item.table is not None and not item.error:
                agreement = render.percent_text(item.table.get("agreement"))
                render.result(f"{item.device}: {agreement} % of the golden labels agree. Receipt: {receipt}")
    raise_failures(outcomes)
    return 0
