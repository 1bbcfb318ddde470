"""The full pipeline, once: a bundled checkpoint to proven artifacts, a camera loop, measurements and a report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench import read_measurements
from edgeseg.bench.compare import Comparison, compare
from edgeseg.bench.report import ReportImage, write_report
from edgeseg.core import registry
from edgeseg.core.files import MARKER, refuse_foreign
from edgeseg.core.progress import Progress, no_progress
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.errors import InputError, MissingDependency
from edgeseg.models import resolve_model
from edgeseg.models.checkpoint import read_spec
from edgeseg.models.lineage import original_of
from edgeseg.runtime import LoopResult
from edgeseg.verbs.bench import bench
from edgeseg.verbs.convert import convert, plan_conversion
from edgeseg.verbs.run import Outputs, run_loop

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.quantization import Precision

Note = Callable[[str], None]

_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Where the results are, how the loop went, and the comparison; `seconds` is the wall-clock time of it all."""

    artifacts_folder: Path
    video: Path
    report: Path
    loop: LoopResult
    comparison: Comparison
    seconds: float


def demo(
    model: str | Path | None = None,
    *,
    out: Path | str,
    data: str | Path = "streets:24",
    split: str = "val",
    threads: int | None = None,
    runs: int = 60,
    frames: int = 120,
    on_progress: Progress | None = None,
    on_note: Note | None = None,
) -> DemoResult:
    """Run the demo and return its results, written to `out`.

    It makes proven artifacts in every format that this machine converts, in float and int8, a video of the camera loop
    on the synthetic street, one measurement per artifact, and an HTML report. If the model was compressed from a
    bundled one, that one's float artifacts are made too and serve as the baseline.

    Raises:
        MissingDependency: no converter is usable here.
        InputError: `out` is a folder that edgeseg did not make.
        GateError: an artifact that does not agree with its checkpoint.
    """
    started = time.monotonic()
    out, model = Path(out), None if model is None else str(model)
    tell, note = on_progress or no_progress, on_note or _mute
    _claim(out)
    formats = _usable_formats(note)
    planned = plan_conversion(model, ConversionRequest(target=formats, precision="int8", out=out / "artifacts"))
    if planned.notice:
        note(planned.notice)
    original = original_of(resolve_model(model))
    wanted: list[tuple[str | None, Precision]] = [(model, precision) for precision in _PRECISIONS]
    if original:
        wanted.insert(0, (original, "fp32"))
    artifacts = [
        artifact
        for name, precision in wanted
        for artifact in convert(
            name, target=formats, precision=precision, out=out / "artifacts", on_progress=_named(tell, precision)
        )
    ]
    for artifact in artifacts:
        note(_proof(artifact))
    folders = [artifact.folder for artifact in artifacts]
    results = out / "measurements"
    bench(folders, runs=runs, threads=threads, data=data, split=split, out=results, on_progress=tell)
    baseline = None if original is None else read_spec(resolve_model(original)).name
    comparison = compare(read_measurements([results]), baseline=baseline)
    chosen = _shown(artifacts)
    video = out / "street.mp4"
    outcome = run_loop(
        chosen.folder,
        source="synthetic",
        outputs=Outputs(save=video, force=True),
        frames=frames,
        threads=threads,
        on_progress=tell,
    )
    report = write_report(
        comparison,
        out / "report.html",
        images=_images(chosen),
    )
    return DemoResult(
        artifacts_folder=out / "artifacts",
        video=video,
        report=report,
        loop=outcome.loop,
        comparison=comparison,
        seconds=time.monotonic() - started,
    )


def _claim(out: Path) -> None:
    refuse_foreign(out, replaced=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()
        # Measurements of an earlier demo would be compared along with this one's.
        for old in (out / "measurements").glob("*.json"):
            old.unlink()
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}. Choose another --out.") from None


def _usable_formats(note: Note) -> tuple[str, ...]:
    from edgeseg.deploy.plan import converter_for

    usable = []
    for name in registry.names("converters"):
        converter = converter_for(name)
        if lacking := [precision for precision in _PRECISIONS if precision not in converter.precisions]:
            note(f"left out: {converter.title} has no {' and no '.join(lacking)}")
            continue
        try:
            converter.check()
        except MissingDependency as error:
            note(f"left out: {error}")
        else:
            usable.append(name)
    if not usable:
        raise MissingDependency('No converter is usable here: pip install "edgeseg[all]", then edgeseg doctor.')
    return tuple(usable)


def _named(tell: Progress, precision: str) -> Progress:
    return lambda what, done, total: tell(f"{what} {precision}", done, total)


def _proof(artifact: Artifact) -> str:
    manifest = artifact.manifest
    share = f"{100 * manifest.parity.label_agreement:.2f} % of labels as float PyTorch"
    what = f"{manifest.spec.name:22} {manifest.format:9} {manifest.scheme.name}"
    return f"  {what}  {artifact.size_bytes / 1e6:5.2f} MB  {share}  ({manifest.report.seconds:.0f} s)"


def _images(artifact: Artifact) -> tuple[ReportImage, ...]:
    """Return the artifact's overlay of its golden image beside the float checkpoint's."""
    import cv2
    import numpy as np

    from edgeseg.runtime import load
    from edgeseg.runtime.sinks.overlay import Overlay

    golden, spec = artifact.manifest.golden, artifact.manifest.spec
    image = np.asarray(cv2.imread(str(artifact.folder / golden.image), cv2.IMREAD_COLOR))
    reference = np.asarray(cv2.imread(str(artifact.folder / golden.reference), cv2.IMREAD_GRAYSCALE))
    with load(artifact.folder) as session:
        labels = session.segment(image)
    overlay = Overlay(spec.classes, palette=spec.palette)
    drawn = (
        ("the float checkpoint in PyTorch", overlay.draw(image, reference)),
        (f"{artifact.manifest.format} {artifact.manifest.scheme.name}", overlay.draw(image, labels)),
    )
    return tuple(ReportImage(caption=caption, png=cv2.imencode(".png", view)[1].tobytes()) for caption, view in drawn)


def _shown(artifacts: list[Artifact]) -> Artifact:
    """Return the artifact for the camera loop: the int8 one for LiteRT if there is one, else the last that runs."""
    ranked = sorted(artifacts, key=lambda item: (item.manifest.format == "tflite", item.manifest.scheme.name == "int8"))
    return ranked[-1]


def _mute(_text: str) -> None:
    """Note nothing."""
