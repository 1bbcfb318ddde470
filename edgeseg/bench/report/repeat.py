"""Shell commands that reproduce a report's figures."""

from __future__ import annotations

import shlex
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.bench.compare import Comparison
    from edgeseg.core.measurement import Measurement


def repeat(comparison: Comparison) -> str:
    """Return `repeat_commands` as HTML."""
    return f"<pre tabindex=0><code>{escape(chr(10).join(repeat_commands(comparison)))}</code></pre>"


def repeat_commands(comparison: Comparison) -> tuple[str, ...]:
    """Return lines for a shell: convert each artifact, measure on each device, compare.

    A model that is not bundled must exist as a checkpoint folder of its name; a comment says so.
    """
    items = [row.measurement for row in comparison.rows]
    lines = list(dict.fromkeys(_convert(item) for item in items))
    devices = dict.fromkeys(item.device.name for item in items)
    for device in devices:
        own = [item for item in items if item.device.name == device]
        for threads in dict.fromkeys(item.threads for item in own):
            lines += _bench([item for item in own if item.threads == threads], many=len(devices) > 1)
    against = f" --baseline {shlex.quote(comparison.requested)}" if comparison.requested else ""
    mixed = "".join(f" --mixed {name}" for name in comparison.mixed)
    return (*lines, f"edgeseg compare results{against}{mixed} --html report.html")


def _convert(item: Measurement) -> str:
    height, width = item.input_size
    words = ["edgeseg", "convert", item.model, "--target", item.target or item.format, "--precision", item.precision]
    return shlex.join([*words, "--size", f"{height}x{width}", "--out", _folder(item)])


def _folder(item: Measurement) -> str:
    return f"artifacts/{item.artifact}"


def _bench(items: Sequence[Measurement], *, many: bool) -> list[str]:
    first = items[0]
    words = ["edgeseg", "bench", *dict.fromkeys(_folder(item) for item in items), "--threads", str(first.threads)]
    runs = max((item.latency[0].runs for item in items if item.latency), default=0)
    words += ["--runs", str(runs)] if runs else []
    scored = next((item.accuracy for item in items if item.accuracy), None)
    lines = [f"# on {first.device.name}:"] if many else []
    if scored is not None:
        words += ["--data", scored.source or scored.data, "--split", scored.split, "--limit", str(scored.images)]
        if not scored.source:
            lines.append(f"# with the data set {scored.data} in a folder of that name:")
    return [*lines, shlex.join([*words, "--device-name", first.device.name, "--out", "results"])]
