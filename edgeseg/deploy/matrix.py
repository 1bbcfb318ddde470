"""The conversion matrix: which net converts to which format in which precision, and how well."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from edgeseg.core.files import read_json, write_json
from edgeseg.core.quantization import scheme_named
from edgeseg.core.requirements import installed_versions
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.deploy.convert import convert_for_targets
from edgeseg.deploy.plan import converter_for
from edgeseg.errors import EdgesegError, GateError, InputError, MissingDependency, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edgeseg.core.artifact import Artifact
    from edgeseg.models import Checkpoint

MATRIX_SCHEMA = 1
MATRIX_TOOLS = (
    "torch",
    "litert-torch",
    "ai-edge-litert",
    "onnx",
    "onnxruntime",
    "openvino",
    "coremltools",
    "executorch",
)
Status = Literal["converted", "failed", "unsupported", "missing"]
"""`unsupported`: the format has no such precision; `missing`: its library is not installed."""


class MakeNet(Protocol):
    """Writes the checkpoint of a net."""

    def __call__(self, name: str, size: tuple[int, int], folder: Path, *, ranges: bool) -> Checkpoint:
        """Return the checkpoint in `folder` of the net called `name` at `size`, with activation ranges if asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One net in one format and precision; `reason` says why there is no artifact.

    `agreement` is the share of labels equal to the float checkpoint's, None where nothing ran; a failed cell may have
    one below the gate. `ops` are the graph's ops by kind, `in_float` those that a quantized artifact computes in float,
    as "OP: reason". `size_bytes` counts the model's files, `seconds` the processor time of conversion and proof.
    """

    net: str
    format: str
    precision: str
    status: Status
    reason: str = ""
    agreement: float | None = None
    engine: str = ""
    ops: dict[str, int] = field(default_factory=dict, hash=False)
    in_float: dict[str, int] = field(default_factory=dict, hash=False)
    size_bytes: int = 0
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        """What the cell is about."""
        return self.net, self.format, self.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Cells measured at `size` (height, width) with the libraries of `versions`, the last of them on `date`."""

    schema: int
    date: str
    size: tuple[int, int]
    versions: dict[str, str] = field(hash=False)
    cells: tuple[Cell, ...] = ()

    def cell(self, net: str, name: str, precision: str) -> Cell | None:
        """Return the cell of a net, format and precision, None if it was not run."""
        return next((item for item in self.cells if item.key == (net, name, precision)), None)


def read_matrix(file: Path, *, size: tuple[int, int]) -> Matrix:
    """Return the stored matrix, or an empty one if there is no such file.

    Raises:
        InputError: the file's cells were measured at another size.
        RecipeError: the file does not follow the schema.
    """
    if not file.exists():
        return Matrix(schema=MATRIX_SCHEMA, date="", size=size, versions={})
    found = read_json(Matrix, file)
    if found.size != size:
        shown = "x".join(map(str, found.size))
        raise InputError(f"{file}: was measured at {shown}. Give --size {shown}, or another file.")
    return found


def fill_matrix(
    file: Path,
    *,
    nets: Sequence[str],
    formats: Sequence[str],
    precisions: Sequence[str],
    size: tuple[int, int],
    make: MakeNet,
    redo: bool = False,
    on_cell: Callable[[Cell], None] | None = None,
) -> Matrix:
    """Measure the cells that the file lacks, storing each as it is done, and return the matrix.

    `make` writes the checkpoint of a net at a size into a folder. With `redo` stored cells are
    measured again. An interrupted run continues where it stopped.
    """
    matrix = read_matrix(file, size=size)
    for net in nets:
        wanted = [(name, precision) for name in formats for precision in precisions]
        open_cells = [item for item in wanted if redo or matrix.cell(net, *item) is None]
        if not open_cells:
            continue
        with tempfile.TemporaryDirectory(prefix="edgeseg-matrix-") as workdir:
            checkpoint = make(
                net,
                size,
                Path(workdir) / "checkpoint",
                ranges=any(scheme_named(precision).needs_ranges for _, precision in open_cells),
            )
            for name, precision in open_cells:
                cell = measure(checkpoint, net=net, name=name, precision=precision, folder=Path(workdir) / "artifact")
                matrix = _with(matrix, cell)
                write_json(matrix, file)
                if on_cell is not None:
                    on_cell(cell)
    return matrix


def measure(checkpoint: Checkpoint, *, net: str, name: str, precision: str, folder: Path) -> Cell:
    """Return the cell of one conversion; whatever the conversion raises becomes the cell's reason."""
    started = _processor_seconds()
    cell = Cell(net=net, format=name, precision=precision, status="failed")
    try:
        converter = converter_for(name)
        if precision not in converter.precisions:
            return replace(cell, status="unsupported", reason=f"{converter.title} has no {precision}")
        converter.check()
        (artifact,) = convert_for_targets(checkpoint, ConversionRequest(target=name, precision=precision, out=folder))
        cell = _converted(cell, artifact)
    except (MissingDependency, UnsupportedError) as error:
        cell = replace(cell, status="missing" if isinstance(error, MissingDependency) else "failed", reason=str(error))
    except GateError as error:
        cell = replace(cell, agreement=error.agreement, reason=str(error).replace(f"{folder.parent}/", ""))
    except EdgesegError as error:
        cell = replace(cell, reason=str(error))
    except Exception as error:  # noqa: BLE001 - a converter is foreign code; its failure is the finding
        text = str(error).strip().splitlines()
        cell = replace(cell, reason=f"{type(error).__name__}: {text[0] if text else ''}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return replace(cell, seconds=round(_processor_seconds() - started, 1))


def _processor_seconds() -> float:
    """Return the processor time of this process and of the children that it has waited for, in seconds."""
    return sum(os.times()[:4])


def _converted(cell: Cell, artifact: Artifact) -> Cell:
    manifest = artifact.manifest
    ran = manifest.proof.level != "none"
    return replace(
        cell,
        status="converted",
        reason=manifest.proof.reason,
        agreement=manifest.parity.label_agreement if ran else None,
        engine=manifest.parity.engine,
        ops=_counted(item.op for item in manifest.placements),
        in_float=_counted(f"{item.op}: {item.reason}" for item in manifest.report.fallbacks),
        size_bytes=artifact.size_bytes,
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _with(matrix: Matrix, cell: Cell) -> Matrix:
    others = (item for item in matrix.cells if item.key != cell.key)
    return replace(
        matrix,
        date=datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        versions=installed_versions(*MATRIX_TOOLS),
        cells=tuple(sorted((*others, cell), key=lambda item: item.key)),
    )
