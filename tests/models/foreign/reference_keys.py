"""The keys and shapes of other projects' nets, read from compact lists: a line names modules, their kind and sizes.

`a.{0,1}.b` stands for two modules; `conv` is a convolution (outputs, inputs per group, kernel), `conv,bn` and `0,1` one
with a batch norm beside it under those names.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from pathlib import Path

import torch
from torch import Tensor

KEYS = Path(__file__).with_name("keys")
_WAVE = torch.cos(torch.arange(100_003, dtype=torch.float64) ** 2 * 0.7).float()


def reference_shapes(layout: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a net that was built from its project's own code, by key."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in (KEYS / f"{layout}.txt").read_text(encoding="utf-8").splitlines():
        pattern, kind, *numbers = line.split()
        for name in expanded(pattern):
            shapes |= tensors(name, kind, tuple(map(int, numbers)))
    return shapes


def expanded(pattern: str) -> list[str]:
    """Return the names that a pattern with braces stands for."""
    parts = [part[1:-1].split(",") if part.startswith("{") else [part] for part in re.split(r"(\{[^}]*\})", pattern)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def tensors(name: str, kind: str, sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of one module."""
    if kind in ("conv,bn", "0,1"):
        conv, norm = kind.split(",")
        return tensors(f"{name}.{conv}", "conv", sizes) | tensors(f"{name}.{norm}", "norm", sizes[:1])
    if kind == "tensor":
        return {name: sizes}
    if kind == "norm":
        floats = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), sizes)
        return {f"{name}.{leaf}": shape for leaf, shape in (floats | {"num_batches_tracked": ()}).items()}
    weight = (*sizes, sizes[2]) if kind.startswith("conv") else sizes
    return {f"{name}.weight": weight} | ({} if kind == "conv" else {f"{name}.bias": weight[:1]})


def reference_state(layout: str, *, without: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Return weights that are computed from key and shape alone, so that a project's own net can be filled alike."""
    return {
        key: filled(key, shape)
        for key, shape in reference_shapes(layout).items()
        if not without or not key.startswith(without)
    }


def filled(key: str, shape: tuple[int, ...]) -> Tensor:
    """Return one tensor of such weights, with statistics that keep activations in range."""
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.tensor(0)
    count, start = math.prod(shape), zlib.crc32(key.encode()) % len(_WAVE)
    wave = _WAVE.roll(-start).repeat(count // len(_WAVE) + 1)[:count].reshape(shape)
    if len(shape) > 1:
        return wave * (2 / math.prod(shape[1:])) ** 0.5
    return 1 + 0.5 * wave if leaf == "running_var" else 1 + 0.3 * wave if leaf == "weight" else 0.1 * wave


def reference_image(size: int) -> Tensor:
    """Return the image (1, 3, size, size) that the stored logits are of."""
    steps = torch.arange(3 * size * size, dtype=torch.float64)
    return torch.cos(steps**1.5 * 0.01).reshape(1, 3, size, size).float() * 1.5
