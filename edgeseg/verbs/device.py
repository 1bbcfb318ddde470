"""Remote devices: add, look at, install, use, remove."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench.record import decode_measurement, write_measurement
from edgeseg.core.receipt import ProofReceipt, write_receipt
from edgeseg.core.records import decode_record
from edgeseg.devices.facts import DeviceFacts, check_python, read_facts
from edgeseg.devices.known import (
    DEVICE_SCHEMA,
    KnownDevice,
    check_device_name,
    find_device,
    forget_device,
    parse_address,
    save_device,
)
from edgeseg.devices.remote_verbs import Outcome, Pushed, Tell, Word, check_installed, run_on_devices
from edgeseg.devices.ssh import connect, fetch_host_key
from edgeseg.devices.wheels import collect_wheels, folder_hash
from edgeseg.errors import DeviceError, EdgesegError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
) -> KnownDevice:
    """Return a device that was added after `confirm` accepted the fingerprint of its host key, which is pinned.

    Raises:
        InputError: a name or address that cannot be one, a name that is taken.
        DeviceError: nothing answers there, or the fingerprint was not confirmed.
    """
    check_device_name(name)
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


def probe_device(name: str) -> DeviceFacts:
    """Return what a device says about itself; raises `DeviceError` where it cannot be reached or has no Python."""

    async def probe() -> DeviceFacts:
        async with connect(find_device(name)) as remote:
            return await read_facts(remote)

    return asyncio.run(probe())


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
    facts = probe_device(name)
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
    return asyncio.run(run_on_devices(devices, verb, words, tell=tell))


def run_command(name: str, command: Sequence[str]) -> int:
    """Run a verb of edgeseg on a device, its output here as it comes, and return its exit status.

    Raises:
        DeviceError: the device cannot be reached, or edgeseg is not installed there.
    """
    device = find_device(name)

    async def run() -> int:
        async with connect(device) as remote:
            await check_installed(remote)
            done = await remote.run(
                ["@python", "-m", "edgeseg", *command], on_line=lambda line: print(printable(line), file=sys.stderr)
            )
            sys.stdout.write(printable(done.stdout, keep="\n\t"))
            return done.status

    return asyncio.run(run())


def measurements_of(outcomes: Sequence[Outcome], *, out: Path | None) -> tuple[Measurement, ...]:
    """Return the measurements of `bench` on devices, named after them; each is also written to `out`."""
    found = []
    for outcome in outcomes:
        for item in (outcome.table or {}).get("measurements", ()):
            record = decode_measurement(item, where=outcome.device)
            record = dataclasses.replace(record, device=dataclasses.replace(record.device, name=outcome.device))
            if out is not None:
                write_measurement(record, out)
            found.append(record)
    return tuple(found)


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
