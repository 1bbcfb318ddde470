"""All installed metrics at once, on the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.core.metric_value import MetricValue
from edgeseg.errors import EdgesegError
from edgeseg.metrics.metric import Metric, Need, Prediction

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

_GROUP = "metrics"


class MetricSet:
    """One instance of each installed metric whose `need` is in `needs`.

    A metric that cannot be imported or fails on an image is left out from then on; `faults` says which and why.
    """

    def __init__(
        self, classes: tuple[str, ...], *, ignore_index: int, needs: Collection[Need] = ("labels", "logits")
    ) -> None:
        self.faults: tuple[str, ...] = ()
        self._metrics: dict[str, Metric] = {}
        for plugin in registry.load_all(_GROUP):
            if plugin.fault or not callable(plugin.value):
                self._leave_out(plugin.name, plugin.fault or "it cannot be called with the classes")
                continue
            try:
                metric = plugin.value(classes, ignore_index=ignore_index)
            except Exception as error:  # noqa: BLE001 - a third party's code may fail in any way
                self._leave_out(plugin.name, f"{type(error).__name__}: {error}")
                continue
            if not isinstance(metric, Metric):
                self._leave_out(plugin.name, f"a {type(metric).__name__} lacks need, update or compute")
            elif metric.need in needs:
                self._metrics[plugin.name] = metric

    def update(self, prediction: Prediction, truth: NDArray[np.uint8]) -> None:
        """Add an image to every metric; `EdgesegError`s about the data are passed on."""
        for name, metric in list(self._metrics.items()):
            if metric.need == "logits" and prediction.logits is None:
                continue
            try:
                metric.update(prediction, truth)
            except EdgesegError:
                raise
            except Exception as error:  # noqa: BLE001 - a third party's code may fail in any way
                del self._metrics[name]
                self._leave_out(name, f"{type(error).__name__}: {error}")

    def compute(self) -> dict[str, MetricValue]:
        """Return the values of all metrics by name; those without a value are left out.

        Where two metrics give a value of the same name, edgeseg's own keeps it, else the first by name.
        """
        values: dict[str, MetricValue] = {}
        for name, metric in sorted(self._metrics.items(), key=lambda item: not _is_own(item[1])):
            try:
                found = dict(metric.compute())
            except Exception as error:  # noqa: BLE001 - a third party's code may fail in any way
                self._leave_out(name, f"{type(error).__name__}: {error}")
                continue
            wrong = next((key for key, value in found.items() if not isinstance(value, MetricValue)), None)
            taken = next((key for key in found if key in values), None)
            if wrong is not None:
                self._leave_out(name, f"its value {wrong} is a {type(found[wrong]).__name__}, not a MetricValue")
            elif taken is not None:
                self._leave_out(name, f"another metric gives a value of the name {taken}, too")
            else:
                values |= found
        return {name: value for name, value in values.items() if value.value is not None}

    def _leave_out(self, name: str, why: str) -> None:
        self.faults = (*self.faults, f"The metric {name} is left out: {why}.")


def _is_own(metric: Metric) -> bool:
    return type(metric).__module__.startswith(f"{__package__}.")
