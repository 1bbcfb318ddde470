"""Remote devices, by ssh and by adb: add, look at, install, use, remove."""

from __future__ import annotations

import asyncio
import codecs
import dataclasses
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench.record import decode_measurement, write_measurement
from edgeseg.core.receipt import ProofReceipt, write_receipt
from edgeseg.core.records import decode_record
from edgeseg.devices.adb import Adb, choose_serial
from edgeseg.devices.facts import DeviceFacts, check_python, read_facts
from edgeseg.devices.known import (
    DEVICE_SCHEMA,
    AdbDevice,
    AnyDevice,
    KnownDevice,
    check_device_name,
    find_device,
    forget_device,
    parse_adb_address,
    parse_address,
    save_device,
)
from edgeseg.devices.phone import (
    PhoneFacts,
    forget_everything,
    install_benchmark,
    not_over_adb,
    read_phone,
    run_on_phones,
)
from edgeseg.devices.remote_verbs import Outcome, Pushed, Tell, Word, check_installed, run_on_devices
from edgeseg.devices.ssh import connect, fetch_host_key
from edgeseg.devices.wheels import collect_wheels, folder_hash
from edgeseg.errors import DeviceError, EdgesegError, InputError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from edgeseg.core.measurement import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledDevice:
    """What `install_on_device` made; `agreement` is that of the verified artifact, None without one."""

    device: str
    edgeseg: str
    python: str
    engines: tuple[str, ...]
    verified: str = ""
    agreement: float | None = None


def add_device(
    name: str,
    address: str,
    *,
    confirm: Callable[[str], bool],
    key_file: Path | None = None,
    python: str = "python3",
) -> AnyDevice:
    """Return a device that was added after `confirm` accepted the fingerprint of its host key, which is pinned.

    A phone (`adb:SERIAL`) has none: it asked its owner itself whether this desk may debug it.

    Raises:
        InputError: a name or address that cannot be one, a name that is taken.
        DeviceError: nothing answers there, or the fingerprint was not confirmed.
    """
    check_device_name(name)
    serial = parse_adb_address(address)
    if serial is not None:
        return asyncio.run(_add_phone(name, serial))
    place = parse_address(address)
    key = asyncio.run(fetch_host_key(place, name=name))
    if not confirm(key.fingerprint):
        raise DeviceError(f"{name}: not added: {key.fingerprint} was not confirmed as its host key.")
    device = KnownDevice(
        schema=DEVICE_SCHEMA,
        name=name,
        address=place,
        host_key=key.text,
        fingerprint=key.fingerprint,
        key_file="" if key_file is None else str(key_file.expanduser().absolute()),
        python=python,
    )
    save_device(device)
    return device


async def _add_phone(name: str, serial: str) -> AdbDevice:
    chosen = await choose_serial(serial, name=name)
    facts = await read_phone(Adb(name=name, serial=chosen))
    device = AdbDevice(schema=DEVICE_SCHEMA, name=name, serial=chosen, model=facts.model)
    save_device(device)
    return device


def probe_device(name: str) -> DeviceFacts | PhoneFacts:
    """Return what a device says about itself; raises `DeviceError` where it cannot be reached or has no Python."""
    device = find_device(name)
    if isinstance(device, AdbDevice):
        return asyncio.run(read_phone(Adb(name=name, serial=device.serial)))
    return _probe_by_ssh(device)


def _probe_by_ssh(device: KnownDevice) -> DeviceFacts:
    async def probe() -> DeviceFacts:
        async with connect(device) as remote:
            return await read_facts(remote)

    return asyncio.run(probe())


def install_on_phone(name: str, program: Path) -> AdbDevice:
    """Return the phone after LiteRT's `benchmark_model` was sent there and started.

    Raises:
        InputError: no such file, or a device that is reached by ssh.
        DeviceError: the phone cannot be reached, or the program does not start there.
    """
    device = find_device(name)
    if not isinstance(device, AdbDevice):
        raise InputError(f"{name}: is reached by ssh and gets edgeseg itself: edgeseg device install {name}")
    sha256 = asyncio.run(install_benchmark(Adb(name=name, serial=device.serial), program))
    installed = dataclasses.replace(device, benchmark_sha256=sha256)
    save_device(installed, replace=True)
    return installed


def install_on_device(
    name: str,
    *,
    engines: Sequence[str] = ("litert",),
    artifact: Path | None = None,
    wheels: Path | None = None,
    tell: Tell,
) -> InstalledDevice:
    """Return what was installed: wheels for the device's Python, libc and CPU, in an environment of its own there.

    The device needs no network. `artifact` is then verified there; without one, `edgeseg doctor` must find an engine.
    An installation that is interrupted leaves the one before it untouched.

    Raises:
        DeviceError: the device cannot be reached, its Python does not do, a wheel does not exist, its disk is full.
        GateError: the artifact's labels differ there.
    """
    device = find_device(name)
    if isinstance(device, AdbDevice):
        raise DeviceError(
            f"{name}: has no Python. Give LiteRT's benchmark_model, built for Android: edgeseg device install {name} "
            "--benchmark-model FILE."
        )

    async def install() -> str:
        async with connect(device) as remote:
            facts = await read_facts(remote)
            check_python(facts, name=name)
            with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
                tell(name, f"collecting wheels for Python {facts.python_short}, {facts.libc} {facts.libc_version}, "
                     f"{facts.machine}")  # fmt: skip
                try:
                    requirement = await asyncio.to_thread(
                        collect_wheels, facts, Path(folder), engines=engines, source=wheels
                    )
                except DeviceError as error:
                    raise DeviceError(f"{name}: {error}") from None
                size = sum(path.stat().st_size for path in Path(folder).iterdir())
                tell(name, f"sending {len(list(Path(folder).iterdir()))} wheels, {size / 1e6:.1f} MB")
                pushed = f"wheels/{folder_hash(Path(folder))[:32]}"
                await remote.push(Path(folder), pushed)
            tell(name, "installing")
            done = await remote.ask("install", pushed, requirement)
            await remote.ask("forget", pushed)
            return str(done["edgeseg"])

    version = asyncio.run(install())
    if not version:
        raise DeviceError(f"{name}: edgeseg was installed there but does not start: edgeseg device run {name} doctor")
    words: list[Word] = [] if artifact is None else [Pushed(path=artifact, kind="artifact")]
    verb = "doctor" if artifact is None else "verify"
    outcome = _only(run_verb_on([name], verb, words, tell=tell))
    table = outcome.table or {}
    if artifact is None and not any(item.get("area") == "run" and item.get("works") for item in table["findings"]):
        raise DeviceError(f"{name}: no engine works there: edgeseg device run {name} doctor")
    facts = _probe_by_ssh(device)
    return InstalledDevice(
        device=name,
        edgeseg=version,
        python=facts.python,
        engines=tuple(engines),
        verified="" if artifact is None else str(artifact),
        agreement=table.get("agreement") if artifact is not None else None,
    )


