"""The figures that stand along the top of the picture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hud:
    """The loop's figures for one frame; what does not apply to the source is None."""

    title: str
    fps: float
    stages_ms: dict[str, float]
    age_ms: float | None = None
    skipped: int | None = None
    miou: float | None = None

    def items(self) -> tuple[str, ...]:
        """Return the texts in the order in which they are shown."""
        stages = "  ".join(f"{stage} {time_ms:.1f}" for stage, time_ms in self.stages_ms.items())
        return (
            self.title,
            f"{self.fps:.1f} FPS",
            f"{stages} ms",
            *([] if self.age_ms is None else [f"age {self.age_ms:.0f} ms"]),
            *([] if self.skipped is None else [f"skipped {self.skipped}"]),
            *([] if self.miou is None else [f"mIoU {100 * self.miou:.1f} %"]),
        )
