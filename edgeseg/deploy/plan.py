"""From a request (`raspberry-pi-5`, `tflite`, `./board.toml`, `auto`) to the artifacts that will be made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.protocols import Compiler, Converter, Normalisation, RuledConverter
from edgeseg.core.quantization import PRECISIONS, SCHEMES, Precision
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.core.suggestions import unknown
from edgeseg.core.target_names import compiler_of
from edgeseg.errors import InputError, UnsupportedError
from edgeseg.export import DeployedOutput
from edgeseg.targets import broken_targets, find_target, load_targets
from edgeseg.toolchains import find_left_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.core.target import Target

RequestedPrecision = str
"""A precision, or "auto"."""
_DEFAULT_OUT = Path("artifacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCandidate:
    """One precision and head that is tried: where it goes if it is chosen.

    If it is refused, its worst image goes beside `shown`, which no other candidate has.
    """

    precision: Precision
    output: DeployedOutput
    path: Path
    shown: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArtifact:
    """One planned artifact: target, format, precision, backend, destination, and the reason for the choice.

    `rules` say what computes in int8: the converter's, as far as the target does not replace them. `normalisation` is
    None where the checkpoint decides. A format that a compiler makes is converted to the one it reads and compiled
    with `compile_options`. With the `calibrator` "native" the vendor's quantizer makes the int8. `left_out` names the
    tool for the target's accelerator that edgeseg does not install. `suffix` ends the folder's name where several
    artifacts would have the same. Where a precision or a head is searched, the best of the `candidates` is written.
    """

    target: str
    format: str
    backend: ResolvedBackend
    precision: Precision
    path: Path
    reason: str
    rules: QuantizationRules = DEFAULT_RULES
    normalisation: Normalisation | None = None
    compile_options: dict[str, str] = field(default_factory=dict)
    calibrator: str = "edgeseg"
    left_out: str = ""
    suffix: str = ""
    candidates: tuple[PlannedCandidate, ...] = ()

    @property
    def engine(self) -> str:
        """Name of the engine that will run it."""
        return self.backend.engine

    @property
    def remark(self) -> str:
        """Why the target's accelerator is not used, in one line; "" if no tool for it is left out."""
        if not self.left_out:
            return ""
        return f"{self.target}: this file runs on its CPU. {find_left_out(self.left_out).line}"


def plan_artifacts(
    targets: tuple[str, ...],
    *,
    precision: RequestedPrecision,
    has_ranges: bool,
    model: str,
    out: Path | None,
    searched: bool = False,
) -> tuple[PlannedArtifact, ...]:
    """Return the artifacts to make; a target named twice is made once.

    `has_ranges` says whether int8 is possible, which decides "auto" for a bare format. One artifact goes to `out`
    itself, several into folders below it, each with a name of its own: with `searched`, whatever precision it gets.

    Raises:
        UnknownName, InputError, RecipeError: a target that does not exist or does not follow the schema, or two that
            would be written to the same folder.
        UnsupportedError: a precision that the target or its format does not have.
    """
    if not targets:
        raise InputError("No target given. Name a format or a device, for example --target tflite.")
    if precision not in ("auto", *PRECISIONS):
        raise unknown("precision", precision, ("auto", *PRECISIONS))
    chosen = [_choose(text, precision=precision, has_ranges=has_ranges) for text in dict.fromkeys(targets)]
    # Two devices may use the same file with different engines; each gets its own folder.
    stems = [f"{model}-{item.format}" + ("" if searched else f"-{item.precision}") for item in chosen]
    planned = []
    for item, suffix in zip(chosen, _suffixes(stems, [item.target for item in chosen]), strict=True):
        name = f"{model}-{item.format}-{item.precision}{suffix}"
        path = (out or _DEFAULT_OUT) / name if out is None or len(chosen) > 1 else out
        planned.append(
            PlannedArtifact(
                target=item.target,
                format=item.format,
                backend=item.backend,
                precision=item.precision,
                path=path,
                reason=item.reason,
                rules=item.rules,
                normalisation=item.normalisation,
                compile_options=item.compile_options,
                left_out=item.left_out,
                suffix=suffix,
            )
        )
    return tuple(planned)


