"""The baseline of each measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.core.measurement import Measurement


_LEAST_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """The index of each measurement's baseline or None; `fixed` is the index of a common baseline.

    `words` describe the baseline if it is not a common one.
    """

    indices: tuple[int | None, ...]
    words: str = ""
    fixed: int | None = None
    warnings: tuple[str, ...] = ()


def choose_baselines(measurements: Sequence[Measurement], text: str | None) -> Baselines:
    """Return the baselines that `text` names, as `compare` explains; errors are those of `compare`."""
    if text is None or any(item.model == text for item in measurements):
        return _float_baselines(measurements, model=text)
    across = [index for index, item in enumerate(measurements) if text in (item.name, f"{item.name}{_run(item)}")]
    if across:
        fixed = _only(measurements, across, text)
        return Baselines(indices=(fixed,) * len(measurements), fixed=fixed)
    fits = [
        index
        for index, item in enumerate(measurements)
        if text in (item.artifact, f"{item.artifact}{_run(item)}") or _is_hash_of(text, item)
    ]
    if not fits:
        known = [name for m in measurements for name in (m.artifact, m.name, m.model, f"{m.artifact}{_run(m)}")]
        raise unknown("baseline", text, known)
    return _on_each_device(measurements, fits, text)


def _on_each_device(measurements: Sequence[Measurement], fits: list[int], text: str) -> Baselines:
    devices = dict.fromkeys(item.device.name for item in measurements)
    own = {}
    for device in devices:
        here = [index for index in fits if measurements[index].device.name == device]
        if here:
            own[device] = _only(measurements, here, text)
    lacking = [device for device in devices if device not in own]
    warnings = (
        f"{text} was not measured on {', '.join(lacking)}: the rows there have no baseline. To compare across devices, "
        "name it as DEVICE/ARTIFACT.",
    ) if lacking else ()  # fmt: skip
    return Baselines(
        indices=tuple(own.get(item.device.name) for item in measurements),
        words=f"{text} on the same device",
        fixed=next(iter(own.values())) if len(devices) == 1 else None,
        warnings=warnings,
    )


def _float_baselines(measurements: Sequence[Measurement], *, model: str | None) -> Baselines:
    """Return for each the fp32 artifact of its net or of `model`, on the same device and engine, at the same size."""
    indices: list[int | None] = []
    warnings: dict[str, None] = {}
    for item in measurements:
        wanted = model or item.model
        fits = [
            index
            for index, other in enumerate(measurements)
            if other.precision == "fp32" and other.model == wanted and _conditions(other) == _conditions(item)
        ]
        hashes = {measurements[index].artifact_sha256 for index in fits}
        if len(hashes) > 1 and item.artifact_sha256 not in hashes:
            names = ", ".join(sorted({measurements[index].artifact for index in fits}))
            warnings[
                f"{item.artifact} has no baseline: {len(hashes)} different fp32 artifacts of {wanted} were measured on "
                f"{item.device.name} ({names}). Name one with --baseline."
            ] = None
            fits = []
        own = [index for index in fits if measurements[index].artifact_sha256 == item.artifact_sha256]
        indices.append(_latest(measurements, own or fits))
    words = f"fp32 of {model} on the same device and engine" if model else "fp32 on the same device and engine"
    return Baselines(indices=tuple(indices), words=words, warnings=tuple(warnings))


def _conditions(item: Measurement) -> tuple[object, ...]:
    return item.device.name, item.device.cpu, item.engine, item.threads, item.input_size


def _is_hash_of(text: str, item: Measurement) -> bool:
    return len(text) >= _LEAST_DIGITS and item.artifact_sha256.startswith(text.lower())


def _run(item: Measurement) -> str:
    return f"-{item.engine}-{item.threads}t"


def _only(measurements: Sequence[Measurement], fits: list[int], text: str) -> int:
    """Return the run that `text` names: of several of the same artifact under the same conditions, the latest."""
    kinds = {(measurements[index].artifact_sha256, _conditions(measurements[index])) for index in fits}
    if len(kinds) == 1:
        found = _latest(measurements, fits)
        assert found is not None
        return found
    runs = sorted({f"{measurements[index].name}{_run(measurements[index])}" for index in fits})
    if len(runs) == 1:
        hashes = ", ".join(sorted({measurements[index].artifact_sha256[:8] for index in fits}))
        raise InputError(
            f'Baseline "{text}" names {len(kinds)} different artifacts or sizes ({hashes}). Name one by its hash, or '
            "leave the others out."
        )
    raise InputError(f'Baseline "{text}" fits {len(runs)} runs. Say which: {", ".join(runs)}.')


def _latest(measurements: Sequence[Measurement], fits: list[int]) -> int | None:
    return max(fits, key=lambda index: measurements[index].created, default=None)