def run_verb_on(names: Sequence[str], verb: str, words: Sequence[Word], *, tell: Tell) -> tuple[Outcome, ...]:
    """Return what a verb gave on each named device, at the same time; a device that fails has its error in its outcome.

    Raises:
        UnknownName: a name that is not a known device; nothing runs then.
    """
    devices = [find_device(name) for name in dict.fromkeys(names)]
    return asyncio.run(_run_each(devices, verb, words, tell=tell))


async def _run_each(
    devices: Sequence[AnyDevice], verb: str, words: Sequence[Word], *, tell: Tell
) -> tuple[Outcome, ...]:
    by_ssh = [device for device in devices if isinstance(device, KnownDevice)]
    phones = [device for device in devices if isinstance(device, AdbDevice)]
    both = await asyncio.gather(
        run_on_devices(by_ssh, verb, words, tell=tell), run_on_phones(phones, verb, words, tell=tell)
    )
    by_name = {outcome.device: outcome for outcomes in both for outcome in outcomes}
    return tuple(by_name[device.name] for device in devices)


def run_command(name: str, command: Sequence[str]) -> int:
    """Run a verb of edgeseg on a device, its output here as it comes, and return its exit status.

    Raises:
        DeviceError: the device cannot be reached, or edgeseg is not installed there.
    """
    device = find_device(name)
    if isinstance(device, AdbDevice):
        raise not_over_adb(name, command[0])

    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    async def run() -> int:
        async with connect(device) as remote:
            await check_installed(remote)
            done = await remote.run(
                ["@python", "-m", "edgeseg", *command],
                on_line=lambda line: _print(f"{line}\n", sys.stderr),
                on_output=lambda piece: _print(decoder.decode(piece), sys.stdout),
            )
            _print(decoder.decode(b"", final=True), sys.stdout)
            return done.status

    try:
        return asyncio.run(run())
    except _NobodyReadsError as error:
        raise error.cause from None


class _NobodyReadsError(Exception):
    """This desk's stdout or stderr cannot be written, which is no fault of the connection."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _print(text: str, stream: TextIO) -> None:
    try:
        stream.write(printable(text, keep="\n\t"))
        stream.flush()
    except OSError as error:
        raise _NobodyReadsError(error) from None


def measurements_of(
    outcomes: Sequence[Outcome], *, out: Path | None
) -> tuple[tuple[Measurement, ...], tuple[Outcome, ...]]:
    """Return the measurements of `bench` on devices, named after them and written to `out`, and the outcomes.

    A device whose record cannot be read or written has failed; the others' are not lost with it.
    """
    found: list[Measurement] = []
    ended = []
    for outcome in outcomes:
        try:
            for item in (outcome.table or {}).get("measurements", ()):
                record = decode_measurement(item, where=outcome.device)
                record = dataclasses.replace(record, device=dataclasses.replace(record.device, name=outcome.device))
                found.append(record)
                if out is not None:
                    write_measurement(record, out)
            ended.append(outcome)
        except EdgesegError as error:
            ended.append(dataclasses.replace(outcome, status=error.exit_status, error=str(error)))
    return tuple(found), tuple(ended)


def store_receipt(outcome: Outcome, *, artifact: Path) -> Path | None:
    """Return the file that a receipt from a device was written to, beside the artifact here; None if it sent none."""
    proof = (outcome.table or {}).get("proof")
    if proof is None:
        return None
    receipt = decode_record(ProofReceipt, proof, where=f"{outcome.device}'s receipt")
    return write_receipt(dataclasses.replace(receipt, device=outcome.device), artifact)


def remove_device(name: str, *, purge: bool) -> None:
    """Forget a device; with `purge`, first delete what edgeseg installed on it."""
    device = find_device(name)

    async def clean() -> None:
        if isinstance(device, AdbDevice):
            await forget_everything(Adb(name=name, serial=device.serial))
            return
        async with connect(device) as remote:
            await remote.ask("purge")

    if purge:
        asyncio.run(clean())
    forget_device(name)


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise the error of the devices that failed, if any: its exit status is 3 where a gate failed on each of them."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return
    lines = [item.error if item.error.startswith(item.device) else f"{item.device}: {item.error}" for item in failed]
    error = EdgesegError("\n".join(lines))
    error.exit_status = 3 if all(item.status == 3 for item in failed) else 1
    raise error


def _only(outcomes: Sequence[Outcome]) -> Outcome:
    raise_failures(outcomes)
    return outcomes[0]
