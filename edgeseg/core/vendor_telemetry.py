"""Nothing leaves the machine: the vendor libraries' usage reports are kept from loading."""

from __future__ import annotations

import sys


def forbid_telemetry() -> None:
    """Keep OpenVINO and NNCF from reporting usage; call it before either is imported.

    Both import `openvino_telemetry` inside try/except and carry a silent stand-in for when it is missing. Importing
    `openvino` alone would already send an event, without asking.
    """
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    modules["openvino_telemetry"] = None
