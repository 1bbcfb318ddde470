"""How many CPU cores this process may use: its affinity, limited by its control group's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

from edgeseg.core.system_files import control_groups, read_int, read_text


def usable_cores(root: Path = Path("/")) -> int:
    """Return the CPU cores that this process may use, at least 1; a container's quota of 1.5 cores counts as 2."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(root)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def _cpu_quota(root: Path) -> float | None:
    """Return how many cores' worth of time the control group may use; None where it is not limited."""
    found = []
    for group in control_groups(root):
        quota, _, period = (read_text(group / "cpu.max") or "").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            found.append(int(quota) / int(period))
    old = root / "sys/fs/cgroup/cpu"
    quota_us, period_us = read_int(old / "cpu.cfs_quota_us"), read_int(old / "cpu.cfs_period_us")
    if quota_us and period_us and quota_us > 0:
        found.append(quota_us / period_us)
    return min(found, default=None)
