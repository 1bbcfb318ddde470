"""The figures along the top of the image."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Percentiles of one stage in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hud:
    """The loop's figures for one frame; what does not apply to the source is None.

    `stages_ms` are percentiles of each stage's newest times; `queues` are the frames that wait before a stage and the
    room there is.
    """

    title: str
    fps: float
    stages_ms: dict[str, StageTimes]
    age_ms: float | None = None
    skipped: int | None = None
    corrupt: int = 0
    reconnects: int = 0
    queues: dict[str, tuple[int, int]] = field(default_factory=dict)
    miou: float | None = None

    def items(self) -> tuple[str, ...]:
        """Return the texts in the order in which they are shown."""
        stages = "  ".join(
            f"{stage} {times.p50_ms:.1f}/{times.p90_ms:.1f}/{times.p99_ms:.1f}"
            for stage, times in self.stages_ms.items()
        )
        queues = " ".join(f"{waiting}/{room}" for waiting, room in self.queues.values())
        return (
            self.title,
            f"{self.fps:.1f} FPS",
            *([f"{stages} ms"] if stages else []),
            *([] if self.age_ms is None else [f"age {self.age_ms:.0f} ms"]),
            *([f"queues {queues}"] if queues else []),
            *([] if self.skipped is None else [f"skipped {self.skipped}"]),
            *([f"corrupt {self.corrupt}"] if self.corrupt else []),
            *([f"reconnects {self.reconnects}"] if self.reconnects else []),
            *([] if self.miou is None else [f"mIoU {100 * self.miou:.1f} %"]),
        )
