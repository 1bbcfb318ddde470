"""The float checkpoint's outputs in PyTorch, which every artifact is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.spec import ModelSpec, TensorSpec
from edgeseg.pixels import decode, fit, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import nn

    from edgeseg.deploy.proof_images import ProofImages
    from edgeseg.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The float checkpoint's outputs for `images`, (H, W, 3) BGR uint8 at the input's size.

    `logits` are (1, h, w, C) float32 as `tensor` describes them; `rms` is the RMS of all of them, each pixel's mean
    over the classes taken out; `macs` are the net's multiply-accumulates per image. `truths` are label maps (H, W) of
    the first images at their own size; there may be none.
    `source`, `licence` and `in_domain` are those of the proof images.
    """

    spec: ModelSpec
    images: tuple[NDArray[np.uint8], ...]
    logits: tuple[NDArray[np.float32], ...]
    tensor: TensorSpec
    rms: float
    macs: int = 0
    truths: tuple[NDArray[np.uint8], ...] = ()
    source: str = ""
    licence: str = ""
    in_domain: bool = True

    def labels(self, index: int, *, size: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
        """Return the float checkpoint's class ids (H, W) uint8 at the image's `size`, by default the input's."""
        high, wide = self.spec.size if size is None else size
        preprocess = self.spec.preprocess
        return decode(
            self.logits[index], tensor=self.tensor, preprocess=preprocess, input_size=self.spec.size, size=(high, wide)
        )


def float_logits(net: nn.Module, *, reference: Reference) -> tuple[NDArray[np.float32], ...]:
    """Return the logits (1, h, w, C) of another deployment module, which takes pixels, for the reference's images."""
    from edgeseg.export.head import image_spec

    preprocess, tensor = reference.spec.preprocess, image_spec(reference.spec)
    return tuple(_logits(net, prepare(image, preprocess=preprocess, tensor=tensor)) for image in reference.images)


def make_reference(checkpoint: Checkpoint, *, spec: ModelSpec, images: ProofImages) -> Reference:
    """Return the float checkpoint's outputs for the proof images; `spec` is the checkpoint's at the converted size."""
    from edgeseg.export.export import deploy
    from edgeseg.export.head import answer_spec, image_spec, taking_pixels

    spec = taking_pixels(spec)
    fitted = tuple(_to_bgr(fit(image, preprocess=spec.preprocess, size=spec.size), spec) for image in images.images)
    net = deploy(checkpoint, spec=spec, output="logits")
    tensor = image_spec(spec)
    logits, macs = _counted(net, (prepare(image, preprocess=spec.preprocess, tensor=tensor) for image in fitted))
    centred = np.concatenate([item - item.mean(axis=-1, keepdims=True) for item in logits])
    return Reference(
        spec=spec,
        images=fitted,
        logits=logits,
        tensor=answer_spec(spec, output="logits"),
        rms=float(np.sqrt(np.mean(np.square(centred, dtype=np.float64)))),
        macs=macs,
        truths=images.truths,
        source=images.source,
        licence=images.licence,
        in_domain=images.in_domain,
    )


def _to_bgr(image: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.uint8]:
    swapped = image[..., ::-1] if spec.preprocess.color_order == "rgb" else image
    return np.ascontiguousarray(swapped)


def _counted(net: nn.Module, tensors: Iterable[NDArray[Any]]) -> tuple[tuple[NDArray[np.float32], ...], int]:
    """Return the logits of each tensor, and the multiply-accumulates of one, as torch's flop counter counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    first, *rest = tensors
    with FlopCounterMode(display=False) as counter:
        logits = _logits(net, first)
    return (logits, *(_logits(net, item) for item in rest)), counter.get_total_flops() // 2


def _logits(net: nn.Module, tensor: NDArray[np.uint8]) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        found: NDArray[np.float32] = net(torch.from_numpy(tensor)).numpy()
    return np.ascontiguousarray(found)
