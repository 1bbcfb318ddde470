"""`bench` on an Android phone: LiteRT's `benchmark_model` through adb, its output read back as a measurement."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.bench.record import EngineRun, measurement_of
from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.files import sha256_of
from edgeseg.core.measurement import DeviceState, StageLatency
from edgeseg.core.records import encode_record
from edgeseg.core.timing_method import TimingMethod
from edgeseg.devices.adb import PHONE_FOLDER, Adb
from edgeseg.devices.remote_verbs import Outcome, Pushed, Tell, Word, guarded
from edgeseg.errors import DeviceError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeseg.core.measurement import Measurement
    from edgeseg.devices.known import AdbDevice

_ARCHITECTURES = {"arm64-v8a": "aarch64", "armeabi-v7a": "armv7l", "x86_64": "x86_64", "x86": "i686"}
_OPTIONS = ("--runs", "--warmup", "--threads", "--min-seconds", "--engine")
_LONGEST_S = 600
_MARGIN_S = 60
_CPU, _SKIN = "0", "3"
"""Types of temperatures in android.hardware.thermal."""
_NUMBER = r"([0-9.eE+-]+)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneFacts:
    """What an Android phone says of itself; `thermal_status` is 0 to 6 of android.os.PowerManager, None where unknown.

    `temperature_c` is the hottest CPU sensor, or the skin's where the phone shows no CPU sensor.
    """

    model: str
    soc: str
    android: str
    abi: str
    cores: int
    memory_mb: int | None
    thermal_status: int | None
    temperature_c: float | None
    power_source: str
    emulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkedModel:
    """What `benchmark_model` printed: times in milliseconds over `runs` runs of the net alone, on random input."""

    runs: int
    min_ms: float
    mean_ms: float
    median_ms: float
    load_ms: float | None
    first_inference_ms: float | None
    xnnpack: bool


async def read_phone(adb: Adb) -> PhoneFacts:
    """Return what a phone says of itself; raises `DeviceError` where it cannot be reached."""
    listed = (await adb.shell("getprop")).text
    has = dict(re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]$", listed, re.MULTILINE))
    if "ro.product.model" not in has:
        raise DeviceError(f"{adb.name}: it answers, but not as Android does (getprop shows no ro.product.model).")
    heat = (await adb.shell("dumpsys", "thermalservice")).text
    battery = (await adb.shell("dumpsys", "battery")).text
    memory = re.search(r"^MemTotal:\s+(\d+) kB", (await adb.shell("cat", "/proc/meminfo")).text, re.MULTILINE)
    cores = (await adb.shell("nproc")).text.strip()
    status = re.search(r"^Thermal [Ss]tatus: (\d)", heat, re.MULTILINE)
    soc = " ".join(part for key in ("manufacturer", "model") if (part := has.get(f"ro.soc.{key}", "")))
    return PhoneFacts(
        model=" ".join(part for key in ("manufacturer", "model") if (part := has.get(f"ro.product.{key}", ""))),
        soc=soc or has.get("ro.board.platform", "") or has.get("ro.hardware", "") or "unknown",
        android=has.get("ro.build.version.release", ""),
        abi=has.get("ro.product.cpu.abi", ""),
        cores=int(cores) if cores.isdigit() and int(cores) else 1,
        memory_mb=int(memory[1]) * 1024 // 10**6 if memory else None,
        thermal_status=int(status[1]) if status else None,
        temperature_c=_temperature_c(heat),
        power_source=_power_source(battery),
        emulated="1" in (has.get("ro.kernel.qemu"), has.get("ro.boot.qemu"))
        or has.get("ro.hardware") in ("goldfish", "ranchu"),
    )


async def install_benchmark(adb: Adb, program: Path) -> str:
    """Return the hash of a `benchmark_model` that was sent to a phone and starts there.

    Raises:
        InputError: no such file.
        DeviceError: it does not start there.
    """
    if not program.is_file():
        raise InputError(f"{program}: no such file. Give LiteRT's benchmark_model, built for Android.")
    sha256 = sha256_of(program)
    path = await adb.push(program, f"tools/{sha256}/benchmark_model")
    text = (await adb.shell(path, "--help")).text
    if "--num_runs" not in text:
        said = (text.strip().splitlines() or ["it prints nothing"])[-1]
        raise DeviceError(f"{adb.name}: {program.name} does not start there as benchmark_model: {said[:200]}")
    return sha256


async def forget_everything(adb: Adb) -> None:
    """Delete what edgeseg put on a phone."""
    await adb.shell("rm", "-rf", PHONE_FOLDER)


async def run_on_phones(
    phones: Sequence[AdbDevice], verb: str, words: Sequence[Word], *, tell: Tell
) -> tuple[Outcome, ...]:
    """Return what each phone gave, in order; one that fails loses only its own result.

    Raises:
        ArtifactError: an artifact that does not open here; nothing is sent then.
    """
    artifacts = [open_artifact(word.path) for word in words if isinstance(word, Pushed) and word.kind == "artifact"]
    return tuple(
        await asyncio.gather(
            *(
                guarded(phone.name, verb, _over_adb(phone, verb, words, artifacts, tell=tell), tell=tell)
                for phone in phones
            )
        )
    )


async def _over_adb(
    phone: AdbDevice, verb: str, words: Sequence[Word], artifacts: Sequence[Artifact], *, tell: Tell
) -> Outcome:
    if verb != "bench":
        raise not_over_adb(phone.name, verb)
    measured = [await _bench(phone, artifact, _options(phone, words), tell=tell) for artifact in artifacts]
    return Outcome(device=phone.name, status=0, table={"measurements": [encode_record(item) for item in measured]})


def not_over_adb(name: str, verb: str) -> DeviceError:
    """Return the error for a verb that needs Python, which Android does not have."""
    return DeviceError(
        f"{name}: {verb} does not run over adb (Android has no Python), bench alone does. Run edgeseg serve ARTIFACT "
        "here and open its page in the phone's browser, which verifies, measures and shows the camera there."
    )


def parse_benchmark(text: str, *, name: str) -> BenchmarkedModel:
    """Return the figures in the output of `benchmark_model`; raises `DeviceError` where there are none."""
    # The last statistics are those of the counted runs; the ones before are the warm-up's.
    counted = re.findall(r"count=(\d+)\b(.*\bcurr=.*)$", text, re.MULTILINE)
    if not counted:
        lines = [line for line in text.splitlines() if line.strip()] or ["it printed nothing"]
        raise DeviceError(f"{name}: benchmark_model gave no times: {lines[-1].strip()[:200]}")
    runs, rest = counted[-1]
    # Runs that all took the same time, a single one too, have no other figure.
    same = re.search(rf"\bcurr={_NUMBER}", rest) if not re.search(r"\bmin=", rest) else None
    lowest, mean, median = (same or re.search(rf"\b{what}={_NUMBER}", rest) for what in ("min", "avg", "median"))
    if lowest is None or mean is None or median is None:
        raise DeviceError(f"{name}: this benchmark_model prints no median. Install a newer one.")
    timings = re.search(rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}", text)
    return BenchmarkedModel(
        runs=int(runs),
        min_ms=float(lowest[1]) / 1000,
        mean_ms=float(mean[1]) / 1000,
        median_ms=float(median[1]) / 1000,
        load_ms=float(timings[1]) / 1000 if timings else None,
        first_inference_ms=float(timings[2]) / 1000 if timings else None,
        xnnpack="xnnpack" in text.lower(),
    )


async def _bench(phone: AdbDevice, artifact: Artifact, options: dict[str, str], *, tell: Tell) -> Measurement:
    name, manifest = phone.name, artifact.manifest
    if manifest.format != "tflite":
        raise DeviceError(f"{name}: benchmark_model runs TFLite alone; {manifest.name} is {manifest.format}.")
    if not phone.benchmark_sha256:
        raise DeviceError(
            f"{name}: there is no benchmark_model on it: edgeseg device install {name} --benchmark-model FILE."
        )
    adb = Adb(name=name, serial=phone.serial)
    before = await read_phone(adb)
    tell(name, f"sending {manifest.name}")
    graph = await adb.push(artifact.entry, f"models/{sha256_of(artifact.entry)}/model.tflite")
    threads = int(options.get("--threads") or manifest.backend.threads or before.cores)
    runs, warmup = int(options.get("--runs", "200")), int(options.get("--warmup", "10"))
    least_s = float(options.get("--min-seconds", "0"))
    longest_s = max(_LONGEST_S, math.ceil(least_s) + _MARGIN_S)
    tell(name, "bench runs")
    done = await adb.run(
        f"{PHONE_FOLDER}/tools/{phone.benchmark_sha256}/benchmark_model", f"--graph={graph}",
        f"--num_threads={threads}", f"--num_runs={runs}", f"--warmup_runs={warmup}", "--warmup_min_secs=0",
        f"--min_secs={least_s:g}", f"--max_secs={longest_s}", "--use_xnnpack=true",
        limit_s=2 * longest_s,
    )  # fmt: skip
    if done.status:
        lines = [line for line in done.text.splitlines() if line.strip()] or ["no message"]
        raise DeviceError(f"{name}: benchmark_model ended with status {done.status}: {lines[-1].strip()[:200]}")
    found = parse_benchmark(done.text, name=name)
    method = TimingMethod(
        protocol="standard",
        session=secrets.token_hex(8),
        least_runs=min(runs, found.runs),
        least_seconds=least_s,
        rounds=1,
    )
    return _measured(artifact, found, phone=phone, state=_state(phone, before, await read_phone(adb)), threads=threads,
                     warmup=warmup, method=method)  # fmt: skip


def _measured(
    artifact: Artifact, found: BenchmarkedModel, *, phone: AdbDevice, state: DeviceState, threads: int, warmup: int,
    method: TimingMethod,
) -> Measurement:  # fmt: skip
    delegate = "xnnpack" if found.xnnpack else "builtin"
    ran = EngineRun(
        engine="litert",
        version=f"benchmark_model {phone.benchmark_sha256[:12]}",
        options={"delegate": delegate, "input": "random"},
        delegate=delegate,
        threads=threads,
    )
    # It tells no p90, and its p95 is none.
    infer = StageLatency(
        stage="infer", runs=found.runs, p50_ms=found.median_ms, p90_ms=None, p99_ms=None, mean_ms=found.mean_ms,
        min_ms=found.min_ms,
    )  # fmt: skip
    record = measurement_of(artifact, ran, device=state, warmup=warmup, method=method)
    return dataclasses.replace(
        record, latency=(infer,), load_ms=found.load_ms, first_inference_ms=found.first_inference_ms
    )


def _state(phone: AdbDevice, before: PhoneFacts, after: PhoneFacts) -> DeviceState:
    seen = [item.thermal_status for item in (before, after) if item.thermal_status is not None]
    return DeviceState(
        name=phone.name,
        cpu=before.soc,
        arch=_ARCHITECTURES.get(before.abi, before.abi),
        cores=before.cores,
        memory_mb=before.memory_mb,
        os=f"Android {before.android}, {before.model}",
        python="",
        temperature_before_c=before.temperature_c,
        temperature_after_c=after.temperature_c,
        throttled=any(seen) if seen else None,
        emulated=before.emulated,
        power_source=before.power_source,
    )


def _options(phone: AdbDevice, words: Sequence[Word]) -> dict[str, str]:
    texts = [word for word in words if isinstance(word, str)]
    options: dict[str, str] = {}
    while texts:
        name = texts.pop(0)
        if name not in _OPTIONS or not texts:
            raise DeviceError(f"{phone.name}: bench over adb knows {', '.join(_OPTIONS)}; got {name}.")
        options[name] = texts.pop(0)
    if options.get("--engine", "litert") != "litert":
        raise DeviceError(
            f"{phone.name}: benchmark_model is LiteRT; --engine {options['--engine']} does not run there."
        )
    return options


def _temperature_c(text: str) -> float | None:
    # Cached values come first, those of the hardware now after them.
    now = text.partition("Current temperatures from HAL:")[2].partition("Current cooling")[0] or text
    found = re.findall(r"Temperature\{mValue=([-0-9.]+), mType=(-?\d+),", now)
    for kind in (_CPU, _SKIN):
        values = [float(value) for value, of_kind in found if of_kind == kind and -50 < float(value) < 200]
        if values:
            return round(max(values), 1)
    return None


def _power_source(text: str) -> str:
    powered = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered: (true|false)", text, re.MULTILINE)
    if not powered:
        return ""
    return "mains" if "true" in powered else "battery"