def _suffixes(stems: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Return what ends each folder's name: nothing, or its target, or the target's file with the folder it lies in.

    Raises:
        InputError: two targets that these do not tell apart.
    """
    suffixes = ["" for _ in stems]
    for naming in (_file_name, _name_in_folder):
        counted = Counter(_folded(stems, suffixes))
        suffixes = [
            f"-{naming(target)}" if counted[name] > 1 else suffix
            for name, target, suffix in zip(_folded(stems, suffixes), targets, suffixes, strict=True)
        ]
    names = _folded(stems, suffixes)
    for index, name in enumerate(names):
        first = names.index(name)
        if first < index:
            raise InputError(
                f"{targets[first]} and {targets[index]}: both artifacts would be written to the same folder. Leave one "
                "out, rename its file, or convert them one by one, each with an --out of its own."
            )
    return suffixes


def _folded(stems: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Return the names as file systems compare them that ignore case."""
    return [f"{stem}{suffix}".casefold() for stem, suffix in zip(stems, suffixes, strict=True)]


def _file_name(target: str) -> str:
    return Path(target).stem if target.endswith(".toml") else target


def _name_in_folder(target: str) -> str:
    if not target.endswith(".toml"):
        return target
    return "-".join(filter(None, (Path(target).resolve().parent.name, _file_name(target))))


def route_to(format_name: str) -> tuple[Converter, Compiler | None]:
    """Return the converter on the way to a format, and the compiler behind it if the format is a compiler's.

    Raises:
        UnknownName: nothing makes the format.
        MissingDependency: a plug-in that cannot be imported or is not a converter.
    """
    compiler = compiler_of(format_name)
    return converter_for(format_name if compiler is None else compiler.reads), compiler


def converter_for(format_name: str) -> Converter:
    """Return the converter that produces a format.

    Raises:
        UnknownName: no converter of that name.
        MissingDependency: a plug-in that cannot be imported or is not a converter.
    """
    return registry.load_as("converters", format_name, Converter)  # type: ignore[type-abstract]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    target: str
    format: str
    backend: ResolvedBackend
    precision: Precision
    reason: str
    rules: QuantizationRules
    normalisation: Normalisation | None = None
    compile_options: dict[str, str] = field(default_factory=dict)
    left_out: str = ""


def _choose(text: str, *, precision: RequestedPrecision, has_ranges: bool) -> _Choice:
    formats = registry.names("converters")
    if text in formats:
        converter = converter_for(text)
        picked = _preferred(converter, has_ranges=has_ranges) if precision == "auto" else precision
        reason = f"ranges {'available' if has_ranges else 'missing'}" if precision == "auto" else "as requested"
        engine = converter.engines[0] if converter.engines else ""
        choice = _Choice(
            target=text,
            format=text,
            backend=ResolvedBackend(engine=engine),
            precision=picked,
            reason=reason,
            rules=_rules(converter),
        )
    else:
        choice = _backend(_target(text, formats), text=text, precision=precision)
    converter, _ = route_to(choice.format)
    if choice.precision not in converter.precisions:
        able = " or ".join(converter.precisions)
        raise UnsupportedError(f"{converter.title} has no {choice.precision} here. Give --precision {able}.")
    return choice


def _rules(converter: Converter) -> QuantizationRules:
    return converter.rules if isinstance(converter, RuledConverter) else DEFAULT_RULES


def _preferred(converter: Converter, *, has_ranges: bool) -> Precision:
    """Return the precision of "auto" for a format: int8 if there are ranges, else the first that needs none."""
    if has_ranges and "int8" in converter.precisions:
        return "int8"
    return next((name for name in converter.precisions if not SCHEMES[name].needs_ranges), converter.precisions[0])


def _target(text: str, formats: tuple[str, ...]) -> Target:
    devices = {target.name for target in load_targets()} | {broken.name for broken in broken_targets()}
    if not text.endswith(".toml") and text not in devices:
        raise unknown("target", text, (*formats, *devices))
    return find_target(text)


def _backend(target: Target, *, text: str, precision: RequestedPrecision) -> _Choice:
    """Return the target's first backend, or its first one with the requested precision."""
    for backend in target.backends:
        if precision == "auto" or precision in backend.schemes:
            picked = backend.schemes[0] if precision == "auto" else precision
            rules = _rules(route_to(backend.format)[0])
            return _Choice(
                target=target.name if not text.endswith(".toml") else text,
                format=backend.format,
                backend=ResolvedBackend(
                    engine=backend.engine, delegate=backend.delegate, threads=backend.threads, options=backend.options
                ),
                precision=picked,
                reason=backend.reason,
                rules=rules if backend.quantization is None else backend.quantization.applied_to(rules),
                normalisation=backend.normalisation or None,
                compile_options=backend.compile_options,
                left_out=backend.left_out,
            )
    able = sorted({scheme for backend in target.backends for scheme in backend.schemes})
    raise UnsupportedError(f"{target.name} has no backend for {precision}; its backends have {', '.join(able)}.")
