"""Compiles an artifact for a chip: check, compile, prove as far as possible, write."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core import registry
from edgeseg.core.artifact import Artifact, Golden, GoldenSample, Manifest, Parity, open_artifact
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.files import new_folder, refuse_foreign, sha256_of_bytes
from edgeseg.core.manifest_schema import MANIFEST_SCHEMA
from edgeseg.core.placement import require_delegated
from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.proof import Proof
from edgeseg.core.protocols import Compiler
from edgeseg.core.suggestions import unknown
from edgeseg.core.target_names import compiler_of
from edgeseg.core.trust import is_known, remember
from edgeseg.core.version import VERSION
from edgeseg.deploy.conversion_checks import check_conversion
from edgeseg.deploy.gate import thresholds_for
from edgeseg.deploy.golden_samples import repeated_agreement, write_png
from edgeseg.deploy.manifest import Proven, seal
from edgeseg.deploy.prove import engine_here, open_for_proof
from edgeseg.deploy.replacing import manifest_in, refuse_no_artifact
from edgeseg.errors import ArtifactError, GateError, InputError, MissingDependency, UnsupportedError
from edgeseg.metrics.agreement import LabelAgreement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeseg.core.exported import Conversion
    from edgeseg.core.protocols import Engine
    from edgeseg.core.target import Backend

_DEFAULT_OUT = Path("artifacts")
_KEPT = 0.25
"""Share of a class's golden pixels that has to stay. Rounding moves borders; a lost or swapped class keeps none."""
_LEAST_SHARE = 0.001
"""Share of all golden pixels from which on a class is judged."""


def compile_artifact(
    artifact: str | Path,
    *,
    compiler: str | None = None,
    target: str | None = None,
    options: Mapping[str, str] | None = None,
    out: Path | None = None,
    force: bool = False,
    require_delegation: float | None = None,
    on_progress: Progress | None = None,
) -> Artifact:
    """Return the artifact that a compiler makes from another one, for one chip.

    Give the `compiler`'s name, or a `target` device with a backend whose format a compiler produces; `options` replace
    the target's own. `require_delegation` is the least share, in percent, of ops on the accelerator. An earlier result
    from the same source in `out` is replaced, anything else of edgeseg's with `force` alone, the source never. The
    proof level is that of the engine or simulator that can run the result here, else "source": only the source artifact
    was proven.

    Raises:
        UnknownName, InputError: a compiler, target or option that does not exist; a destination in use.
        UnsupportedError: the compiler does not support the artifact's format or precision.
        MissingDependency: the compiler's tool is not installed.
        ArtifactError: a source that is not one of ours, or of unknown origin and does not run (see `edgeseg.load`).
        ConversionError: the tool failed.
        GateError: the compiled artifact does not give the labels of its source, or too few ops run on the accelerator;
            nothing is written.
    """
    chosen, place = _find(compiler, target)
    given = {**(place.compile_options if place is not None else {}), **(options or {})}
    for name in given:
        if name not in chosen.options:
            raise unknown(f"option of {chosen.name}", name, chosen.options)
    source = open_artifact(artifact)
    _check_source(chosen, source)
    path = out or _DEFAULT_OUT / f"{source.folder.resolve().name}-{target_stem(target) or chosen.name}"
    _refuse_replacing(path, source=source, made=chosen.format, force=force)
    chosen.check()
    _try_unknown(source)
    return compile_with(
        chosen,
        source,
        options=given,
        backend=None if place is None else resolve_backend(place),
        target=target or chosen.name,
        path=path,
        require_delegation=require_delegation,
        progress=on_progress or no_progress,
    )


def compile_with(
    compiler: Compiler,
    source: Artifact,
    *,
    options: Mapping[str, str],
    backend: ResolvedBackend | None,
    target: str,
    path: Path,
    require_delegation: float | None,
    progress: Progress,
) -> Artifact:
    """Return the artifact in `path` that a checked compiler makes; raises as `compile_artifact` does.

    Another artifact in `path` is replaced: whoever calls this has checked that it may be.
    """
    refuse_foreign(path)
    _refuse_source(path, source=source)
    with new_folder(path) as folder:
        progress(f"compile with {compiler.title}", 0, 0)
        conversion = compiler.compile(source, folder=folder, options=options)
        check_conversion(conversion, folder=folder, name=compiler.name)
        require_delegated(conversion.ops, percent=require_delegation, name=compiler.title)
        first = _draft(source, conversion, compiler=compiler, backend=backend, target=target)
        progress(f"prove {compiler.title}", 0, 0)
        proven = _prove(Artifact(folder=folder, manifest=first), conversion, source=source)
        seal(first, proven=proven, folder=folder)
    compiled = open_artifact(path)
    if is_known(source, engine=source.manifest.engine):
        remember(compiled, how="made")
    return compiled


