"""A machine's state from /proc and /sys. Every reader returns None for missing values.

`root` stands for "/", so that a test, or a copy of another machine's files, can be read instead.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgeseg.core.system_files import read_int, read_text

_CPU_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu", "soc-thermal", "coretemp", "acpitz")
_ENERGY_ROOT = "sys/class/powercap"


def read_temperature_c(root: Path = Path("/")) -> float | None:
    """Return the CPU's temperature in degrees Celsius: the zone named after the CPU, else the hottest zone."""
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        milli_c = read_int(zone / "temp")
        # Zones of parts that are switched off read 0 or below -200 degrees.
        if milli_c is not None and 0 < milli_c < 200_000:
            name = (read_text(zone / "type") or "").lower()
            found[name] = max(found.get(name, 0.0), milli_c / 1000)
    for name in _CPU_ZONES:
        if name in found:
            return found[name]
    return max(found.values(), default=None)


def read_frequency_mhz(root: Path = Path("/")) -> float | None:
    """Return the mean of the CPU clusters' current frequencies in MHz."""
    policies = (root / "sys/devices/system/cpu/cpufreq").glob("policy*")
    khz = [value for policy in sorted(policies) if (value := read_int(policy / "scaling_cur_freq")) is not None]
    return round(sum(khz) / len(khz) / 1000, 1) if khz else None


def read_governor(root: Path = Path("/")) -> str:
    """Return the frequency governors of the CPU clusters, such as "schedutil"; "" where there is none."""
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
    return ", ".join(dict.fromkeys(text for item in policies if (text := read_text(item / "scaling_governor"))))


def read_power_source(root: Path = Path("/")) -> str:
    """Return "mains" or "battery", "" where the machine reports no supply; a battery that is charging is "mains"."""
    kinds: dict[str, list[str]] = {}
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        if (read_text(supply / "scope") or "").lower() == "device":
            continue  # the battery of a mouse or a pen, which feeds nothing else
        kind = (read_text(supply / "type") or "").lower()
        state = read_text(supply / ("status" if kind == "battery" else "online")) or ""
        kinds.setdefault("battery" if kind == "battery" else "mains", []).append(state)
    if "1" in kinds.get("mains", ()):
        return "mains"
    if "battery" not in kinds:
        return "mains" if kinds else ""
    return "battery" if "Discharging" in kinds["battery"] else "mains"


def read_load_average(root: Path = Path("/")) -> float | None:
    """Return the number of runnable processes, averaged over the last minute."""
    text = read_text(root / "proc/loadavg")
    try:
        return float(text.split()[0]) if text else None
    except ValueError:
        return None


def read_throttled(root: Path = Path("/")) -> bool | None:
    """Return whether a Raspberry Pi is throttled, capped or under voltage now; None on any other machine.

    `vcgencmd get_throttled` prints `throttled=0x50005`; bits 0 to 3 are the present, 16 to 19 the time since boot.
    """
    board = read_text(root / "proc/device-tree/model") or ""
    command = shutil.which("vcgencmd")
    if "Raspberry Pi" not in board or command is None:
        return None
    try:
        done = subprocess.run([command, "get_throttled"], capture_output=True, text=True, timeout=5, check=True)
        return parse_throttled(done.stdout)
    except (OSError, subprocess.SubprocessError):
        return None


def parse_throttled(text: str) -> bool | None:
    """Return whether one of bits 0 to 3 is set in `throttled=0x...`; None for any other text."""
    _, mark, value = text.strip().partition("throttled=")
    try:
        return bool(int(value, 16) & 0xF) if mark else None
    except ValueError:
        return None


def read_overcurrent_events(root: Path = Path("/")) -> int | None:
    """Return how often a Jetson's SoC was slowed for too much current since boot; None on any other machine."""
    counts = [
        value
        for sensor in _hwmon(root, "soctherm_oc")
        for path in sensor.glob("oc*_event_cnt")
        if (value := read_int(path)) is not None
    ]
    return sum(counts) if counts else None


def read_board_power_w(root: Path = Path("/")) -> float | None:
    """Return a Jetson's current power in watts, from the INA3221 channel `VDD_IN`; None where absent."""
    for sensor in _hwmon(root, "ina3221"):
        for label in sorted(sensor.glob("in*_label")):
            if read_text(label) != "VDD_IN":
                continue
            channel = label.name.removeprefix("in").removesuffix("_label")
            milli_v, milli_a = read_int(sensor / f"in{channel}_input"), read_int(sensor / f"curr{channel}_input")
            if milli_v is not None and milli_a is not None:
                return milli_v * milli_a / 1e6
    return None


def read_energy_uj(root: Path = Path("/")) -> dict[str, int]:
    """Return the running energy counters of the CPU packages in microjoules by zone (RAPL); empty where unreadable."""
    found = {}
    for zone in sorted((root / _ENERGY_ROOT).glob("intel-rapl:*")):
        # "intel-rapl:0:0" is a part of package 0 and would count twice; "psys" holds the packages.
        value = read_int(zone / "energy_uj")
        if zone.name.count(":") == 1 and value is not None and (read_text(zone / "name") or "").startswith("package"):
            found[zone.name] = value
    return found


def mean_power_w(before: dict[str, int], after: dict[str, int], *, seconds: float, root: Path = Path("/")) -> float:
    """Return the mean power in watts between two readings of `read_energy_uj`; a counter that wrapped counts right."""
    total_uj = 0
    for zone, start in before.items():
        spent = after.get(zone, start) - start
        total_uj += spent if spent >= 0 else spent + (read_int(root / _ENERGY_ROOT / zone / "max_energy_range_uj") or 0)
    return total_uj / 1e6 / seconds


def _hwmon(root: Path, name: str) -> list[Path]:
    sensors = sorted((root / "sys/class/hwmon").glob("hwmon*"))
    return [sensor for sensor in sensors if read_text(sensor / "name") == name]
