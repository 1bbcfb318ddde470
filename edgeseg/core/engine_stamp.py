"""What a TensorRT engine was built for: it opens on that GPU, with that TensorRT, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STAMP_FILE = "engine.json"
_DRIVER = (Path("/sys/module/nvidia/version"), Path("/etc/nv_tegra_release"))
"""The driver's version on PCs and newer Jetsons; on older Jetsons the release of Linux for Tegra, which holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStamp:
    """GPU by its name, TensorRT and driver by their versions, as the builder reported them."""

    schema: int
    gpu: str
    tensorrt: str
    driver: str


def gpu_driver() -> str:
    """Return the version of NVIDIA's driver here, empty where there is none."""
    for path in _DRIVER:
        try:
            return path.read_text("ascii", errors="replace").splitlines()[0].strip()
        except (OSError, IndexError):
            continue
    return ""


def stamp_differences(stamp: EngineStamp, here: EngineStamp) -> list[str]:
    """Return what differs, each as "WHAT: built with X, here Y"."""
    pairs = (
        ("GPU", stamp.gpu, here.gpu),
        ("TensorRT", _release(stamp.tensorrt), _release(here.tensorrt)),
        ("driver", stamp.driver, here.driver),
    )
    return [f"{what}: built with {one or 'none'}, here {two or 'none'}" for what, one, two in pairs if one != two]


def _release(version: str) -> str:
    """Return the first three numbers: trtexec prints no more of them."""
    return ".".join(version.split(".")[:3])