def compiler_named(name: str) -> Compiler:
    """Return a compiler by its name.

    Raises:
        UnknownName: no compiler of that name.
        MissingDependency: a plug-in that cannot be imported or is not a compiler.
    """
    return registry.load_as("compilers", name, Compiler)  # type: ignore[type-abstract]


def resolve_backend(backend: Backend) -> ResolvedBackend:
    """Return how an artifact for a target's backend is run."""
    return ResolvedBackend(
        engine=backend.engine, delegate=backend.delegate, threads=backend.threads, options=backend.options
    )


def target_stem(target: str | None) -> str:
    """Return a target's name without the path and ending of its file; empty for None."""
    return "" if target is None else Path(target).stem if target.endswith(".toml") else target


def _find(compiler: str | None, target: str | None) -> tuple[Compiler, Backend | None]:
    if compiler is not None:
        return compiler_named(compiler), None
    if target is None:
        raise InputError("Name a compiler (--with NAME) or a device whose chip needs one (--target T).")
    from edgeseg.targets import find_target

    backends = find_target(target).backends
    for backend in backends:
        found = compiler_of(backend.format)
        if found is not None:
            return found, backend
    made = " or ".join(backend.format for backend in backends)
    items = [plugin.value for plugin in registry.load_all("compilers") if isinstance(plugin.value, Compiler)]
    known = ", ".join(f"{item.name} ({item.format})" for item in items) or "none"
    raise UnsupportedError(f"{target}: no compiler makes {made}. Installed compilers: {known}.")


def _refuse_source(path: Path, *, source: Artifact) -> None:
    """Raise `InputError` if the compiled artifact would take its source's place, or lie in it or around it."""
    here, there = source.folder.resolve(), path.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here) or (path.exists() and path.samefile(here)):
        raise InputError(
            f"{path}: is, holds or lies in {source.folder}, the artifact to compile, which is kept. Choose another "
            "--out."
        )


def _refuse_replacing(path: Path, *, source: Artifact, made: str, force: bool) -> None:
    """Raise `InputError` if `path` holds anything else than what was `made` (a format) from the same source.

    `force` allows replacing what edgeseg made, except the source; a damaged artifact may always be replaced.
    """
    refuse_foreign(path)
    _refuse_source(path, source=source)
    refuse_no_artifact(path, force=force)
    there = None if force else manifest_in(path)
    if there is None:
        return
    if there.format != made:
        difference = f"its format is {there.format}, not {made}"
    elif not there.lineage.source_artifact:
        difference = "it was not compiled"
    elif there.lineage.source_artifact != source.sha256:
        difference = f"its source's hash is {there.lineage.source_artifact[:12]}, not {source.sha256[:12]}"
    else:
        return
    raise InputError(f"{path}: holds another artifact: {difference}. Choose another --out, or replace it with --force.")


def _check_source(compiler: Compiler, source: Artifact) -> None:
    manifest = source.manifest
    if manifest.format != compiler.reads:
        raise UnsupportedError(
            f"{source.folder}: is {manifest.format}; {compiler.name} compiles {compiler.reads}. "
            f"Convert to it first: edgeseg convert --target {compiler.reads}"
        )
    if manifest.scheme.name not in compiler.precisions:
        able = ", ".join(compiler.precisions)
        raise UnsupportedError(
            f"{source.folder}: is {manifest.scheme.name}; {compiler.name} compiles {able}. "
            f"Convert again: edgeseg convert --target {compiler.reads} --precision {compiler.precisions[0]}"
        )


def _try_unknown(source: Artifact) -> None:
    """Run a source of unknown origin once in a process of its own: the proof runs what is made of it in this one."""
    from edgeseg.runtime.session.opening import assure

    with contextlib.suppress(MissingDependency):  # without an engine here, nothing of it is run
        assure(source)


