"""Core AI programs in MLIR's generic text, written by hand, and a stand-in for the toolchain that reads them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.files import write_json
from edgeseg.toolchains import find_toolchain
from edgeseg.toolchains.store import Installed, site_packages

if TYPE_CHECKING:
    from pathlib import Path

_ELEMENTS = {"float32": "f32", "float16": "f16", "uint8": "ui8", "int32": "si32", "uint32": "ui32", "bool": "i1"}
_READER = '''
class AIProgram:
    """The stand-in's file is the text itself."""

    @staticmethod
    def _load_bytecode(path):
        made = AIProgram()
        made.text = path.read_text("ascii")
        made._module = made._mlir_module = made.operation = made
        return made

    def get_asm(self, print_generic_op_form):
        assert print_generic_op_form
        return self.text
'''


def kind(array: np.ndarray) -> str:
    """Return the tensor type of an array."""
    return f"tensor<{''.join(f'{side}x' for side in array.shape)}{_ELEMENTS[array.dtype.name]}>"


def constant(name: str, array: np.ndarray) -> str:
    """Return the line of a constant, its values as bytes in hexadecimal, or as words for truth values."""
    value = str(bool(array)).lower() if array.dtype == bool else f'"0x{array.tobytes().hex().upper()}"'
    return f'    %{name} = "coreai.constant"() <{{value = dense<{value}> : {kind(array)}}}> : () -> {kind(array)}'


def program(lines: list[str], *, takes: str, output: str, gives: str, before: str = "", tail: str = "") -> str:
    """Return a module whose graph `main` reads %arg0 and ends with `output`."""
    body = "\n".join(lines)
    return f""""builtin.module"() ({{
{before}  "coreai.graph"() <{{arg_attrs = [{{coreai.name = "image"}}], sym_name = "main"}}> ({{
  ^bb0(%arg0: {takes}):
{body}
    "coreai.output"({output}) : ({gives}) -> ()
  }}) : () -> ()
}}) : () -> ()
{tail}"""


def tiny_program(kernel: np.ndarray, bias: np.ndarray, size: tuple[int, int], stride: int) -> str:
    """Return the tiny net: (1, H, W, 3) uint8 in, (1, C, h, w) float32 out; kernel (C, kh, kw, 3)."""
    planes = np.ascontiguousarray(kernel.transpose(0, 3, 1, 2))
    high, wide = size
    cells = f"1x{len(kernel)}x{high // stride}x{wide // stride}xf32"
    image, floats = f"tensor<1x{high}x{wide}x3xui8>", f"tensor<1x{high}x{wide}x3xf32>"
    turned = f"tensor<1x3x{high}x{wide}xf32>"
    lines = [
        constant("k", planes), constant("b", bias.reshape(1, -1, 1, 1)), constant("s", np.full(2, stride, np.uint32)),
        constant("d", np.ones(2, np.uint32)), constant("g", np.array(1, np.uint32)),
        constant("p", np.array([0, 3, 1, 2], np.uint32)),
        f'    %0 = "coreai.cast"(%arg0) : ({image}) -> {floats}',
        f'    %1 = "coreai.transpose"(%0, %p) : ({floats}, tensor<4xui32>) -> {turned}',
        f'    %2 = "coreai.conv2d"(%1, %k, %s, %d, %g) : ({turned}, {kind(planes)}) -> tensor<{cells}>',
        f'    %3 = "coreai.decomposable.broadcasting_add"(%2, %b) : (tensor<{cells}>) -> tensor<{cells}>',
    ]  # fmt: skip
    return program(lines, takes=image, output="%3", gives=f"tensor<{cells}>")


def install_stand_in(store: Path, *, coreai_torch: str = "") -> Path:
    """Write the toolchain `coreai` as an installation leaves it, with a stand-in; return its site-packages."""
    folder = store / "coreai"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"3.{sys.version_info.minor}"
    packages = site_packages(folder, version=version)
    (packages / "coreai" / "authoring").mkdir(parents=True)
    (packages / "coreai" / "__init__.py").touch()
    (packages / "coreai" / "authoring" / "__init__.py").touch()
    (packages / "coreai" / "authoring" / "asset.py").write_text(_READER)
    (packages / "coreai_torch.py").write_text(coreai_torch)
    tool = find_toolchain("coreai")
    for name in ("coreai-core", "coreai-torch"):
        about = packages / f"{name.replace('-', '_')}-{tool.pinned[name]}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {tool.pinned[name]}\n")
    record = Installed(
        schema=1, name="coreai", version=tool.version, lock_sha256=tool.lock_sha256, python=version,
        licence=tool.licence, licence_accepted="2026-11-30T00:00:00+00:00", size_bytes=1, entries=("coreai_torch.py",),
    )  # fmt: skip
    write_json(record, folder / "installed.json")
    return packages
