"""What measurements must have in common to be comparable, and warnings about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.core.measurement import Accuracy, Measurement

BUSY_LOAD_PER_CORE = 1.5


def data_key(accuracy: Accuracy) -> str:
    """Return the key of a record's images: their hash, or in old records their name."""
    return accuracy.data_sha256 or _data_name(accuracy)


def check_alike(measurements: Sequence[Measurement], *, mixed: tuple[str, ...] = ()) -> None:
    """Check that all were measured on the same data, at the same sizes, and in comparable states.

    Raises:
        InputError: a field in which they differ and that is not in `mixed`.
        UnknownName: a name in `mixed` that is not a field.
    """
    for name in mixed:
        if name not in FIELDS:
            raise unknown("field to mix", name, FIELDS)
    for name, (title, tell) in FIELDS.items():
        if name in mixed:
            continue
        kinds: dict[str, str] = {}
        for item in measurements:
            if (text := tell(item, measurements)) is not None:
                kinds.setdefault(text, item.name)
        if len(kinds) > 1:
            listed = "; ".join(f"{text} ({who})" for text, who in kinds.items())
            raise InputError(
                f"These measurements differ in {title}: {listed}. Compare them separately, or add --mixed {name}."
            )


def find_warnings(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return warnings, one sentence each: what differs between these measurements or makes them unreliable."""
    found = []
    threads = list(dict.fromkeys(str(item.threads) for item in measurements if item.latency))
    if len(threads) > 1:
        found.append(f"Different numbers of threads: {', '.join(threads)}.")
    for name, (title, tell) in FIELDS.items():
        kinds = list(dict.fromkeys(text for item in measurements if (text := tell(item, measurements)) is not None))
        if len(kinds) > 1 and name not in ("emulated", "throttled"):
            found.append(f"They differ in {title}: {'; '.join(kinds)}. Do not compare rows that differ in it.")
    if any(item.device.emulated for item in measurements):
        found.append("Measured on an emulated device: its times mean nothing and are left out.")
    if any(item.device.throttled for item in measurements):
        found.append("The device was throttled during a run: cool it or improve its power supply, and measure again.")
    unhashed = [item for item in measurements if item.accuracy and not item.accuracy.data_sha256]
    if unhashed and len(unhashed) < len(measurements):
        found.append(f"{len(unhashed)} records are of schema 1 and identify their data only by name.")
    loads = [m.device.load_average or 0.0 for m in measurements if m.latency]
    if any(m.latency and (m.device.load_average or 0) > BUSY_LOAD_PER_CORE * m.device.cores for m in measurements):
        found.append(
            f"The machine was busy (load average {max(loads):.1f}): trust the ratios of one run, not the milliseconds."
        )
    notes = dict.fromkeys(note for item in measurements if item.accuracy for note in item.accuracy.notes)
    return (*found, *notes)


def _data(item: Measurement, among: Sequence[Measurement]) -> str | None:
    if item.accuracy is None:
        return None
    all_hashed = all(other.accuracy.data_sha256 for other in among if other.accuracy)
    if not all_hashed:
        return _data_name(item.accuracy)
    # Equal hashes are equal data, whatever they are called: the first one's name stands for all.
    digest = item.accuracy.data_sha256
    first = next(other.accuracy for other in among if other.accuracy and other.accuracy.data_sha256 == digest)
    return f"{_data_name(first)}, SHA-256 {digest[:12]}"


def _data_name(accuracy: Accuracy) -> str:
    return f"{accuracy.data} {accuracy.split}, {accuracy.images} images"


def _size(size: tuple[int, int] | None) -> str | None:
    return f"{size[0]}x{size[1]}" if size else None


FIELDS: dict[str, tuple[str, Callable[[Measurement, Sequence[Measurement]], str | None]]] = {
    "data": ("accuracy.data_sha256, the images they were scored on", _data),
    "input_size": ("input_size, the net's input", lambda item, _: _size(item.input_size)),
    "image_size": ("image_size, the images that were timed", lambda item, _: _size(item.image_size)),
    "emulated": (
        "device.emulated",
        lambda item, _: "emulated" if item.device.emulated else "real",
    ),
    "throttled": (
        "device.throttled",
        lambda item, _: None if not item.latency else "throttled" if item.device.throttled else "not throttled",
    ),
}
"""Fields by the name that `--mixed` takes: their titles, and their value in a record, None if it has none."""
