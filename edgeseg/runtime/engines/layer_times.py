"""What the engines' layer timers share; each engine's own part is its `layer_ms`."""

from __future__ import annotations

WARMUP_RUNS = 3
"""Runs that are not counted."""

# Steps that convert to the engine's own layout and back: in a net they happen once, not around each layer.
LAYOUT_OPS = frozenset(
    {"ReorderInput", "ReorderOutput", "Transpose", "Reorder", "Parameter", "Result", "Input", "Output"}
)
