"""Vendors' tools in Python environments of their own: a description (TOML) and a lock file with hashes for each.

A compiler's tool often pins other versions than edgeseg needs, or has a licence that everybody accepts for themselves.
So none is part of edgeseg's own environment, and none is installed without being asked for.
"""

from __future__ import annotations

from edgeseg.toolchains.calling import call_toolchain
from edgeseg.toolchains.description import Toolchain, find_toolchain, load_toolchains
from edgeseg.toolchains.installing import install_toolchain, remove_toolchain
from edgeseg.toolchains.left_out import LeftOutTool, find_left_out, left_out_names
from edgeseg.toolchains.store import ToolchainStatus, require_toolchain, toolchain_status, toolchain_store

__all__ = [
    "LeftOutTool", "Toolchain", "ToolchainStatus", "call_toolchain", "find_left_out", "find_toolchain",
    "install_toolchain", "left_out_names", "load_toolchains", "remove_toolchain", "require_toolchain",
    "toolchain_status", "toolchain_store",
]  # fmt: skip
