"""One-line messages for a missing library, with the extra that installs it, and for too little memory."""

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
    "ncnn": ("ncnn", "ncnn"),
    "torch_pruning": ("Torch-Pruning", "compress"),
    "matplotlib": ("Matplotlib", "compress"),
    "mss": ("mss", "screen"),
    "asyncssh": ("asyncssh", "devices"),
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


def out_of_memory_message(error: BaseException) -> str | None:
    """Return the message for an out-of-memory error of any library; None for other errors."""
    # PyTorch and OpenCV have their own classes for it, but importing those would take seconds.
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "insufficient memory", "cannot allocate memory", "bad_alloc")
    theirs = isinstance(error, RuntimeError) or type(error).__module__.split(".")[0] == "cv2"
    if isinstance(error, MemoryError) or (theirs and any(word in text for word in words)):
        return "out of memory. Use smaller images, a smaller batch or fewer at once, or close other programs."
    return None
