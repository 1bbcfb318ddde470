"""A model file that edgeseg did not make, as an artifact: described, run once, sealed."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import Artifact, Golden, Lineage, Manifest, list_files, open_artifact
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.file_io import FileIO
from edgeseg.core.files import new_folder, refuse_foreign, sha256_of, sha256_of_bytes
from edgeseg.core.manifest_schema import MANIFEST_SCHEMA
from edgeseg.core.proof import Proof
from edgeseg.core.spec_file import SpecFile, read_spec_file
from edgeseg.core.trust import remember
from edgeseg.core.version import VERSION
from edgeseg.deploy.foreign.first_run import FirstRun, first_outputs
from edgeseg.deploy.foreign.reading import describe_file
from edgeseg.deploy.foreign.starter import starter_spec
from edgeseg.deploy.golden_samples import repeated_agreement, write_png
from edgeseg.deploy.manifest import NO_GOLDEN, NO_PARITY, Proven, seal
from edgeseg.deploy.replacing import distinct_name, manifest_in, refuse_no_artifact
from edgeseg.errors import InputError
from edgeseg.model_files.interpret import FileInput, FileOutput, choose_output, file_input, file_output
from edgeseg.pixels import decode, fit, prepare
from edgeseg.pixels.file_output import session_output
from edgeseg.runtime.session.isolated import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeseg.core.spec import ModelSpec
    from edgeseg.model_files.description import FileDescription, TensorInfo

ARCHITECTURE = "foreign"
"""The architecture that the spec of an adopted file names; no net is registered as this."""
REASON = "as the file computes here; there is no float checkpoint to compare it with"
FIRST_RUN = Limits(seconds=300.0, memory_mb=8192)
_DEFAULT_OUT = Path("artifacts")
_STREETS = (2_026, 2_027, 2_028)
"""Seeds of the rendered streets of which one becomes the golden image."""
_log = logging.getLogger(__name__)


def adopt(
    file: str | Path,
    *,
    spec: str | Path | SpecFile | None,
    size: tuple[int, int] | None = None,
    output: str | None = None,
    image: str | Path | None = None,
    engine: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
    limits: Limits = FIRST_RUN,
    on_notice: Callable[[str], None] | None = None,
) -> Artifact:
    """Return the artifact of a model file (.onnx, .tflite, .xml with .bin, .mlpackage) that edgeseg did not make.

    `spec` is a spec.toml, or a `SpecFile`. `size` (height, width) fixes a size that the file leaves open; `output`
    names one of several outputs. The golden labels are those that the file itself gives on `engine`, run once in a
    process of its own, for `image` or else for a rendered street. The file is copied unchanged.

    Raises:
        InputError, UnknownName, RecipeError: a file, spec, size, output or destination that cannot be used.
        UnsupportedError: a file that takes something else than one image.
        MissingDependency: the library that reads or runs the format is not installed.
    """
    started = time.perf_counter()
    found = describe_file(file)
    said = _spec(spec, found)
    given = file_input(found, said, size=size)
    chosen = choose_output(found, said, name=output)
    said = dataclasses.replace(said, size=given.size, name=said.name or found.path.stem)
    images = _images(image, given)
    sha256 = _sha256(found)
    path = Path(out) if out is not None else _DEFAULT_OUT / _folder_name(found, said)
    _refuse_replacing(path, sha256=sha256, force=force)
    with new_folder(path) as folder:
        entry = _copy(found, folder)
        draft = _draft(found, said, given, chosen, folder=folder, entry=entry, sha256=sha256)
        tensors = [prepare(item, preprocess=given.preprocess, tensor=given.tensor) for item in images]
        ran, outputs = first_outputs(draft, tensors, folder=folder, engine=engine, limits=limits, where=str(found.path))
        result = file_output(chosen, outputs, said, given=given, where=str(found.path))
        labels = [_labels(item, result, given) for item in outputs]
        best = max(range(len(labels)), key=lambda index: _variety(labels[index]))
        if len(np.unique(labels[best])) == 1:
            name = said.class_names[int(labels[best].flat[0])] if labels[best].flat[0] < len(said.class_names) else "?"
            (on_notice or _log.warning)(
                f'{found.path.name}: the golden labels are all "{name}", which proves little. Give an image with more '
                "classes (--image FILE)."
            )
        golden = _golden(draft, folder, image=images[best], tensor=tensors[best], labels=labels[best], ran=ran)
        whole = dataclasses.replace(
            draft,
            spec=_model_spec(said, given, result, sha256=sha256),
            outputs=(result.tensor,),
            file=result.file,
            backend=ResolvedBackend(engine=ran.engine),
            report=conversion_report(found.ops, tools=found.tools, started=started),
        )
        proof = Proof(level="file", engine=ran.engine, reason=REASON)
        seal(whole, proven=Proven(golden=golden, proof=proof, parity=NO_PARITY), folder=folder)
    artifact = open_artifact(path)
    remember(artifact, how="ran", engine=ran.engine)  # in a process of its own, on its golden sample
    return artifact


def _spec(spec: str | Path | SpecFile | None, found: FileDescription) -> SpecFile:
    if isinstance(spec, SpecFile):
        return spec
    if spec is not None:
        return read_spec_file(Path(spec).expanduser())
    raise InputError(
        f"{found.path}: classes and preprocessing are not in the file. Save this as spec.toml, correct it, and give "
        f"it with --spec spec.toml:\n{starter_spec(found.path)}"
    )


def _images(image: str | Path | None, given: FileInput) -> list[NDArray[np.uint8]]:
    """Return images at the input's size, (H, W, 3) uint8 BGR, one of which will be the golden one."""
    from edgeseg.data.reading import read_image
    from edgeseg.data.streets import render_street

    if image is not None:
        whole = [read_image(Path(image).expanduser())]
    else:
        whole = [render_street(seed)[0] for seed in _STREETS]
    plain = dataclasses.replace(given.preprocess, color_order="bgr")
    return [np.ascontiguousarray(fit(item, preprocess=plain, size=given.size)) for item in whole]


