"""Android phones over adb, against a program that answers as platform-tools' adb does; no phone was there.

Where each form comes from: `adb devices -l` and its states as on Android's page on adb, `push` and getprop as commonly
seen; the fault texts as adb's client prints them (packages/modules/adb), in users' reports; `dumpsys thermalservice`
from ThermalManagerService.dump of AOSP
and captures of Pixel phones; `dumpsys battery` from BatteryService.dump; the lines of benchmark_model from
BenchmarkLoggingListener (benchmark_model.cc) and a captured run of its arm64 build. The figures are made up.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contracts.tiny_artifact import make_artifact

from edgeseg.bench import read_measurements
from edgeseg.cli.main import main
from edgeseg.devices.known import AdbDevice, find_device
from edgeseg.devices.phone import parse_benchmark

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake adb is a shell script")

ADB = r"""#!/bin/sh
here=$(dirname "$0")
if [ "$1" = devices ]; then echo 'List of devices attached'; cat "$here/attached"; echo; exit 0; fi
serial=$2; shift 2
state=
while read -r name found _; do [ "$name" = "$serial" ] && state=$found; done < "$here/attached"
case "$state" in
device) ;;
'') echo "adb: device '$serial' not found" >&2; exit 1 ;;
unauthorized) printf '%s\n' 'adb: device unauthorized.' "This adb server's \$ADB_VENDOR_KEYS is not set" \
  "Try 'adb kill-server' if that seems wrong." \
  'Otherwise check for a confirmation dialog on your device.' >&2; exit 1 ;;
*) echo "adb: device $state" >&2; exit 1 ;;
esac
there() { printf '%s' "$1" | sed "s#/data/local/tmp#$here/phone#g"; }
echo "$*" >> "$here/calls"
case "$1" in
push) cp "$2" "$(there "$3")" && echo "$2: 1 file pushed, 0 skipped. 35.2 MB/s (5736 bytes in 0.000s)" ;;
# As adbd does, it leaves the program running where the client is killed.
shell) PATH="$here/bin:$PATH" setsid sh -c "$(there "$2")" & wait $! ;;
esac
"""
GETPROP = r"""#!/bin/sh
cat <<'END'
[ro.build.version.release]: [14]
[ro.hardware]: [oriole]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.manufacturer]: [Google]
[ro.product.model]: [Pixel 6]
[ro.soc.manufacturer]: [Google]
[ro.soc.model]: [Tensor]
END
"""
DUMPSYS = r"""#!/bin/sh
[ "$1" = battery ] && printf '%s\n' 'Current Battery Service state:' '  AC powered: false' '  USB powered: true' \
  '  Wireless powered: false' '  level: 87' && exit
