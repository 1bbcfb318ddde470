"""The contract tests of the package outside edgeseg: two lines for each kind. `test_plugins.py` runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from contracts.camera_contract import CameraContract
from contracts.compiler_contract import CompilerContract
from contracts.dataset_contract import DatasetContract
from contracts.metric_contract import MetricContract
from contracts.model_contract import ModelContract
from contracts.sink_contract import SinkContract
from contracts.stage_contract import StageContract
from contracts.tiny_artifact import image, make_artifact
from their_package.compiler import COMPILER

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.protocols import Compiler


class TestArchitecture(ModelContract):
    name = "their_net"


class TestStage(StageContract):
    name = "clip"
    table: ClassVar[dict[str, object]] = {"deviations": 2.0, "images": 2}
    architecture = "their_net"


class TestMetric(MetricContract):
    name = "frequency_weighted_iou"


class TestCamera(CameraContract):
    def uri(self, folder: Path) -> str:
        np.save(folder / "clip.npy", np.stack([image(seed=seed) for seed in range(4)]))
        return f"npy:{folder / 'clip.npy'}"


class TestSink(SinkContract):
    name = "counts"

    def argument(self, folder: Path) -> str:
        return str(folder / "counts.csv")


class TestDataset(DatasetContract):
    reader = "npz"
    classes = ("dark", "bright")

    def write(self, root: Path) -> str:
        (root / "train").mkdir()
        (root / "classes.txt").write_text("dark\nbright\n", encoding="utf-8")
        for seed in range(3):
            pixels = image(seed=seed)
            np.savez(root / "train" / f"{seed}.npz", image=pixels, labels=(pixels.mean(axis=2) > 127).astype(np.uint8))
        return str(root)


class TestCompiler(CompilerContract):
    def compiler(self) -> Compiler:
        return COMPILER

    def source(self, folder: Path) -> Artifact:
        return make_artifact(folder, file_format="onnx")
