"""The machine a figure comes from: `describe_device`, and `DeviceWatch` for before and after a run."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import time
from pathlib import Path

from edgeseg.bench import telemetry
from edgeseg.core.cpu_cores import usable_cores
from edgeseg.core.cpu_features import cpu_fields
from edgeseg.core.measurement import DeviceState
from edgeseg.core.system_files import control_groups, read_int, read_text

_ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd49": "Neoverse-N2", "0xd4d": "Cortex-A715",
}  # fmt: skip
_EMULATED = "EDGESEG_EMULATED"
"""Environment variable that marks an emulator, where times mean nothing."""


def describe_device(*, name: str | None = None, root: Path = Path("/")) -> DeviceState:
    """Return the machine and its state now; `name` replaces the board's own name. The host name is never used."""
    cpu = _cpu(root)
    return DeviceState(
        name=name or _board(root) or cpu,
        cpu=cpu,
        arch=platform.machine(),
        cores=usable_cores(root),
        memory_mb=_memory_mb(root),
        os=_os(root),
        python=platform.python_version(),
        load_average=telemetry.read_load_average(root),
        temperature_before_c=telemetry.read_temperature_c(root),
        frequency_mhz=telemetry.read_frequency_mhz(root),
        throttled=telemetry.read_throttled(root),
        power_w=telemetry.read_board_power_w(root),
        emulated=is_emulated(root),
        governor=telemetry.read_governor(root),
        power_source=telemetry.read_power_source(root),
    )


class DeviceWatch:
    """Reads the machine's state on construction, and again on `finish`."""

    def __init__(self, *, name: str | None = None, root: Path = Path("/")) -> None:
        self._root = root
        self._before = describe_device(name=name, root=root)
        self._events = telemetry.read_overcurrent_events(root)
        self._energy_uj = telemetry.read_energy_uj(root)
        self._start_s = time.perf_counter()

    def finish(self) -> DeviceState:
        """Return the state before and after, with throttling and mean power of the time between."""
        root = self._root
        now = telemetry.read_throttled(root)
        seen = [value for value in (self._before.throttled, now, self._slowed()) if value is not None]
        return dataclasses.replace(
            self._before,
            temperature_after_c=telemetry.read_temperature_c(root),
            load_average_after=telemetry.read_load_average(root),
            frequency_before_mhz=self._before.frequency_mhz,
            frequency_mhz=telemetry.read_frequency_mhz(root),
            throttled=any(seen) if seen else None,
            power_w=self._power_w(),
        )

    def _slowed(self) -> bool | None:
        events = telemetry.read_overcurrent_events(self._root)
        return None if events is None or self._events is None else events > self._events

    def _power_w(self) -> float | None:
        if self._energy_uj:
            seconds = max(1e-9, time.perf_counter() - self._start_s)
            after = telemetry.read_energy_uj(self._root)
            return round(telemetry.mean_power_w(self._energy_uj, after, seconds=seconds, root=self._root), 2)
        return telemetry.read_board_power_w(self._root)


def is_emulated(root: Path = Path("/")) -> bool:
    """Return whether this process runs on an emulated CPU, by the environment or the name of the kernel or CPU."""
    if os.environ.get(_EMULATED, "0") not in ("", "0"):
        return True
    cpuinfo = read_text(root / "proc/cpuinfo") or ""
    if "QEMU Virtual CPU" in cpuinfo or "QEMU TCG" in cpuinfo:
        return True
    # qemu-user shows the host's kernel release and often its cpuinfo to a program of another architecture; the kernel's
    # own name of its architecture (Linux 6.1 and newer) is the surest sign.
    kernel = f"{platform.release()} {read_text(root / 'proc/sys/kernel/arch') or ''}"
    is_arm = platform.machine().lower().startswith(("aarch64", "arm"))
    return is_arm and ("vendor_id" in cpuinfo or bool(re.search(r"amd64|x86_64", kernel)))


def _cpu(root: Path) -> str:
    fields = cpu_fields(root)
    if "model name" in fields:
        return re.sub(r"\s+", " ", fields["model name"])
    part = fields.get("CPU part", "").lower()
    if fields.get("CPU implementer", "").lower() == "0x41" and part in _ARM_PARTS:
        return f"Arm {_ARM_PARTS[part]}"
    return fields.get("Hardware") or platform.processor() or platform.machine() or "unknown"


def _board(root: Path) -> str | None:
    model = read_text(root / "proc/device-tree/model")
    if model:
        return model
    maker, product = (read_text(root / "sys/class/dmi/id" / key) for key in ("sys_vendor", "product_name"))
    return f"{maker or ''} {product}".strip() if product else None


def _memory_mb(root: Path) -> int | None:
    """Return the machine's memory in MB of 10^6 bytes, or the control group's limit where that is less."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    sizes = [int(total[1]) * 1024 // 10**6] if total else []
    for group in control_groups(root):
        limit = read_int(group / "memory.max")
        sizes += [limit // 10**6] if limit else []
    return min(sizes, default=None)


def _os(root: Path) -> str:
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]+)', read_text(root / "etc/os-release") or "", re.MULTILINE)
    kernel = f"{platform.system()} {platform.release()}"
    return f"{pretty[1]}, {kernel}" if pretty else kernel
