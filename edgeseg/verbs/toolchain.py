"""Vendors' tools on this machine: which there are, installing one, removing one."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.toolchains import (
    Toolchain,
    ToolchainStatus,
    find_toolchain,
    install_toolchain,
    load_toolchains,
    remove_toolchain,
    toolchain_status,
)

__all__ = ["ListedToolchain", "find_toolchain", "install_toolchain", "list_toolchains", "remove_toolchain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedToolchain:
    """A toolchain and its state here."""

    toolchain: Toolchain
    status: ToolchainStatus


def list_toolchains() -> tuple[ListedToolchain, ...]:
    """Return every toolchain that edgeseg can install, with its state on this machine."""
    return tuple(ListedToolchain(toolchain=tool, status=toolchain_status(tool)) for tool in load_toolchains())
