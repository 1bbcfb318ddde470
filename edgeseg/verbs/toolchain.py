"""Vendors' tools on this machine: which there are, installing one, removing one."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.toolchains import (
    LeftOutTool,
    Toolchain,
    ToolchainStatus,
    find_left_out,
    find_toolchain,
    install_toolchain,
    left_out_names,
    load_toolchains,
    remove_toolchain,
    toolchain_status,
)

__all__ = [
    "ListedToolchain",
    "find_toolchain",
    "install_toolchain",
    "list_left_out",
    "list_toolchains",
    "remove_toolchain",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedToolchain:
    """A toolchain and its state here."""

    toolchain: Toolchain
    status: ToolchainStatus


def list_toolchains() -> tuple[ListedToolchain, ...]:
    """Return every toolchain that edgeseg can install, with its state on this machine."""
    return tuple(ListedToolchain(toolchain=tool, status=toolchain_status(tool)) for tool in load_toolchains())


def list_left_out() -> tuple[LeftOutTool, ...]:
    """Return the tools that edgeseg does not install, each with the reason and what to do instead."""
    return tuple(find_left_out(name) for name in left_out_names())
