"""One call of a tool in its toolchain's environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from edgeseg.core.records import decode_record
from edgeseg.core.vendor_process import run_tool
from edgeseg.toolchains.description import find_toolchain
from edgeseg.toolchains.store import own_paths, require_toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_T = TypeVar("_T")


def call_toolchain(
    cls: type[_T],
    toolchain: str,
    script: Path,
    request: Mapping[str, object],
    *,
    name: str,
    log_folder: Path,
    time_limit_s: float,
) -> _T:
    """Return the answer of a Python script, as `cls`, to a request; it runs in a toolchain's environment.

    `name` is the tool's name in errors. For a tool that borrows modules of edgeseg's environment, the request's `path`
    lists where they lie: the script appends it to `sys.path`.

    Raises:
        MissingDependency: the toolchain is not installed.
        ConversionError: the tool failed, with its last lines.
        RecipeError: an answer that is not `cls`.
    """
    environment = require_toolchain(toolchain)
    tool = find_toolchain(toolchain)
    if tool.borrows:
        request = {**request, "path": own_paths(tool)}
    answer = run_tool(
        [environment.python, "-I", script],
        request,
        name=name,
        log_folder=log_folder,
        time_limit_s=time_limit_s,
        install=tool.install_command,
    )
    return decode_record(cls, answer, where=f"{name}'s answer")