def _sha256(found: FileDescription) -> str:
    """Return the hash of a file, or one over the hashes of all files that belong to it."""
    files = [
        (path.relative_to(part.parent).as_posix(), path)
        for part in found.parts
        for path in ([part] if part.is_file() else sorted(part.rglob("*")))
        if path.is_file()
    ]
    if len(files) == 1:
        return sha256_of(files[0][1])
    return sha256_of_bytes("".join(f"{sha256_of(path)} {name}\n" for name, path in files).encode())


def _folder_name(found: FileDescription, spec: SpecFile) -> str:
    """Return `<name>-<format>-<precision>`, as conversions are called."""
    model = spec.model_spec(architecture=ARCHITECTURE, output_stride=1)
    name = distinct_name(model, own_size=model.size, output="logits")
    return f"{name}-{found.format}-{found.scheme.name}"


def _refuse_replacing(path: Path, *, sha256: str, force: bool) -> None:
    refuse_foreign(path)
    refuse_no_artifact(path, force=force)
    there = None if force else manifest_in(path)
    if there is not None and there.spec.weights_sha256 != sha256:
        raise InputError(f"{path}: holds another artifact. Choose another --out, or replace it with --force.")


def _copy(found: FileDescription, folder: Path) -> str:
    """Copy the file's parts into the artifact's folder and return the entry's name."""
    first = found.parts[0]
    if first.is_dir():
        if any(path.is_symlink() for path in first.rglob("*")):
            raise InputError(f"{first}: holds a link; an artifact holds plain files only.")
        shutil.copytree(first, folder / "model.mlpackage", copy_function=shutil.copyfile)
        return "model.mlpackage"
    entry = f"model{first.suffix.lower()}"
    shutil.copyfile(first, folder / entry)
    for part in found.parts[1:]:
        # An ONNX file names its files of weights; an IR's has the name of its .xml.
        name = "model.bin" if found.format == "openvino" else part.relative_to(first.parent).as_posix()
        if (folder / name).exists():
            raise InputError(f"{part}: a file of weights cannot be called {name}. Export the file again.")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, folder / name)
    return entry


def _draft(
    found: FileDescription,
    spec: SpecFile,
    given: FileInput,
    chosen: TensorInfo,
    *,
    folder: Path,
    entry: str,
    sha256: str,
) -> Manifest:
    """Return the manifest as known before the first run: enough for an engine to open the file."""
    model = dataclasses.replace(spec.model_spec(architecture=ARCHITECTURE, output_stride=1), weights_sha256=sha256)
    unknown = dataclasses.replace(given.stored, position=chosen.position, name=chosen.name, shape=())
    return Manifest(
        schema=MANIFEST_SCHEMA,
        name=f"{model.name}-{found.format}-{found.scheme.name}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseg_version=VERSION,
        format=found.format,
        backend=ResolvedBackend(engine=found.engines[0]),
        entry=entry,
        files=list_files(folder),
        spec=model,
        preprocess=given.preprocess,
        inputs=(given.tensor,),
        outputs=model.outputs,
        scheme=found.scheme,
        target=found.format,
        origin="foreign",
        file=FileIO(input=given.stored, output=unknown, layout="NCHW", values="logits"),
        lineage=Lineage(checkpoint=found.path.name, weights_sha256=sha256),
        calibration=None,
        golden=NO_GOLDEN,
        parity=NO_PARITY,
        placements=found.ops,
        report=conversion_report((), tools=(), started=time.perf_counter()),
        licence=model.licence,
        notice=model.notice,
    )


def _labels(stored: NDArray[np.generic], result: FileOutput, given: FileInput) -> NDArray[np.uint8]:
    """Return the label map (H, W) at the input's size that an output of the file stands for."""
    return decode(
        session_output(stored, file=result.file),
        tensor=result.tensor,
        preprocess=given.preprocess,
        input_size=given.size,
        size=given.size,
    )


def _variety(labels: NDArray[np.uint8]) -> float:
    """Return the entropy of the classes in a label map."""
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    return float(-(shares * np.log(shares)).sum())


def _golden(
    draft: Manifest,
    folder: Path,
    *,
    image: NDArray[np.uint8],
    tensor: NDArray[np.generic],
    labels: NDArray[np.uint8],
    ran: FirstRun,
) -> Golden:
    golden = Golden(
        image="golden/input.png",
        input_sha256=sha256_of_bytes(tensor.tobytes()),
        expected="golden/expected.png",
        reference="golden/expected.png",
        engine=f"{ran.engine} {ran.version}",
        min_agreement=repeated_agreement(draft.scheme),
    )
    (folder / "golden").mkdir()
    write_png(folder / golden.image, image)
    write_png(folder / golden.expected, labels)
    return golden


def _model_spec(spec: SpecFile, given: FileInput, result: FileOutput, *, sha256: str) -> ModelSpec:
    cells = result.tensor.size
    stride = max(1, round(given.size[0] / cells[0]))
    model = spec.model_spec(architecture=ARCHITECTURE, output_stride=stride)
    logits = dataclasses.replace(model.outputs[0], shape=(1, len(model.classes), *cells))
    return dataclasses.replace(
        model, outputs=(logits,), preprocess=given.preprocess, weights_sha256=sha256, output=None
    )
