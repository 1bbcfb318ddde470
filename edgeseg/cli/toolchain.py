"""`edgeseg toolchain list|install|remove [NAME]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.toolchains import Toolchain, ToolchainStatus

HELP = "list, install and remove vendors' tools, each in an environment of its own"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("action", metavar="ACTION", choices=("list", "install", "remove"), help="list, install, remove")
    parser.add_argument("name", metavar="NAME", nargs="?", help="a toolchain of the list, or ./my-tool.toml")
    parser.add_argument(
        "--accept-licence", action="store_true", help="you have read the tool's licence, which install shows"
    )
    parser.add_argument(
        "--wheels", metavar="DIR", type=Path, help="install from the wheels or npm tarballs in DIR, without a network"
    )


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    from edgeseg.cli.options import UsageError

    if options.action == "list":
        if options.name is not None:
            raise UsageError("toolchain list takes no NAME.")
        return _list(options)
    if options.name is None:
        raise UsageError(f"toolchain {options.action} needs a NAME; edgeseg toolchain list shows them.")
    return _install(options) if options.action == "install" else _remove(options)


def _list(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.toolchain import list_left_out, list_toolchains

    found, left_out = list_toolchains(), list_left_out()
    if options.json:
        listed = [_fields(item.toolchain, item.status) for item in found]
        render.result_json({"toolchains": listed, "left_out": left_out})
        return 0
    rows = [
        (
            item.toolchain.name,
            item.toolchain.version,
            item.status.state,
            f"{item.status.size_bytes / 1e6:.0f}" if item.status.size_bytes else f"({item.toolchain.installed_mb})",
            item.toolchain.licence,
            item.toolchain.purpose,
        )
        for item in found
    ]
    render.table("Toolchains", ("name", "version", "state", "MB", "licence", "what it does"), rows, numbers=("MB",))
    for item in found:
        if item.status.state in ("outdated", "damaged"):
            render.result(f"{item.toolchain.name} {item.status.detail}: {item.status.fix}")
    for tool in left_out:
        render.result(f"Left out: {tool.line}")
    return 0


def _install(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.toolchain import find_toolchain, install_toolchain

    tool = find_toolchain(options.name)
    if not options.json:
        render.say(f"{tool.title} {tool.version}: {tool.purpose}.")
        render.say(f"Licence: {tool.licence}, {tool.licence_url}")
        render.say(f"  {tool.terms}")
        render.say(f"Size: {tool.download_mb} MB to download, {tool.installed_mb} MB installed.")
    with render.progress(quiet=options.json) as advance:
        made = install_toolchain(
            tool, accept_licence=options.accept_licence, wheels=options.wheels, on_progress=advance
        )
    if options.json:
        render.result_json(_fields(tool, made))
    else:
        render.result(f"{tool.name} {made.version} in {made.folder}, {made.size_bytes / 1e6:.0f} MB")
    return 0


def _remove(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.toolchain import find_toolchain, remove_toolchain

    tool = find_toolchain(options.name)
    freed = remove_toolchain(tool)
    if options.json:
        render.result_json({"name": tool.name, "freed_bytes": freed})
    else:
        render.result(f"{tool.name} removed, {freed / 1e6:.0f} MB freed")
    return 0


def _fields(tool: Toolchain, status: ToolchainStatus) -> dict[str, object]:
    return {
        "name": tool.name,
        "title": tool.title,
        "version": tool.version,
        "state": status.state,
        "detail": status.detail,
        "fix": status.fix,
        "folder": str(status.folder),
        "size_bytes": status.size_bytes,
        "licence": tool.licence,
        "licence_url": tool.licence_url,
        "terms": tool.terms,
        "download_mb": tool.download_mb,
        "installed_mb": tool.installed_mb,
        "packages": tool.pinned,
    }
