"""The converter: the exported ONNX file, channels first, through pnnx, and the layers that ncnn will run."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion, ExportedModel, Part
from edgeseg.core.placement import CPU, OpPlacement
from edgeseg.core.protocols import Normalisation
from edgeseg.core.quantization import Precision
from edgeseg.core.requirements import require_modules
from edgeseg.core.vendor_process import run_tool, tool_logs
from edgeseg.errors import ConversionError, UnsupportedError

ENTRY, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"
PNNX_TIME_LIMIT_S = 600.0
_MAGIC = "7767517"
_BORDERS = ("Input", "Split", "MemoryData", "Noop")
_MODULES = ("torch", "onnx", "onnxscript", "ncnn", "pnnx")
_TOOLS = ("torch", "onnx", "onnxscript", "ncnn", "pnnx")
USAGE = """import ncnn

net = ncnn.Net()
net.opt.use_vulkan_compute = False
net.load_param("{entry}")
net.load_model("{entry}".replace(".param", ".bin"))
# ncnn.Mat points into the array and does not keep it alive: name it, and clone.
planes = np.ascontiguousarray(tensor[0], np.float32)
with net.create_extractor() as extractor:
    extractor.input("{input}", ncnn.Mat(planes).clone())
    output = np.array(extractor.extract("{output}")[1])[None]"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NcnnConverter:
    """Produces `model.ncnn.param` and `model.ncnn.bin`.

    There is no int8: ncnn's table of scales has one scale per layer input, and its int8 layers are rewritten by a tool
    that the Python packages do not hold.
    """

    format: str = "ncnn"
    title: str = "ncnn"
    suffix: str = ".param"
    engines: tuple[str, ...] = ("ncnn",)
    extra: str = "convert-ncnn"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    reads: tuple[Part, ...] = ("onnx",)
    normalisation: tuple[Normalisation, ...] = ("graph", "host")
    usage: str = USAGE

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(_MODULES, what="Converting to ncnn", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write both files into `folder`. fp16 stores the weights of convolutions as float16.

        Raises:
            UnsupportedError: a head with labels: ncnn has no argmax over channels.
            ConversionError: pnnx or ncnn failed, with its last lines, or the net has an op that ncnn lacks.
        """
        from edgeseg.converters.ncnn.channels_first import write_channels_first

        started = time.perf_counter()
        if exported.output.role != "logits":
            raise UnsupportedError("ncnn has no argmax over channels: convert with --output logits.")
        height, width = exported.input.size
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as work:
            source = Path(work) / "model.onnx"
            write_channels_first(exported.onnx, source)
            run_tool(
                # -I: neither the script's folder nor the environment decides what is imported there.
                [sys.executable, "-I", Path(__file__).with_name("tool.py")],
                {
                    "path": [str(Path(entry or ".").resolve()) for entry in sys.path],
                    "source": str(source),
                    "param": str(folder / ENTRY),
                    "weights": str(folder / WEIGHTS),
                    "shape": [1, 3, height, width],
                    "half": exported.scheme.mode == "fp16",
                },
                name="pnnx",
                log_folder=tool_logs(),
                time_limit_s=PNNX_TIME_LIMIT_S,
            )
        ops = layers_of(folder / ENTRY)
        _, h, w, classes = exported.output.shape
        return Conversion(
            entry=ENTRY,
            files=(WEIGHTS,),
            input=dataclasses.replace(exported.input, name="in0", shape=(1, 3, height, width), layout="NCHW"),
            output=dataclasses.replace(exported.output, name="out0", shape=(1, classes, h, w), layout="NCHW"),
            scheme=exported.scheme,
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=_TOOLS, started=started),
        )


def layers_of(path: Path) -> tuple[OpPlacement, ...]:
    """Return the computing layers of a .param file, all on the CPU.

    Raises:
        ConversionError: not a .param file.
    """
    lines = path.read_text("utf-8").splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise ConversionError(f"{path.name}: does not begin with {_MAGIC}, as ncnn's .param files do.")
    layers = [line.split() for line in lines[2:] if line.strip()]
    return tuple(
        OpPlacement(op=layer[0], node=layer[1], unit=CPU, dtype="float32")
        for layer in layers
        if layer[0] not in _BORDERS
    )