def _draft(
    source: Artifact, conversion: Conversion, *, compiler: Compiler, backend: ResolvedBackend | None, target: str
) -> Manifest:
    given = source.manifest
    if backend is None:
        backend = ResolvedBackend(engine=conversion.provable_by[0] if conversion.provable_by else "")
    return dataclasses.replace(
        given,
        schema=MANIFEST_SCHEMA,
        name=f"{given.name}-{compiler.name}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseg_version=VERSION,
        format=compiler.format,
        backend=backend,
        entry=conversion.entry,
        files=(),
        preprocess=conversion.preprocess,
        inputs=(conversion.input,),
        outputs=(conversion.output,),
        scheme=conversion.scheme,
        target=target,
        origin="compiled",
        lineage=dataclasses.replace(given.lineage, source_artifact=source.sha256),
        placements=conversion.ops,
        report=conversion.report,
        self_sha256="",
    )


def _prove(compiled: Artifact, conversion: Conversion, *, source: Artifact) -> Proven:
    """Return the proof against the source's golden labels, or the source's own proof if nothing here can run it."""
    manifest, given = compiled.manifest, source.manifest
    samples = tuple(_copied(sample, compiled, source=source) for sample in given.golden.samples)
    golden = _golden(samples, engine=given.golden.engine, least=thresholds_for(manifest.scheme).label_agreement)
    engine, reason = engine_here(conversion, preferred=manifest.engine)
    if engine is None:
        level = Proof(level="source", engine=given.proof.engine, reason=reason)
        return Proven(golden=golden, parity=given.parity, proof=level)
    return _run(compiled, golden, engine=engine, reason=reason)


def _copied(sample: GoldenSample, compiled: Artifact, *, source: Artifact) -> GoldenSample:
    """Return a sample of the source, copied into the compiled artifact, for the input tensor that it takes."""
    from edgeseg.pixels import prepare

    names = {}
    (compiled.folder / "golden").mkdir(exist_ok=True)
    for what in ("image", "expected", "reference"):
        path = source.folder / getattr(sample, what)
        names[what] = f"golden/{path.name}"
        shutil.copyfile(path, compiled.folder / names[what])
    manifest = compiled.manifest
    image = _read(compiled.folder / names["image"], color=True)
    tensor = prepare(image, preprocess=manifest.preprocess, tensor=manifest.inputs[0])
    return GoldenSample(**names, input_sha256=sha256_of_bytes(tensor.tobytes()))


def _golden(samples: tuple[GoldenSample, ...], *, engine: str, least: float) -> Golden:
    first, *others = samples
    return Golden(
        image=first.image,
        input_sha256=first.input_sha256,
        expected=first.expected,
        reference=first.reference,
        engine=engine,
        min_agreement=least,
        more=tuple(others),
    )


def _run(compiled: Artifact, golden: Golden, *, engine: Engine, reason: str) -> Proven:
    manifest = compiled.manifest
    equal, exact = [], []
    every = LabelAgreement(len(manifest.spec.classes))
    with open_for_proof(compiled, engine=engine.name) as session:
        version = f"{session.engine} {session.engine_version}"
        for sample in golden.samples:
            labels = session.segment(_read(compiled.folder / sample.image, color=True))
            equal.append(every.update(labels, _read(compiled.folder / sample.expected, color=False)))
            exact.append(float(np.mean(labels == _read(compiled.folder / sample.reference, color=False))))
            write_png(compiled.folder / sample.expected, labels)
    agreement, required = min(equal), golden.min_agreement
    if agreement < required:
        raise GateError(
            f"{manifest.name}: {100 * agreement:.2f} % of the golden labels agree with the artifact it was compiled "
            f"from ({engine.name}, image {equal.index(agreement) + 1}); required: {100 * required:.1f} %. Nothing was "
            "written."
        )
    least_pixels = _LEAST_SHARE * every.pixels.sum()
    for name, share, pixels in zip(manifest.spec.classes, every.per_class(), every.pixels, strict=True):
        if share is not None and pixels >= least_pixels and share < _KEPT:
            raise GateError(
                f"{manifest.name}: loses the class {name}: {100 * share:.2f} % of its golden pixels are the same in "
                f"the artifact it was compiled from ({engine.name}); required: {100 * _KEPT:.0f} %. Nothing is "
                "written."
            )
    golden = dataclasses.replace(golden, engine=version, min_agreement=repeated_agreement(manifest.scheme))
    parity = Parity(
        engine=version,
        images=len(exact),
        sqnr_db=None,
        label_agreement=float(np.mean(exact)),
        max_abs_error=None,
    )
    proof = Proof(level=engine.proof, engine=engine.name, reason=reason)
    return Proven(golden=golden, parity=parity, proof=proof)


def _read(path: Path, *, color: bool) -> NDArray[np.uint8]:
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR if color else cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ArtifactError(f"{path}: the golden sample cannot be read as a PNG. Convert the artifact again.")
    return np.asarray(image, np.uint8)
