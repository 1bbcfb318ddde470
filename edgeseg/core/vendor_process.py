"""A vendor's tool in its own process (usually its own Python environment too): JSON in, JSON out, within limits.

The tool reads one JSON object from stdin and prints one JSON object as the last line of its stdout; all output before
it is its log. If the tool crashes, hangs or runs out of memory, one clear error gives its last output and the path of
the log, and no child process is left behind. A log has no name while the tool runs, so calls at the same time cannot
meet; it is kept only if the tool fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgeseg.core.parsing import parse_json
from edgeseg.core.records import encode_record
from edgeseg.core.trust import state_folder
from edgeseg.errors import ConversionError, EdgesegError, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LAST_LINES = 5
LAST_BYTES = 4000
MOST_LOGS = 20
"""Logs of failures that `tool_logs` keeps; the oldest ones go."""
DEFAULT_TIME_LIMIT_S = 1800.0


def tool_logs() -> Path:
    """Return the folder for the logs of tools that failed: `logs` in the user's state folder."""
    try:
        return state_folder() / "logs"
    except RuntimeError:  # no home folder
        return Path(tempfile.gettempdir())


def run_tool(
    command: Sequence[str | Path],
    request: Mapping[str, object],
    *,
    name: str,
    log_folder: Path,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    memory_limit_mb: int | None = None,
    install: str = "",
) -> dict[str, object]:
    """Return a tool's response to a request.

    `command` starts the tool, `name` is its name in errors, and `install` says how to get it. If it fails, its output
    is stored in `log_folder` under a name of its own, which the error gives; else nothing is left there.
    `memory_limit_mb` bounds the address space of its process (Linux and macOS).

    Raises:
        MissingDependency: the interpreter or program does not exist or cannot be started.
        ConversionError: the tool crashed, hung, ran out of memory or printed something other than JSON.
    """
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        child = _start(
            command, name=name, output=output, errors=errors, memory_limit_mb=memory_limit_mb, install=install
        )
        fault = _feed(child, request, time_limit_s=time_limit_s)
        answer: object = None
        if fault or child.returncode != 0:
            fault = fault or _died(child.returncode, memory_limit_mb)
            words = _last_words(errors) or _last_words(output)
        else:
            said = _last_line(output)
            words = said[:200]
            try:
                answer = parse_json(said, where=f"{name}'s answer")
            except EdgesegError as error:
                fault = f"answered with something else than JSON ({error})"
            else:
                fault = "" if isinstance(answer, dict) else "did not answer with a JSON object"
        if not isinstance(answer, dict):
            raise ConversionError(_fault(fault, name, words, _keep(log_folder, name, output, errors)))
        return answer


def run_program(
    command: Sequence[str | Path], *, name: str, log_folder: Path, time_limit_s: float, install: str = ""
) -> str:
    """Return what a program that knows no JSON printed; if it fails, that is stored in `log_folder`, as in `run_tool`.

    Raises:
        MissingDependency: it does not exist or cannot be started.
        ConversionError: it failed, crashed or did not end in time.
    """
    with tempfile.TemporaryFile() as said:
        child = _start(command, name=name, output=said, errors=said, memory_limit_mb=None, install=install)
        fault = _feed(child, {}, time_limit_s=time_limit_s)
        if fault or child.returncode != 0:
            fault = fault or _died(child.returncode, None)
            raise ConversionError(_fault(fault, name, _last_words(said), _keep(log_folder, name, said)))
        said.seek(0)
        return said.read().decode(errors="replace")


def _start(
    command: Sequence[str | Path],
    *,
    name: str,
    output: IO[bytes],
    errors: IO[bytes],
    memory_limit_mb: int | None,
    install: str,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            # A process group of its own: its children end with it.
            start_new_session=True,
            preexec_fn=_limit(memory_limit_mb),  # noqa: PLW1509 - the child calls setrlimit alone, which takes no lock
        )
    except OSError as error:
        advice = f" {install}" if install else ""
        raise MissingDependency(f"{name} cannot be started: {command[0]}: {error.strerror}.{advice}") from None


def _feed(child: subprocess.Popen[bytes], request: Mapping[str, object], *, time_limit_s: float) -> str:
    """Send the request and wait for the tool to exit; return what went wrong, or an empty string."""
    data = (json.dumps(encode_record(dict(request)), ensure_ascii=False) + "\n").encode()
    try:
        # communicate also copes with a tool that exits without reading.
        child.communicate(data, timeout=time_limit_s)
    except subprocess.TimeoutExpired:
        return f"did not end within {time_limit_s:g} s and was stopped"
    finally:
        _end(child)
    return ""


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the tool's whole process group, grandchildren included, and wait for the tool."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _limit(memory_limit_mb: int | None) -> Callable[[], None] | None:
    if memory_limit_mb is None or sys.platform == "win32":
        return None
    import resource

    size = memory_limit_mb << 20
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _died(status: int, memory_limit_mb: int | None) -> str:
    limit = f" (memory limit: {memory_limit_mb} MB)" if memory_limit_mb is not None else ""
    if status >= 0:
        return f"failed with exit status {status}{limit}"
    try:
        cause = signal.Signals(-status).name
    except ValueError:
        cause = f"signal {-status}"
    hint = ", probably out of memory" if cause == "SIGKILL" else ""
    return f"was ended by {cause}{hint}{limit}"


def _fault(what: str, name: str, words: str, log: Path | None) -> str:
    said = f' Last words: "{words}".' if words else ""
    return f"{name} {what}.{said}" + (f" Its log: {log}" if log is not None else " Its log could not be stored.")


def _keep(folder: Path, name: str, *streams: IO[bytes]) -> Path | None:
    """Store a tool's output as a new file in `folder`, else in the system's temporary folder; None if neither can."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "tool"
    for place in (folder, Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            handle, text = tempfile.mkstemp(prefix=f"{stem}-", suffix=".log", dir=place)
            log = Path(text)
            try:
                with os.fdopen(handle, "wb") as file:
                    for stream in streams:
                        stream.seek(0)
                        shutil.copyfileobj(stream, file)
            except OSError:
                log.unlink()
                raise
            if place == tool_logs() != Path(tempfile.gettempdir()):
                _delete_oldest(place)
            return log
    return None


def _delete_oldest(folder: Path) -> None:
    """Delete the oldest logs beyond `MOST_LOGS`: those that `_keep` named, and nothing else."""
    with contextlib.suppress(OSError):
        logs = [path for path in folder.iterdir() if re.fullmatch(r"[a-z0-9-]+-\w{8}\.log", path.name)]
        for log in sorted(logs, key=lambda path: path.stat().st_mtime_ns)[:-MOST_LOGS]:
            log.unlink()


def _tail(stream: IO[bytes]) -> list[str]:
    stream.flush()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - LAST_BYTES))
    return [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]


def _last_words(stream: IO[bytes]) -> str:
    return " | ".join(_tail(stream)[-LAST_LINES:])


def _last_line(stream: IO[bytes]) -> str:
    """Return the last line of a stream, at any length."""
    stream.seek(0)
    lines = [line for line in stream.read().splitlines() if line.strip()]
    return lines[-1].decode(errors="replace") if lines else ""
