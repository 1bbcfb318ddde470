"""The environment of a child that scripts/coverage must not measure."""

from __future__ import annotations

import os


def unmeasured() -> dict[str, str]:
    """Return this process's environment without coverage: for children that may not write or that end at once."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
