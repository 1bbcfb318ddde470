"""The first inference of an artifact in a separate process, with limits on time and memory.

Engines barely validate model files: a malicious or damaged file can crash the process that opens it, allocate without
bound, or run forever. Checksums do not help if the attacker also wrote the manifest. So an artifact of unknown origin
is opened here first, and a crash of the child becomes one clear error message.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeseg import errors
from edgeseg.core.parsing import parse_json
from edgeseg.core.records import bounds, decode_record, encode_record
from edgeseg.errors import ArtifactError, EdgesegError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

# The child takes our sys.path before it imports edgeseg, so that it finds the same plug-ins.
_CODE = (
    "import json, sys\n"
    "request = json.loads(sys.stdin.readline())\n"
    "sys.path[:] = request['path']\n"
    "from importlib import import_module\n"
    "from edgeseg.runtime.session.isolated import answer\n"
    "answer(request, getattr(import_module(request['module']), request['function']))\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits for one inference: seconds from start to result, and memory beyond that of the engine's library."""

    seconds: float = field(default=60.0, metadata=bounds(above=0))
    memory_mb: int = field(default=2048, metadata=bounds(low=64))

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.memory_mb < 64:
            raise InputError(
                f"limits are {self.seconds} s and {self.memory_mb} MB; give more than 0 s and 64 MB or more."
            )


def run_isolated(
    function: Callable[..., _T],
    kind: type[_T],
    *,
    folder: Path,
    engine: str | None,
    threads: int | None,
    limits: Limits,
) -> _T:
    """Return what `function(folder, engine=, threads=, prepare=)` returns in a child process, a `kind`.

    `function` must be public in its module and call `prepare` after importing the engine's library and before opening
    the artifact: from then on the memory limit holds (POSIX only; on Windows only the time limit).

    Raises:
        ArtifactError: the child crashed, or took more than `limits`.
        EdgesegError: raised by the function in the child.
    """
    request = {
        "path": [str(Path(entry or ".").resolve()) for entry in sys.path],
        "module": function.__module__,
        "function": function.__name__,
        "folder": str(folder.resolve()),
        "engine": engine,
        "threads": threads,
        "memory_mb": limits.memory_mb,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-c", _CODE],
            input=(json.dumps(request) + "\n").encode(),
            capture_output=True,
            timeout=limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ArtifactError(
            f"{folder}: one inference did not end within {limits.seconds:g} s and was stopped. If this device is that "
            f"slow, allow more (edgeseg verify {folder} --time-limit S); else the model file is damaged or hostile."
        ) from None
    for line in done.stderr.decode(errors="replace").splitlines():
        _log.debug("%s", line)
    if done.returncode != 0:
        raise ArtifactError(f"{folder}: the engine crashed on it ({_end(done.returncode, limits)}).")
    return _result(done.stdout, kind, folder)


def answer(request: dict[str, Any], function: Callable[..., object]) -> None:
    """Run a request in the child and print its result or error as one JSON object."""
    found: dict[str, object]
    out = sys.stdout
    sys.stdout = sys.stderr
    try:
        value = function(
            Path(request["folder"]),
            engine=request["engine"],
            threads=request["threads"],
            prepare=lambda: _limit_memory(int(request["memory_mb"])),
        )
        found = {"value": encode_record(value)}
    except EdgesegError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        message = (
            f"{request['folder']}: needs more than {request['memory_mb']} MB for one inference. If that is what the "
            "model takes, allow more (edgeseg verify ARTIFACT --memory-limit MB)."
        )
        found = {"error": "ArtifactError", "message": message}
    out.write(json.dumps(found))
    out.flush()


def _limit_memory(extra_mb: int) -> None:
    """Limit this process's address space to what it has now and `extra_mb` more; and write no core file."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):  # macOS has no such file, and does not enforce the limit either
        return
    most = pages * resource.getpagesize() + (extra_mb << 20)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _end(status: int, limits: Limits) -> str:
    cause = "the model file is damaged or hostile"
    if status >= 0:
        return f"its process ended with status {status}: {cause}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name in ("SIGABRT", "SIGKILL"):
        cause += f", or needs more than {limits.memory_mb} MB (edgeseg verify --memory-limit)"
    return f"{name}: {cause}"


def _result(output: bytes, kind: type[_T], folder: Path) -> _T:
    where = f"{folder}: answer of the engine's process"
    found = parse_json(output.decode(errors="replace"), where=where)
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        named = getattr(errors, found["error"], EdgesegError)
        raise named(str(found.get("message")))
    if not isinstance(found, dict) or "value" not in found:
        raise ArtifactError(f"{where}: not understood.")
    return decode_record(kind, found["value"], where=where)
