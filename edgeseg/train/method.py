"""What a training method can change in a run: the start net, the loss, and the saved checkpoint."""

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
    """One forward pass.

    `images` are normalised (N, 3, H, W), `outputs` the logits and auxiliary logits, each (N, C, h, w), `labels`
    (N, H, W), and `keys` the samples' (epoch, index), which determine the augmentation.
    """

    images: Tensor
    outputs: tuple[Tensor, ...]
    labels: Tensor
    keys: tuple[tuple[int, int], ...]


class Method:
    """Plain training. Distillation, quantization-aware training and others override what they change.

    A method has no state of its own that must be saved: everything that changes during a run belongs to the net that
    `start` returns, whose state is saved.
    """

    def fingerprint(self) -> str:
        """Return a text that identifies the method's settings; a run can only be resumed with the same ones."""
        return ""

    def start(self, recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
        """Return the net to train with its start weights, and their origin (name and SHA-256).

        The net takes (N, 3, H, W) normalised images and returns logits or, in training mode, (logits, *aux).
        """
        return start_net(recipe, spec)

    def prepare(self, net: nn.Module, *, spec: ModelSpec, training: TrainingSet, on_event: OnEvent | None) -> None:
        """Prepare for the first step, with the net on its device; also called when a run is resumed."""

    def before_step(self, net: nn.Module, *, step: int, steps: int) -> None:
        """Prepare the net for the forward passes of a step (from 0)."""

    def loss(self, plain: Tensor, *, seen: Seen) -> Tensor:
        """Return the scalar loss of a forward pass; `plain` is the recipe's own loss."""
        return plain

    def save(self, folder: Path, *, net: nn.Module, spec: ModelSpec, training: Mapping[str, object]) -> None:
        """Write the checkpoint folder; `net` is the moving average of the trained net."""
        save_checkpoint(folder, net=net, spec=spec, training=training)
