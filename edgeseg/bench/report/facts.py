"""The parts of the page about the figures' origin: device, engines, lineage, licences, commands."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeseg.bench.report import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.bench.compare import Comparison, Row
    from edgeseg.core.measurement import DeviceState, Measurement


def measured_on(comparison: Comparison) -> str:
    """Return the machines and their state as lists of facts, one card per device."""
    devices: dict[tuple[str, str, str], list[Measurement]] = {}
    for row in comparison.rows:
        state = row.measurement.device
        devices.setdefault((state.name, state.cpu, state.os), []).append(row.measurement)
    return f'<div class="cards">{"".join(_device(items) for items in devices.values())}{_method(comparison)}</div>'


def engine_table(rows: Sequence[Row]) -> str:
    """Return each engine's version and the settings that change numbers or speed."""
    seen: dict[tuple[str, str, str], None] = {}
    for row in rows:
        item = row.measurement
        settings = ", ".join(f"{key} = {value}" for key, value in sorted(item.engine_options.items())) or words.NONE
        seen[item.engine, item.engine_version or words.NONE, settings] = None
    lines = "".join(
        f'<tr><th scope="row" class="left">{escape(name)}</th><td class="left">{escape(version)}</td>'
        f'<td class="left wrap">{escape(settings)}</td></tr>'
        for name, version, settings in seen
    )
    head = "".join(f'<th scope="col" class="left">{name}</th>' for name in ("engine", "version", "settings"))
    return f"{words.SCROLLING}<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def lineage_cards(rows: Sequence[Row]) -> str:
    """Return where each model's weights come from, under which licence, and the notice that the licence requires."""
    cards = {}
    for row in rows:
        item = row.measurement
        if item.lineage is None and not (item.licence or item.notice):
            continue
        origin = item.lineage
        facts = [("licence", item.licence)]
        if origin is not None:
            facts += [
                ("checkpoint", origin.checkpoint), ("trained on", origin.training_data),
                ("seed", "" if origin.seed is None else str(origin.seed)), ("parents", ", ".join(origin.parents)),
                ("weights", origin.weights_sha256[:16]),
            ]  # fmt: skip
        body = _facts(facts) + (f'<p class="notice">{escape(item.notice)}</p>' if item.notice else "")
        if origin is not None and origin.training_command:
            body += f"<pre tabindex=0><code>{escape(origin.training_command)}</code></pre>"
        cards[item.model, body] = f"<div class=card><h3>{escape(item.model)}</h3>{body}</div>"
    return f'<div class="cards">{"".join(cards.values())}</div>' if cards else ""


def artifact_table(rows: Sequence[Row]) -> str:
    """Return the hash of each artifact, which identifies it."""
    lines = "".join(
        f'<tr><th scope="row" class="left">{escape(row.label)}</th>'
        f'<td class="left">{escape(row.measurement.artifact)}</td>'
        f'<td class="left"><code>{escape(row.measurement.artifact_sha256[:16])}</code></td>'
        f'<td class="left">{escape(row.measurement.created.replace("T", " ").replace("+00:00", " UTC"))}</td></tr>'
        for row in rows
    )
    head = "".join(f'<th scope="col" class="left">{name}</th>' for name in ("row", "artifact", "SHA-256", "measured"))
    return f"{words.SCROLLING}<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def _device(items: Sequence[Measurement]) -> str:
    first, last = items[0].device, items[-1].device
    facts = [
        ("CPU", f"{first.cpu}, {first.arch}"),
        ("cores", str(first.cores)),
        ("memory", "" if first.memory_mb is None else f"{first.memory_mb / 1000:.1f} GB"),
        ("system", first.os),
        ("Python", first.python),
        *_state(first, last),
    ]
    emulated = '<span class="badge">emulated</span>' if first.emulated else ""
    return f"<div class=card><h3>{escape(first.name)} {emulated}</h3>{_facts(facts)}</div>"


def _state(first: DeviceState, last: DeviceState) -> list[tuple[str, str]]:
    before, after = first.temperature_before_c, last.temperature_after_c
    warm = f"{before:.0f} → {after:.0f} °C" if before is not None and after is not None else ""
    return [
        ("load before", "" if first.load_average is None else f"{first.load_average:.2f} processes"),
        ("temperature", warm or "unavailable"),
        ("frequency", "unavailable" if last.frequency_mhz is None else f"{last.frequency_mhz:.0f} MHz"),
        ("throttled", "unavailable" if last.throttled is None else "yes" if last.throttled else "no"),
        ("power", "unavailable" if last.power_w is None else f"{last.power_w:.1f} W"),
    ]


def _method(comparison: Comparison) -> str:
    items = [row.measurement for row in comparison.rows]
    timed = [item for item in items if item.latency]
    facts = [("input", words.listed(words.size_text(item.input_size) for item in items))]
    if timed:
        runs = words.listed(f"{item.latency[0].runs} after {item.warmup} warm-up" for item in timed)
        facts += [
            ("images timed", words.listed(words.size_text(item.image_size) for item in timed)),
            ("runs each", runs),
            ("threads", words.listed(str(item.threads) for item in timed)),
            ("fps", "1000 / p50 of the total; nothing overlapped"),
            ("memory", words.listed(item.peak_memory_how for item in timed if item.peak_memory_how)),
        ]
    scored = [item.accuracy for item in items if item.accuracy]
    if scored:
        data = words.listed(f"{item.data} {item.split}, {item.images} images" for item in scored)
        facts += [("accuracy on", data), ("scored at", "each image's own size, unlabelled pixels left out")]
    return f"<div class=card><h3>How it was measured</h3>{_facts(facts)}</div>"


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts if text)
    return f"<dl>{lines}</dl>"