cat <<'END'
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 3
Thermal Status: 1
Cached temperatures:
	Temperature{mValue=99.0, mType=0, mName=LITTLE, mStatus=0}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
	Temperature{mValue=41.25, mType=0, mName=BIG, mStatus=0}
	Temperature{mValue=33.2, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
END
"""
BENCHMARK = r"""#!/bin/sh
[ "$1" = --help ] && printf '%s\n' 'usage: benchmark_model <flags>' 'Flags:' '	--num_runs=50 int32' && exit
here=$(dirname "$0")/../../..
if [ -f "$here/slow" ]; then echo $$ > "$here/running"; exec sleep 120; fi
[ -f "$here/broken" ] && echo 'ERROR: Failed to load model' && exit 1
cat <<'END'
INFO: STARTING!
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 2 out of 2 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0.
INFO: Initialized session in 11.5ms.
INFO: Running benchmark for at least 5 iterations and at least 0 seconds but terminate if exceeding 600 seconds.
INFO: count=5 first=8711 curr=5162 min=5162 max=8711 avg=5814.4 std=1147 p5=5162 median=5196 p95=8711

INFO: Running benchmark for at least 50 iterations and at least 0 seconds but terminate if exceeding 600 seconds.
INFO: count=50 first=5216 curr=4978 min=4908 max=6861 avg=5374.3 std=607 p5=4962 median=5189 p95=6862

INFO: Inference timings in us: Init: 11951, First inference: 8711, Warmup (avg): 5814.4, Inference (avg): 5374.3
END
"""
NO_SERVER = r"""#!/bin/sh
printf '%s\n' '* daemon not running; starting now at tcp:5037' "ADB server didn't ACK" \
  'Full server startup log: /tmp/adb.0.log' 'Server had pid: 4711' '* failed to start daemon' \
  'adb: failed to check server version: cannot connect to daemon' >&2
exit 1
"""
PIXEL = "1A2B3C4D device usb:1-1 product:oriole model:Pixel_6 device:oriole transport_id:1\n"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a desk whose adb sees one phone."""
    programs = {"adb": ADB, "bin/getprop": GETPROP, "bin/dumpsys": DUMPSYS, "benchmark_model": BENCHMARK}
    for name, text in programs.items():
        path = tmp_path / "sdk" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (tmp_path / "sdk" / "phone").mkdir()
    attach(tmp_path, PIXEL)
    monkeypatch.setenv("PATH", f"{tmp_path / 'sdk'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("EDGESEG_DEVICES", str(tmp_path / "devices"))
    return tmp_path


def attach(desk: Path, lines: str) -> None:
    (desk / "sdk" / "attached").write_text(lines, encoding="utf-8")


def run(*words: object) -> int:
    return main([str(word) for word in words])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgeseg: ")]
    return line


def install(desk: Path) -> None:
    assert run("device", "add", "phone", "adb:") == 0
    assert run("device", "install", "phone", "--benchmark-model", desk / "sdk" / "benchmark_model") == 0


@pytest.mark.parametrize("last", ["count=1 curr=5001", "count=7 curr=5001 (all same)"])
def test_equal_runs_are_not_taken_for_the_warm_up(last: str) -> None:
    text = BENCHMARK.replace(next(line for line in BENCHMARK.splitlines() if "count=50" in line), f"INFO: {last}")
    found = parse_benchmark(text, name="phone")
    assert (found.runs, found.min_ms, found.mean_ms, found.median_ms) == (int(last[6]), 5.001, 5.001, 5.001)


def test_a_phone_is_benchmarked_and_its_record_names_it(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_artifact(desk / "tiny")
    install(desk)
    assert find_device("phone").model == "Google Pixel 6"
    words = ("bench", desk / "tiny", "--device", "phone", "--runs", "50", "--warmup", "5", "--threads", "4")
    assert run(*words, "--out", desk / "results") == 0
    (record,) = read_measurements([desk / "results"])
    (infer,) = record.latency
    assert (infer.stage, infer.runs, infer.p50_ms, infer.min_ms, infer.mean_ms) == ("infer", 50, 5.189, 4.908, 5.3743)
    assert (infer.p90_ms, infer.p99_ms, record.fps) == (None, None, 0.0)
    assert (record.load_ms, record.first_inference_ms, record.threads, record.delegate) == (11.951, 8.711, 4, "xnnpack")
    device = record.device
    assert (device.name, device.cpu, device.arch) == ("phone", "Google Tensor", "aarch64")
    assert device.os == "Android 14, Google Pixel 6"
    assert (device.temperature_before_c, device.throttled, device.power_source) == (41.2, True, "mains")
    assert not device.emulated
    capsys.readouterr()
    assert run("compare", desk / "results", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["p50_ms"] is None  # the net alone is no whole frame
    assert run(*words) == 0
    printed = capsys.readouterr()
    assert "no preprocessing and no decoding" in printed.out
    calls = (desk / "sdk" / "calls").read_text(encoding="utf-8")
    assert calls.count("push ") == 2  # benchmark_model and the model, each once
    assert "--num_threads=4 --num_runs=50 --warmup_runs=5" in calls
    assert run("device", "remove", "phone", "--purge") == 0
    assert not (desk / "sdk" / "phone" / "edgeseg").exists()


def test_what_cannot_run_over_adb_names_the_browser(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_artifact(desk / "tiny")
    make_artifact(desk / "other", file_format="onnx")
    install(desk)
    for verb in ("validate", "verify", "run"):
        capsys.readouterr()
        assert run(verb, desk / "tiny", "--device", "phone") == 1
        assert f"phone: {verb} does not run over adb" in (line := error(capsys))
        assert "edgeseg serve ARTIFACT" in line
    assert run("device", "run", "phone", "doctor") == 1
    assert "edgeseg serve ARTIFACT" in error(capsys)
    assert run("bench", desk / "other", "--device", "phone") == 1
    assert "benchmark_model runs TFLite alone" in error(capsys)
    assert run("bench", desk / "tiny", "--device", "phone", "--data", "streets") == 1
    assert "bench over adb knows --runs" in error(capsys)
    assert run("device", "install", "phone") == 1
    assert "--benchmark-model FILE" in error(capsys)
    (desk / "sdk" / "phone" / "broken").touch()
    assert run("bench", desk / "tiny", "--device", "phone") == 1
    assert "benchmark_model ended with status 1: ERROR: Failed to load model" in error(capsys)


@pytest.mark.parametrize(
    ("attached", "address", "said"),
    [
        ("", "adb:", "no Android device is connected"),
        (PIXEL, "adb:9Z", "adb sees no device 9Z; it sees 1A2B3C4D"),
        (PIXEL + "emulator-5554 device product:sdk\n", "adb:", "2 devices (1A2B3C4D, emulator-5554). Name one"),
        ("1A2B3C4D unauthorized usb:1-1 transport_id:1\n", "adb:", "accept \"Allow USB debugging\""),
        ("1A2B3C4D offline transport_id:1\n", "adb:1A2B3C4D", "is offline"),
        ("1A2B3C4D no permissions (user in plugdev group; are your udev rules wrong?); see [page]\n", "adb:", "udev"),
        (PIXEL, "adb:a b", "has no serial such as those of adb devices"),
    ],
)  # fmt: skip
def test_each_fault_of_adding_a_phone_is_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str], attached: str, address: str, said: str
) -> None:
    attach(desk, attached)
    assert run("device", "add", "phone", address) == 1
    assert said in error(capsys)
    assert not (desk / "devices").exists()


def test_faults_after_that_are_one_line_too(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_artifact(desk / "tiny")
    assert run("device", "add", "phone", "adb:1A2B3C4D") == 0
    assert run("bench", desk / "tiny", "--device", "phone") == 1
    assert "there is no benchmark_model on it: edgeseg device install phone --benchmark-model" in error(capsys)
    assert run("device", "install", "phone", "--benchmark-model", desk / "nowhere") == 1
    assert "no such file" in error(capsys)
    (desk / "not").write_text("#!/bin/sh\necho 'not executable: 64-bit ELF file'; exit 1\n", encoding="utf-8")
    assert run("device", "install", "phone", "--benchmark-model", desk / "not") == 1
    assert "not does not start there as benchmark_model: not executable: 64-bit ELF file" in error(capsys)
    for state, said in (("unauthorized", "Allow USB debugging"), ("offline", "is offline"), ("", "is not connected")):
        attach(desk, f"1A2B3C4D {state}\n" if state else "")
        assert run("device", "probe", "phone") == 1
        assert said in error(capsys)
    monkeypatch.setenv("PATH", "/nowhere")
    assert run("device", "probe", "phone") == 1
    assert "phone: there is no adb on PATH" in error(capsys)
    assert run("device", "add", "tablet", "adb:") == 1
    assert "tablet: there is no adb on PATH" in error(capsys)


def test_a_phone_stands_beside_ssh_devices(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("device", "add", "phone", "adb:1A2B3C4D") == 0
    assert find_device("phone") == AdbDevice(schema=1, name="phone", serial="1A2B3C4D", model="Google Pixel 6")
    capsys.readouterr()
    assert run("device", "list") == 0
    assert "adb:1A2B3C4D" in capsys.readouterr().out
    assert run("device", "probe", "phone", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["soc"], facts["thermal_status"]) == ("Google Pixel 6", "Google Tensor", 1)


def test_ctrl_c_leaves_no_process_on_the_phone(desk: Path) -> None:
    make_artifact(desk / "tiny")
    install(desk)
    running = desk / "sdk" / "phone" / "running"
    (desk / "sdk" / "phone" / "slow").touch()
    command = [sys.executable, "-m", "edgeseg", "bench", desk / "tiny", "--device", "phone"]
    # Not from the checkout's root: Python would take the half of the package that lies there.
    child = subprocess.Popen(command, cwd=desk, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: running.exists() and running.read_text(encoding="utf-8").strip())
    number = int(running.read_text(encoding="utf-8"))
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    wait_for(lambda: not is_running(number))
    assert not list((desk / "sdk" / "phone").rglob("*.pid"))


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{number}/stat")
    return not (status.exists() and status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z")


def wait_for(condition: object) -> None:
    end = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_server_of_adb_that_does_not_start_is_no_phone(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "sdk" / "adb").write_text(NO_SERVER, encoding="utf-8")
    assert run("device", "add", "phone", "adb:") == 1
    assert error(capsys) == "edgeseg: phone: adb failed: ADB server didn't ACK"


def test_more_seconds_than_the_usual_limit_are_run_in_full(desk: Path) -> None:
    assert run("device", "add", "phone", "adb:") == 0
    assert run("device", "install", "phone", "--benchmark-model", desk / "sdk" / "benchmark_model") == 0
    make_artifact(desk / "tiny", file_format="tflite")
    assert run("bench", desk / "tiny", "--device", "phone", "--min-seconds", "900") == 0
    (call,) = [line for line in (desk / "sdk" / "calls").read_text(encoding="utf-8").splitlines() if "--graph" in line]
    flags = dict(word.split("=") for word in call.split() if word.startswith("--"))
    assert (flags["--min_secs"], int(flags["--max_secs"])) == ("900", 960)
