"""The compiler: one call of trtexec on the device, its layers, and the stamp without which no engine is opened."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.engine_stamp import STAMP_FILE, EngineStamp, gpu_driver
from edgeseg.core.exported import Conversion
from edgeseg.core.files import write_json
from edgeseg.core.parsing import parse_json
from edgeseg.core.placement import OpPlacement
from edgeseg.core.quantization import Precision
from edgeseg.core.suggestions import unknown
from edgeseg.core.vendor_process import run_program, tool_logs
from edgeseg.errors import ConversionError, InputError, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact

TENSORRT = "tensorrt"
ENGINE_FILE = "model.engine"
ENGINE_FORMAT = "tensorrt-engine"
PROFILES = ("best", "fp16", "fp32")
COMPILER_OPTIONS = MappingProxyType(
    {
        "rest": "what layers without int8 pairs compute in: best (default: TensorRT's choice), fp16 or fp32",
        "workspace_mib": "GPU memory that TensorRT may use while it tries kernels, in MiB",
        "timing_cache": "file of kernel timings, read and updated; the next build is faster",
    }
)
_PLACES = (Path("/usr/src/tensorrt/bin/trtexec"), Path("/usr/lib/tensorrt/bin/trtexec"))
"""Where JetPack and NVIDIA's Debian packages install it, outside the PATH."""
_TIME_LIMIT_S = 3600.0
_VERSION = re.compile(r"TensorRT version: (?P<version>[\d.]+)")
_DEVICE = re.compile(r"Selected Device: (?P<name>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRTCompiler:
    """Produces `model.engine` and its stamp: GPU, TensorRT and driver. It has not been run with a real TensorRT."""

    name: str = TENSORRT
    title: str = "NVIDIA TensorRT"
    suffix: str = ".engine"
    reads: str = "tensorrt-onnx"
    format: str = ENGINE_FORMAT
    precisions: tuple[Precision, ...] = ("int8", "fp32")
    options: Mapping[str, str] = field(default_factory=lambda: COMPILER_OPTIONS)

    def check(self) -> None:
        """Check that trtexec is here; raises `MissingDependency` otherwise."""
        find_trtexec()

    def compile(self, artifact: Artifact, *, folder: Path, options: Mapping[str, str]) -> Conversion:
        """Write the engine and its stamp into `folder`.

        Raises:
            UnknownName, InputError: an option's value that trtexec does not have.
            ConversionError: trtexec failed, with its last lines, or did not say what it built for.
        """
        started = time.perf_counter()
        int8 = artifact.manifest.scheme.needs_ranges
        path, layers = folder / ENGINE_FILE, folder / "layers.json"
        command = [
            str(find_trtexec()), f"--onnx={artifact.entry}", f"--saveEngine={path}", f"--exportLayerInfo={layers}",
            "--profilingVerbosity=detailed", "--skipInference", *trtexec_arguments(options, int8=int8),
        ]  # fmt: skip
        said = run_program(
            command, name="trtexec", log_folder=tool_logs(), time_limit_s=_TIME_LIMIT_S, install=_advice()
        )
        if not path.is_file():
            raise ConversionError("trtexec ended without an error and wrote no engine.")
        stamp = stamp_of(said)
        write_json(stamp, folder / STAMP_FILE)
        ops = layers_in(layers)
        layers.unlink(missing_ok=True)
        manifest = artifact.manifest
        return Conversion(
            entry=ENGINE_FILE,
            files=(STAMP_FILE,),
            input=manifest.inputs[0],
            output=manifest.outputs[0],
            scheme=manifest.scheme,
            preprocess=manifest.preprocess,
            ops=ops,
            provable_by=(TENSORRT,),
            report=conversion_report(ops, tools=(), started=started, others={TENSORRT: stamp.tensorrt}),
        )


def find_trtexec() -> Path:
    """Return trtexec's path; raises `MissingDependency`: an engine is built on the device that runs it."""
    found = shutil.which("trtexec") or next((str(path) for path in _PLACES if path.is_file()), None)
    if found is None:
        raise MissingDependency(f"trtexec is not here. {_advice()}")
    return Path(found)


def _advice() -> str:
    return (
        "A TensorRT engine is built on the device that runs it: copy the tensorrt-onnx artifact there (JetPack has "
        "trtexec) and repeat the command."
    )


def trtexec_arguments(options: Mapping[str, str], *, int8: bool) -> list[str]:
    """Return trtexec's arguments for the compiler's options.

    Raises:
        UnknownName, InputError: a value that trtexec does not have.
    """
    rest = options.get("rest", "best")
    if rest not in PROFILES:
        raise unknown("value of rest", rest, PROFILES)
    arguments = ["--int8"] if int8 else []
    arguments += {"best": ["--fp16"], "fp16": ["--fp16"], "fp32": []}[rest]
    size = options.get("workspace_mib")
    if size is not None:
        if not size.isascii() or not size.isdigit() or not 0 < int(size[:9]) < 1 << 20:
            raise InputError(f'workspace_mib is "{size}"; give MiB, such as 2048.')
        arguments.append(f"--memPoolSize=workspace:{int(size)}MiB")
    if "timing_cache" in options:
        arguments.append(f"--timingCacheFile={Path(options['timing_cache']).expanduser()}")
    return arguments


def stamp_of(said: str) -> EngineStamp:
    """Return what trtexec built for, from its output; raises `ConversionError` if it does not say."""
    version, device = _VERSION.search(said), _DEVICE.search(said)
    if version is None or device is None:
        raise ConversionError("trtexec does not say its version or its GPU; an engine without them is not used.")
    return EngineStamp(schema=1, gpu=device["name"].strip(), tensorrt=version["version"], driver=gpu_driver())


def layers_in(path: Path) -> tuple[OpPlacement, ...]:
    """Return the engine's layers from trtexec's JSON, all on the GPU; raises `ConversionError` if there are none."""
    try:
        found = parse_json(path.read_text("utf-8", errors="replace"), where=path.name)
    except OSError:
        found = {}
    layers = found.get("Layers") if isinstance(found, dict) else None
    if not isinstance(layers, list) or not layers:
        raise ConversionError("trtexec lists no layers of the engine (--exportLayerInfo).")
    return tuple(_layer(item, index) for index, item in enumerate(layers))


def _layer(item: object, index: int) -> OpPlacement:
    """Return one layer: an object, or its name alone where the engine was built without details."""
    if not isinstance(item, dict):
        return OpPlacement(op="layer", node=str(item) or f"layer {index}", unit="gpu")
    return OpPlacement(
        op=str(item.get("LayerType") or "layer"),
        node=str(item.get("Name") or f"layer {index}"),
        unit="gpu",
        dtype="int8" if "Int8" in json.dumps(item.get("Outputs", "")) else "",
    )
