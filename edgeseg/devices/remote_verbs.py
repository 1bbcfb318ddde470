"""A verb of edgeseg on one device or several: push what it reads, run it there, pull what it wrote."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeseg.core.artifact import MANIFEST, Artifact, open_artifact
from edgeseg.devices.ssh import Finished, Remote, connect
from edgeseg.devices.wheels import folder_hash
from edgeseg.errors import DeviceError, EdgesegError

if TYPE_CHECKING:
    from edgeseg.devices.known import KnownDevice

_FINISHING_S = 6.0
"""What the agent gives an interrupted program to end, and a second for the way."""
Tell = Callable[[str, str], None]
"""Called with a device's name and one line about what happens on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An argument that names a folder of this desk: it is sent once, by its hash, and named by its path there."""

    path: Path
    kind: Literal["artifact", "data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """An argument that names an output: it is written on the device, and then pulled to `path` on this desk."""

    path: Path


Word = str | Pushed | Returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one device gave: the verb's JSON object, or the error that ended it; `status` is the verb's exit status."""

    device: str
    status: int
    table: dict[str, Any] | None = None
    error: str = ""


async def run_on_devices(
    devices: Sequence[KnownDevice], verb: str, words: Sequence[Word], *, tell: Tell
) -> tuple[Outcome, ...]:
    """Return what each device gave, in order; they work at the same time, and one that fails loses only its own result.

    Raises:
        ArtifactError: an artifact that does not open here; nothing is sent then.
    """
    artifacts = {
        word.path: open_artifact(word.path) for word in words if isinstance(word, Pushed) and word.kind == "artifact"
    }
    return tuple(
        await asyncio.gather(
            *(
                guarded(device.name, verb, _over_ssh(device, verb, words, artifacts=artifacts, tell=tell), tell=tell)
                for device in devices
            )
        )
    )


async def _over_ssh(
    device: KnownDevice, verb: str, words: Sequence[Word], *, artifacts: dict[Path, Artifact], tell: Tell
) -> Outcome:
    async with connect(device) as remote:
        return await _run_verb(remote, verb, words, artifacts=artifacts, tell=tell)


async def guarded(name: str, verb: str, work: Awaitable[Outcome], *, tell: Tell) -> Outcome:
    """Return what `work` gives on a device, its failure as an outcome, and tell how it ended."""
    try:
        outcome = await work
    except EdgesegError as error:
        outcome = Outcome(device=name, status=error.exit_status, error=str(error))
    tell(name, f"failed: {outcome.error}" if outcome.error else f"{verb} done")
    return outcome


async def _run_verb(
    remote: Remote, verb: str, words: Sequence[Word], *, artifacts: dict[Path, Artifact], tell: Tell
) -> Outcome:
    await check_installed(remote)
    output = f"out/{secrets.token_hex(8)}"
    arguments: list[str] = []
    returned: dict[str, Path] = {}
    named_here: dict[str, str] = {}
    for index, word in enumerate(words):
        if isinstance(word, Pushed):
            arguments.append(await _push(remote, word, artifacts=artifacts, tell=tell))
            named_here[arguments[-1]] = str(word.path)
        elif isinstance(word, Returned):
            name = f"{output}/{index}/{word.path.name}"
            returned[name] = word.path
            arguments.append(await _output_path(remote, name))
        else:
            arguments.append(word)
    tell(remote.name, f"{verb} runs")
    command = ["@python", "-m", "edgeseg", verb, *arguments, "--json"]
    try:
        try:
            done = await remote.run(
                command,
                on_line=lambda line: tell(remote.name, _as_named_here(line, named_here)),
                finishing_s=_FINISHING_S if returned else 0.0,
            )
        except asyncio.CancelledError:
            await _bring_home(remote, returned, output, tell=tell)
            returned = {}
            raise
        await _bring_home(remote, returned, output, tell=tell)
    except BaseException:  # what was written there is not thrown away
        if returned:
            tell(remote.name, f"what it wrote stays there, in ~/.edgeseg/{output}")
        raise
    return _outcome(remote.name, verb, dataclasses.replace(done, stderr=_as_named_here(done.stderr, named_here)))


async def _bring_home(remote: Remote, returned: dict[str, Path], output: str, *, tell: Tell) -> None:
    """Pull the outputs of a verb, and delete them there once all are here."""
    for name, path in returned.items():
        if await remote.pull(name, path):
            tell(remote.name, f"wrote {path}")
    if returned:
        await remote.ask("forget", output)


def _as_named_here(text: str, named_here: dict[str, str]) -> str:
    """Return a message with the hashed paths of pushed folders as the user gave them."""
    for there, here in named_here.items():
        text = text.replace(there, here)
    return text


async def check_installed(remote: Remote) -> None:
    """Raise `DeviceError` unless edgeseg is installed on the device."""
    facts = await remote.ask("probe")
    if not facts.get("edgeseg"):
        raise DeviceError(f"{remote.name}: edgeseg is not installed there: edgeseg device install {remote.name}")


async def _push(remote: Remote, word: Pushed, *, artifacts: dict[Path, Artifact], tell: Tell) -> str:
    if word.kind == "data":
        name, paths = f"data/{folder_hash(word.path)}", None
    else:
        artifact = artifacts[word.path]
        name, paths = f"artifacts/{artifact.sha256}", [MANIFEST, *(file.path for file in artifact.manifest.files)]
    tell(remote.name, f"sending {word.path.name}")
    return await remote.push(word.path, name, paths=paths)


async def _output_path(remote: Remote, name: str) -> str:
    """Return the path of an output on the device; its folder is made."""
    found = await remote.ask("prepare", name)
    return str(found["path"])


def _outcome(name: str, verb: str, done: Finished) -> Outcome:
    try:
        table = json.loads(done.stdout) if done.stdout.strip() else None
    except ValueError:
        table = None
    error = ""
    if done.status:
        error = _last_message(done.stderr) or f"{verb} ended with status {done.status} there."
        if "pip install" in error:
            error += f" On a device: edgeseg device install {name} --verify ARTIFACT, which brings its engine."
    elif not isinstance(table, dict):
        error = f"{name}: {verb} there printed no JSON object. Install again: edgeseg device install {name}"
    return Outcome(
        device=name,
        status=done.status or (1 if error else 0),
        table=table if isinstance(table, dict) else None,
        error=error,
    )


def _last_message(stderr: str) -> str:
    """Return the last error that edgeseg printed there, with the lines that belong to it."""
    lines = stderr.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("edgeseg: ")]
    if not starts:
        return lines[-1] if lines else ""
    return "\n".join(lines[starts[-1] :]).removeprefix("edgeseg: ")
