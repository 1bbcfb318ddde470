"""Disables the telemetry of vendor libraries: nothing leaves the machine."""

from __future__ import annotations

import sys


def forbid_telemetry() -> None:
    """Keep OpenVINO and NNCF from reporting usage; call this before importing either.

    Both import `openvino_telemetry` inside try/except and have a silent substitute for when it is missing. Without
    this, merely importing `openvino` sends an event.
    """
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    modules["openvino_telemetry"] = None
