"""The training loop."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from edgeseg.core.interrupt import HeldInterrupt
from edgeseg.train.evaluate import Score, evaluate, normalise, predict_labels
from edgeseg.train.events import EpochDone, OnEvent, StepDone
from edgeseg.train.faults import not_finite, one_value_a_channel
from edgeseg.train.figures import spread_indices
from edgeseg.train.method import Seen
from edgeseg.train.schedule import rate_factor
from edgeseg.train.state import Position, RunState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from edgeseg.train.output import RunFolder
    from edgeseg.train.recipe import Recipe
    from edgeseg.train.samples import Batch
    from edgeseg.train.setup import Setup

_log = logging.getLogger(__name__)


class Loop:
    """One run in one process: epochs of steps, with saved states and evaluation."""

    def __init__(
        self, recipe: Recipe, *, fabric: Fabric, parts: Setup, output: RunFolder, on_event: OnEvent | None
    ) -> None:
        self.recipe, self.fabric, self.parts, self.output = recipe, fabric, parts, output
        self.on_event = on_event if on_event is not None and fabric.is_global_zero else _ignore
        self.progress = Position()
        self.steps_per_epoch = math.ceil(len(parts.batches) / recipe.run.accumulate)
        self.steps = self.steps_per_epoch * recipe.schedule.epochs
        self._sitting = time.monotonic()
        self._interrupt = HeldInterrupt()

    def run(self) -> None:
        """Train from the current `progress` to the last epoch; an interrupt saves a state to resume from.

        Raises:
            TrainingError: the loss is not finite, a batch norm gets a single value, or the disk is full.
        """
        try:
            with self._interrupt:
                while self.progress.epoch < self.recipe.schedule.epochs:
                    self._epoch()
        except ValueError as error:
            if "Expected more than 1 value per channel" not in str(error):
                raise
            share = self.recipe.run.batch // self.fabric.world_size
            raise one_value_a_channel(self.recipe, share=share) from error

    def _epoch(self) -> None:
        progress, batches = self.progress, self.parts.batches
        started = time.monotonic()
        _train_mode(self.parts.module, freeze_norm=self.recipe.run.freeze_norm)
        for batch in batches.epoch(progress.epoch, start=progress.batch):
            self._batch(batch)
            self._after_batch()
        loss = progress.loss_sum / len(batches)
        score = self._score()
        epoch = progress.epoch
        progress.epoch, progress.batch, progress.loss_sum = epoch + 1, 0, 0.0
        self._save()
        seconds = time.monotonic() - started
        if self.fabric.is_global_zero:
            rate = float(self.parts.optimizer.param_groups[0]["lr"])
            self.output.epoch(epoch + 1, step=progress.step, loss=loss, rate=rate, score=score, seconds=seconds)
            if score is not None:
                self._draw()
        best = progress.best_miou if progress.best_epoch >= 0 else None
        self.on_event(
            EpochDone(
                epoch=epoch + 1,
                epochs=self.recipe.schedule.epochs,
                loss=loss,
                miou=None if score is None else score.miou,
                best_miou=best,
                seconds=seconds,
            )
        )
        if self._interrupt.wanted:
            raise KeyboardInterrupt

    def _draw(self) -> None:
        """Draw the curves, and the average's predictions on the same few validation images each time."""
        images, spec, net = self.parts.validation, self.parts.spec, self.parts.average.net
        if not images:
            return
        shown = [images[index] for index in spread_indices(len(images))]
        predicted = [predict_labels(net, sample.image, spec=spec, device=self.fabric.device) for sample in shown]
        self.output.figures(shown, predicted, spec=spec)

    def _after_batch(self) -> None:
        """Save the state if the recipe says so or an interrupt is pending; only between steps."""
        progress, every = self.progress, self.recipe.run.save_every_steps
        if progress.batch % self.recipe.run.accumulate or progress.batch == len(self.parts.batches):
            return
        if self._interrupt.wanted:
            self._save()
            raise KeyboardInterrupt
        if every and progress.step % every == 0:
            self._save()

    def _batch(self, batch: Batch) -> None:
        """Run one forward and backward pass, and the optimizer step if it completes one."""
        progress, run = self.progress, self.recipe.run
        first = progress.batch // run.accumulate * run.accumulate
        together = min(run.accumulate, len(self.parts.batches) - first)
        completes = progress.batch - first + 1 == together
        self._seed()
        if progress.batch == first:
            self.parts.method.before_step(self.parts.net, step=progress.step, steps=self.steps)
        with self.fabric.no_backward_sync(self.parts.module, enabled=not completes):
            loss = self._loss(batch)
            self.fabric.backward(loss / together)
        # Averaged over all processes, so that all of them stop if one has a loss that is not finite.
        value = float(cast("torch.Tensor", self.fabric.all_reduce(loss.detach(), reduce_op="mean")))
        if not math.isfinite(value):
            raise not_finite(value, progress=progress)
        progress.loss_sum += value
        progress.batch += 1
        if completes:
            self._step(value)

    def _loss(self, batch: Batch) -> torch.Tensor:
        images, labels = (item.to(self.fabric.device, non_blocking=True) for item in batch)
        x = normalise(images, spec=self.parts.spec)
        outputs = self.parts.module(x.contiguous(memory_format=self.parts.layout))
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
        # Each step uses other rows and columns; multiples of the golden ratio cover all offsets evenly.
        position = self.progress.epoch * len(self.parts.batches) + self.progress.batch
        plain = self.parts.objective(outputs, labels, offset=(position, int(position * 0.6180339887 * 64)))
        keys = self.parts.batches.keys(self.progress.epoch, batch=self.progress.batch)
        return self.parts.method.loss(plain, seen=Seen(images=x, outputs=outputs, labels=labels, keys=keys))

    def _step(self, loss: float) -> None:
        progress, optimizer = self.progress, self.parts.optimizer
        factor = rate_factor(
            progress.step, steps=self.steps, steps_per_epoch=self.steps_per_epoch, recipe=self.recipe.schedule
        )
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor
        if self.recipe.optimizer.clip:
            self.fabric.clip_gradients(
                self.parts.module, optimizer, max_norm=self.recipe.optimizer.clip, error_if_nonfinite=False
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.parts.average.update(self.parts.net, step=progress.step)
        progress.step += 1
        self.on_event(
            StepDone(
                epoch=progress.epoch + 1,
                epochs=self.recipe.schedule.epochs,
                step=progress.step,
                steps=self.steps,
                loss=loss,
                rate=self.recipe.optimizer.rate * factor,
            )
        )

    def _score(self) -> Score | None:
        """Return the average's score if this epoch is evaluated, and save the weights if they are the best."""
        progress, schedule = self.progress, self.recipe.schedule
        number = progress.epoch + 1
        if number % self.recipe.run.evaluate_every and number != schedule.epochs:
            return None
        score = None
        if self.parts.validation is not None:
            score = evaluate(
                self.parts.average.net, self.parts.validation, spec=self.parts.spec, device=self.fabric.device
            )
            if score.miou > progress.best_miou:
                progress.best_miou, progress.best_epoch = score.miou, number
                self.output.best(
                    self.parts.average.net,
                    spec=self.parts.spec,
                    score=score,
                    epoch=number,
                    seconds=self.seconds(),
                    start=self.parts.start,
                    data=self.parts.data,
                    validation=self.parts.validation,
                )
        self.fabric.barrier()
        return score

    def _seed(self) -> None:
        """Make dropout a function of seed, position and process, so that a resumed run repeats it."""
        position = self.progress.epoch * len(self.parts.batches) + self.progress.batch
        torch.manual_seed((self.recipe.run.seed * 1_000_003 + position) * 4096 + self.fabric.global_rank)

    def seconds(self) -> float:
        """Return the wall time of the whole run, including earlier sessions, in seconds."""
        return self.progress.seconds + time.monotonic() - self._sitting

    def _save(self) -> None:
        progress = self.progress
        progress.seconds, self._sitting = self.seconds(), time.monotonic()
        if self.fabric.is_global_zero:
            self.output.save(self.state())

    def state(self) -> RunState:
        """Return everything that changes during the run."""
        parts = self.parts
        return RunState(
            progress=self.progress,
            net=parts.net.state_dict(),
            average=parts.average.net.state_dict(),
            optimizer=parts.optimizer.state_dict(),
            scaler=self.fabric._precision.state_dict(),  # noqa: SLF001 - Fabric gives no other access to its scaler
            fingerprint=self.output.fingerprint,
            data={role: found.sha256 for role, found in parts.identities.items()},
        )

    def restore(self, state: RunState) -> None:
        """Go back to a saved state."""
        self.progress = state.progress
        self.parts.net.load_state_dict(state.net)
        self.parts.average.net.load_state_dict(state.average)
        self.parts.optimizer.load_state_dict(state.optimizer)
        if state.scaler:
            self.fabric._precision.load_state_dict(state.scaler)  # noqa: SLF001 - as in `state`


def _ignore(event: object) -> None:
    """Ignore an event."""


def _train_mode(net: nn.Module, *, freeze_norm: bool) -> None:
    net.train()
    if freeze_norm:
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - their only common base class
                module.eval()
