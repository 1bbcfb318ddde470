"""`edgeseg device add|list|probe|install|run|remove`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.devices.phone import PhoneFacts

HELP = (
    "reach other machines by ssh, phones by adb: add, list, probe, install, run, remove; then --device NAME in bench "
    "and others"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add an argument group for each action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    add = _action(actions, "add", "remember a device, after you have confirmed the fingerprint of its host key")
    add.add_argument("name", metavar="NAME", help="what to call it, such as pi5")
    add.add_argument("address", metavar="ADDRESS", help="ssh://[USER@]HOST[:PORT], or adb:[SERIAL]")
    add.add_argument("--key", metavar="FILE", type=Path, help="private key to log in with (default: ssh-agent, ~/.ssh)")
    add.add_argument("--python", metavar="PATH", default="python3", help="the Python to use there (default: python3)")
    add.add_argument(
        "--fingerprint", metavar="SHA256:...", help="the host key's fingerprint, instead of the question (for scripts)"
    )
    _action(actions, "list", "list the devices that are known here")
    probe = _action(actions, "probe", "show what a device is and has")
    probe.add_argument("name", metavar="NAME")
    install = _action(actions, "install", "bring edgeseg and engines to a device, which needs no network for it")
    install.add_argument("name", metavar="NAME")
    install.add_argument(
        "--engine", metavar="E", action="append", help="litert, onnxruntime or openvino; several times for several "
        "(default: litert, or the engine of --verify)",
    )  # fmt: skip
    install.add_argument("--verify", metavar="ARTIFACT", type=Path, help="verify this artifact there afterwards")
    install.add_argument("--wheels", metavar="DIR", type=Path, help="take wheels from DIR; this desk needs no network")
    install.add_argument(
        "--benchmark-model", metavar="FILE", type=Path, help="LiteRT's benchmark_model for Android, for a phone (adb:)"
    )
    run = _action(actions, "run", "run a verb of edgeseg on a device, such as: edgeseg device run pi5 doctor")
    run.add_argument("name", metavar="NAME")
    run.add_argument("command", metavar="VERB", nargs=argparse.REMAINDER, help="verb and arguments, as on the device")
    remove = _action(actions, "remove", "forget a device")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--purge", action="store_true", help="first delete what edgeseg installed on it")


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    return {"add": _add, "list": _list, "probe": _probe, "install": _install, "run": _run, "remove": _remove}[
        options.action
    ](options)


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object on stdout"
    )
    return parser


def _add(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.devices.known import AdbDevice
    from edgeseg.verbs.device import add_device

    device = add_device(
        options.name,
        options.address,
        confirm=lambda fingerprint: _confirmed(fingerprint, options),
        key_file=options.key,
        python=options.python,
    )
    if options.json:
        render.result_json({"schema": 1, "device": device})
    else:
        what = f"{device.address}{f', {device.model}' if isinstance(device, AdbDevice) else ''}"
        option = " --benchmark-model FILE" if isinstance(device, AdbDevice) else ""
        render.result(f"{device.name}: added, {what}. Next: edgeseg device install {device.name}{option}")
    return 0


def _confirmed(fingerprint: str, options: argparse.Namespace) -> bool:
    from edgeseg.cli import render

    if options.fingerprint is not None:
        return bool(options.fingerprint.strip() == fingerprint)
    render.say(
        f"{options.address} shows the host key {fingerprint}.\n"
        "Compare it with the device's own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    )
    if not sys.stdin.isatty():
        render.say("Nobody can be asked here. If it is right, give it with --fingerprint.")
        return False
    render.say("Is it this device's? Type yes:")
    try:
        return input().strip().lower() == "yes"
    except EOFError:
        return False


def _list(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.devices.known import AdbDevice, KnownDevice, known_devices

    found = known_devices()
    devices = [item for item in found if isinstance(item, (KnownDevice, AdbDevice))]
    if options.json:
        render.result_json({"schema": 1, "devices": devices})
    elif devices:
        rows = [
            (item.name, item.address, item.model, "none")
            if isinstance(item, AdbDevice)
            else (item.name, str(item.address), item.fingerprint, item.python)
            for item in devices
        ]
        render.table("Devices", ("name", "address", "host key or model", "Python"), rows)
    else:
        render.result("No device is known yet. Add one: edgeseg device add pi5 ssh://pi@raspberrypi.local")
    for item in found:
        if not isinstance(item, (KnownDevice, AdbDevice)):
            render.say(f"Note: {item}")
    return 0


def _probe(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.devices.phone import PhoneFacts
    from edgeseg.verbs.device import probe_device

    facts = probe_device(options.name)
    if options.json:
        render.result_json({"schema": 1, "device": options.name, **render.fields(facts)})
        return 0
    if isinstance(facts, PhoneFacts):
        render.table(options.name, ("what", "found"), _phone_rows(facts))
        return 0
    rows = [
        ("machine", " ".join(part for part in (facts.model, facts.machine) if part)),
        ("system", f"{facts.os}, {facts.libc} {facts.libc_version}"),
        ("Python", f"{facts.implementation} {facts.python}"),
        ("cores", str(facts.cores)),
        ("memory", f"{facts.memory_mb} MB"),
        ("free disk", f"{facts.disk_free_mb} MB"),
        ("edgeseg", facts.edgeseg or f"not installed: edgeseg device install {options.name}"),
    ]
    render.table(options.name, ("what", "found"), rows)
    return 0


def _phone_rows(facts: PhoneFacts) -> list[tuple[str, str]]:
    unknown = "not told"
    return [
        ("phone", facts.model),
        ("chip", f"{facts.soc}, {facts.abi}{', emulated' if facts.emulated else ''}"),
        ("system", f"Android {facts.android}"),
        ("cores", str(facts.cores)),
        ("memory", unknown if facts.memory_mb is None else f"{facts.memory_mb} MB"),
        ("thermal status", unknown if facts.thermal_status is None else f"{facts.thermal_status} (0: not throttled)"),
        ("temperature", unknown if facts.temperature_c is None else f"{facts.temperature_c:.1f} °C"),
        ("power", facts.power_source or unknown),
    ]


def _install(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.cli.options import UsageError
    from edgeseg.cli.remote import show_line
    from edgeseg.core.artifact import open_artifact
    from edgeseg.verbs.device import install_on_device, install_on_phone

    if options.benchmark_model is not None:
        if options.engine or options.verify or options.wheels:
            raise UsageError("--benchmark-model is for a phone, which takes no --engine, --verify or --wheels.")
        phone = install_on_phone(options.name, options.benchmark_model)
        if options.json:
            render.result_json({"schema": 1, "device": phone})
        else:
            render.result(f"{phone.name}: benchmark_model is there and starts. Next: edgeseg bench ARTIFACT --device "
                          f"{phone.name}")  # fmt: skip
        return 0
    engines = options.engine or ([open_artifact(options.verify).manifest.engine] if options.verify else ["litert"])
    done = install_on_device(
        options.name, engines=tuple(dict.fromkeys(engines)), artifact=options.verify, wheels=options.wheels,
        tell=show_line,
    )  # fmt: skip
    if options.json:
        render.result_json({"schema": 1, **render.fields(done)})
        return 0
    proof = (
        f"{done.verified} verified there, {render.percent_text(done.agreement)} % of the golden labels agree"
        if done.verified
        else "its engines load; nothing was verified yet (--verify ARTIFACT)"
    )
    render.result(
        f"{done.device}: edgeseg {done.edgeseg} on Python {done.python} with {', '.join(done.engines)}; {proof}."
    )
    return 0


def _run(options: argparse.Namespace) -> int:
    from edgeseg.cli.options import UsageError
    from edgeseg.verbs.device import run_command

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise UsageError("device run needs a verb, such as: edgeseg device run NAME doctor")
    return run_command(options.name, command)


def _remove(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.device import remove_device

    remove_device(options.name, purge=options.purge)
    if options.json:
        render.result_json({"schema": 1, "removed": options.name, "purged": options.purge})
    else:
        render.result(f"{options.name}: removed{', and deleted from it' if options.purge else ''}.")
    return 0
