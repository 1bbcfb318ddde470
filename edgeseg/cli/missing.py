"""What a machine lacks, in one line: a library with the extra that installs it, or memory."""

from __future__ import annotations

EXTRAS = {
    "torch": ("PyTorch", "train"),
    "safetensors": ("safetensors", "train"),
    "lightning_fabric": ("Lightning Fabric", "train"),
    "tensorboard": ("TensorBoard", "train"),
    "cv2": ("OpenCV", "opencv"),
    "av": ("PyAV", "video"),
    "onnx": ("ONNX", "convert-onnx"),
    "onnxscript": ("ONNX Script", "convert-onnx"),
    "onnxruntime": ("ONNX Runtime", "onnx"),
    "openvino": ("OpenVINO", "openvino"),
    "ai_edge_litert": ("LiteRT", "tflite"),
    "litert_torch": ("LiteRT Torch", "convert-tflite"),
    "flatbuffers": ("FlatBuffers", "convert-tflite"),
    "torchao": ("torchao", "convert-onnx"),
    "coremltools": ("Core ML Tools", "coreml"),
    "executorch": ("ExecuTorch", "executorch"),
    "torch_pruning": ("Torch-Pruning", "compress"),
    "matplotlib": ("Matplotlib", "compress"),
    "mss": ("mss", "screen"),
}
"""Title and extra of each library that a device may lack, by the name of its module."""


def missing_library(error: BaseException) -> str | None:
    """Return the line for a library that is not installed, with the command that installs it; None for other errors."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    name = error.name.split(".")[0]
    if name == "edgeseg":
        return None
    title, extra = EXTRAS.get(name, (name, ""))
    command = f'pip install "edgeseg[{extra}]"' if extra else f"pip install {name}"
    return f"{title} is not installed, and this needs it: {command}"


def out_of_memory(error: BaseException) -> str | None:
    """Return the line for an error that says the memory does not suffice, whichever library says it; else None."""
    # PyTorch and OpenCV have classes of their own for it, which importing them would cost seconds to name.
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "insufficient memory", "cannot allocate memory", "bad_alloc")
    theirs = isinstance(error, RuntimeError) or type(error).__module__.split(".")[0] == "cv2"
    if isinstance(error, MemoryError) or (theirs and any(word in text for word in words)):
        return "the memory does not suffice. Take smaller images, a smaller batch or fewer at once, or close programs."
    return None
