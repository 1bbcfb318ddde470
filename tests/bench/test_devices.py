"""The machine's own files, from copies of what other machines show."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import pytest

from edgeseg.bench import DeviceWatch, describe_device, telemetry
from edgeseg.bench.devices import is_emulated
from edgeseg.core.cpu_cores import usable_cores

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


PI5 = {
    "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5 Model B\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/meminfo": "MemTotal:        8254112 kB\nMemFree: 1 kB\n",
    "proc/loadavg": "0.42 0.30 0.20 1/234 5678\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51250\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "2400000\n",
}
JETSON = {
    "sys/class/hwmon/hwmon2/name": "ina3221\n",
    "sys/class/hwmon/hwmon2/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon2/in1_input": "5000\n",
    "sys/class/hwmon/hwmon2/curr1_input": "1400\n",
    "sys/class/hwmon/hwmon2/in2_label": "VDD_CPU_GPU_CV\n",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "3\n",
    "sys/class/hwmon/hwmon3/oc2_event_cnt": "1\n",
    "sys/class/thermal/thermal_zone0/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "-256000\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "48000\n",
    "sys/class/thermal/thermal_zone2/type": "tj-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "49500\n",
}


def test_a_raspberry_pi_is_described_by_its_files(tmp_path: Path) -> None:
    state = describe_device(root=put(tmp_path, PI5))
    assert (state.name, state.cpu) == ("Raspberry Pi 5 Model B Rev 1.0", "Arm Cortex-A76")
    assert (state.memory_mb, state.load_average) == (8452, 0.42)
    assert (state.temperature_before_c, state.frequency_mhz) == (51.25, 2400.0)
    assert state.os.startswith("Debian GNU/Linux 12 (bookworm), ")
    assert describe_device(name="kitchen", root=tmp_path).name == "kitchen"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    state = describe_device(root=tmp_path)
    assert (state.memory_mb, state.load_average, state.temperature_before_c) == (None, None, None)
    assert (state.frequency_mhz, state.throttled, state.power_w) == (None, None, None)
    assert state.cpu
    assert state.name


def test_damaged_files_are_none_too(tmp_path: Path) -> None:
    put(tmp_path, {"proc/loadavg": "x", "sys/class/thermal/thermal_zone0/temp": "hot", "proc/meminfo": "MemTotal: ?"})
    state = describe_device(root=tmp_path)
    assert (state.load_average, state.temperature_before_c, state.memory_mb) == (None, None, None)


def test_a_jetson_tells_power_and_its_hottest_zone(tmp_path: Path) -> None:
    root = put(tmp_path, JETSON)
    assert telemetry.read_board_power_w(root) == pytest.approx(7.0)
    assert telemetry.read_temperature_c(root) == 49.5
    watch = DeviceWatch(root=root)
    assert watch.finish().throttled is False
    put(tmp_path, {"sys/class/hwmon/hwmon3/oc2_event_cnt": "2\n"})
    assert watch.finish().throttled is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [("throttled=0x0\n", False), ("throttled=0x50005\n", True), ("throttled=0x50000\n", False), ("error", None),
     ("throttled=?", None)],
)  # fmt: skip
def test_throttling_is_that_of_now(text: str, expected: bool | None) -> None:
    assert telemetry.parse_throttled(text) is expected


def test_package_energy_gives_mean_power_over_a_wrapped_counter(tmp_path: Path) -> None:
    base = "sys/class/powercap/intel-rapl:0"
    root = put(tmp_path, {f"{base}/name": "package-0", f"{base}/energy_uj": "9000000",
                          f"{base}/max_energy_range_uj": "10000000",
                          "sys/class/powercap/intel-rapl:0:0/name": "core",
                          "sys/class/powercap/intel-rapl:0:0/energy_uj": "5"})  # fmt: skip
    before = telemetry.read_energy_uj(root)
    assert before == {"intel-rapl:0": 9_000_000}
    put(root, {f"{base}/energy_uj": "1000000"})
    assert telemetry.mean_power_w(before, telemetry.read_energy_uj(root), seconds=0.5, root=root) == 4.0


def test_a_control_group_limits_cores_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert usable_cores(tmp_path) == 8
    put(tmp_path, {**PI5, "proc/self/cgroup": "0::/box/job\n", "sys/fs/cgroup/box/cpu.max": "250000 100000\n",
                   "sys/fs/cgroup/box/job/cpu.max": "max 100000\n", "sys/fs/cgroup/box/memory.max": "1073741824\n",
                   "sys/fs/cgroup/box/job/memory.max": "max\n"})  # fmt: skip
    assert usable_cores(tmp_path) == 3
    assert describe_device(root=tmp_path).memory_mb == 1073


def test_the_older_control_group_limits_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    put(tmp_path, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"})
    assert usable_cores(tmp_path) == 1


def test_emulation_is_seen_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGESEG_EMULATED", raising=False)
    assert not is_emulated(tmp_path)
    put(tmp_path, {"proc/cpuinfo": "vendor_id\t: GenuineIntel\n"})
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert not is_emulated(tmp_path)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert is_emulated(tmp_path)
    put(tmp_path, PI5)
    monkeypatch.setattr(platform, "release", lambda: "6.12.0-rpi-v8")
    assert not is_emulated(tmp_path)
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-18-amd64")
    assert is_emulated(tmp_path)
    monkeypatch.setattr(platform, "release", lambda: "6.12.0-rpi-v8")
    put(tmp_path, {"proc/sys/kernel/arch": "x86_64\n"})
    assert is_emulated(tmp_path)
    put(tmp_path, {"proc/sys/kernel/arch": "aarch64\n"})
    assert not is_emulated(tmp_path)
    monkeypatch.setenv("EDGESEG_EMULATED", "1")
    assert is_emulated(tmp_path)


def test_a_mouse_on_its_battery_is_not_the_machines(tmp_path: Path) -> None:
    supplies = tmp_path / "sys/class/power_supply"
    for name, facts in {
        "hidpp_battery_0": {"type": "Battery", "scope": "Device", "status": "Discharging"},
        "BAT0": {"type": "Battery", "status": "Discharging"},
    }.items():
        (supplies / name).mkdir(parents=True)
        for key, text in facts.items():
            (supplies / name / key).write_text(f"{text}\n")
        assert telemetry.read_power_source(tmp_path) == ("battery" if name == "BAT0" else "")
