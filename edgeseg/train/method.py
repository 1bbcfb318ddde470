"""What a run may do in its own way: the net it starts from, terms of its loss, and what it keeps as a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from edgeseg.models.checkpoint import save_checkpoint
from edgeseg.train.start import start_net

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec
    from edgeseg.train.events import OnEvent
    from edgeseg.train.recipe import Recipe
    from edgeseg.train.samples import TrainingSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One forward pass: normalised images (N, 3, H, W), outputs (logits, *aux logits), each (N, C, h, w), labels
    (N, H, W), and the samples' keys (epoch, index), from which the augmentation of each follows.
    """

    images: Tensor
    outputs: tuple[Tensor, ...]
    labels: Tensor
    keys: tuple[tuple[int, int], ...]


class Method:
    """The plain way. Compression's ways (distillation, quantization-aware training) override what they change.

    A method holds no state that a resumed run could not make again: what changes during the run belongs into the net
    that `start` returns, whose state is saved.
    """

    def fingerprint(self) -> str:
        """Return what tells this method's settings from others; a run is only resumed with the same ones."""
        return ""

    def start(self, recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
        """Return the net that is trained, with its start weights, and what they are (name and SHA-256).

        The net takes (N, 3, H, W) normalised images and returns logits or, in training mode, (logits, *aux).
        """
        return start_net(recipe, spec)

    def prepare(self, net: nn.Module, *, spec: ModelSpec, training: TrainingSet, on_event: OnEvent | None) -> None:
        """Get ready before the first step, with the net on its device; a resumed run calls this too."""

    def before_step(self, net: nn.Module, *, step: int, steps: int) -> None:
        """Do what the net needs before the forward passes of a step, from 0."""

    def loss(self, plain: Tensor, *, seen: Seen) -> Tensor:
        """Return the scalar loss of a forward pass from the recipe's own."""
        return plain

    def keep(self, folder: Path, *, net: nn.Module, spec: ModelSpec, training: Mapping[str, object]) -> None:
        """Write the checkpoint folder of a net, the moving average of what is trained."""
        save_checkpoint(folder, net=net, spec=spec, training=training)
