"""`--device NAME` of bench, validate, verify and run: the same command, forwarded to known devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edgeseg.devices.remote_verbs import Outcome, Word

_HERE = ("--device", "--out", "--json", "--quiet", "-q", "--verbose", "-v")
"""Options that concern this desk alone."""
_OUTPUTS = ("--save", "--save-labels", "--save-areas")
_FOLDERS = {"--monitor": "artifact", "--data": "data"}
_ONLY_HERE = ("--window", "--weights", "--spec", "--token-file", "--tls-cert", "--tls-key")


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        metavar="NAME",
        action="append",
        default=[],
        help="run on this device of edgeseg device list; may be given several times, for several devices at once",
    )


def add_device_name(parser: argparse.ArgumentParser) -> None:
    """Add --device-name, for the verbs whose results name the machine they were made on."""
    from edgeseg.cli.options import title

    parser.add_argument(
        "--device-name",
        metavar="TEXT",
        type=title,
        help="what to call this machine in the results (default: its model or host name)",
    )


def remote_names(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the known devices that --device names, each once.

    Raises:
        UnknownName, InputError: a name that is not known.
        UsageError: --device-name beside it.
    """
    from edgeseg.cli.options import UsageError
    from edgeseg.devices.known import find_device

    names = tuple(dict.fromkeys(options.device))
    if names and getattr(options, "device_name", None):
        raise UsageError("--device-name is for this machine; the devices of --device are named by edgeseg device add.")
    for name in names:
        find_device(name)
    return names


def forwarded(options: argparse.Namespace) -> list[Word]:
    """Return the command's arguments for a device: folders of this desk to send, outputs to bring back.

    Raises:
        UsageError: an option that works on this desk alone.
        InputError: an output that exists here, without --force.
    """
    from edgeseg.cli.options import UsageError
    from edgeseg.devices.remote_verbs import Pushed

    actions = options.parser._option_string_actions  # noqa: SLF001 - argparse has no public list of options
    tokens: list[str] = list(options.arguments)
    words: list[Word] = []
    while tokens:
        token = tokens.pop(0)
        name, equals, value = token.partition("=")
        action = actions.get(name) if token.startswith("-") else None
        if action is None:
            if token != "--":
                words.append(Pushed(path=Path(token), kind="artifact"))
            continue
        if name in _ONLY_HERE:
            raise UsageError(f"{name} works on this machine alone, not with --device.")
        values = [value] if equals else _values(action, tokens)
        if name not in _HERE:
            words += [name, *(_word(name, item, force=getattr(options, "force", False)) for item in values)]
    return words


def show_line(device: str, text: str) -> None:
    """Print a line about what happens on a device, on stderr."""
    from edgeseg.cli import render

    render.say(f"{device}: {text}")


def outcome_table(outcome: Outcome) -> dict[str, object]:
    """Return an outcome as the JSON object of its device."""
    return {"device": outcome.device, "status": outcome.status, "error": outcome.error, "result": outcome.table}


def run_and_show(options: argparse.Namespace, names: Sequence[str], *, extra: Sequence[str] = ()) -> int:
    """Run the verb on devices, print the JSON that each gave, and raise the errors of those that failed."""
    from edgeseg.cli import render
    from edgeseg.cli.options import UsageError
    from edgeseg.devices.remote_verbs import Returned
    from edgeseg.verbs.device import raise_failures, run_verb_on

    words = forwarded(options)
    if len(names) > 1 and (output := next((word for word in words if isinstance(word, Returned)), None)):
        raise UsageError(
            f"{output.path} is one place for the outputs of {len(names)} devices. Give one --device at a time."
        )
    outcomes = run_verb_on(names, options.verb, [*words, *extra], tell=show_line)
    render.result_json({"schema": 1, "devices": [outcome_table(item) for item in outcomes]})
    raise_failures(outcomes)
    return 0


def _values(action: argparse.Action, tokens: list[str]) -> list[str]:
    """Take an option's values off the front of `tokens`."""
    if action.nargs == 0:
        return []
    if action.nargs == "?" and (not tokens or tokens[0].startswith("-")):
        return []
    return [tokens.pop(0)] if tokens else []


def _word(option: str, value: str, *, force: bool) -> Word:
    from edgeseg.devices.remote_verbs import Pushed, Returned
    from edgeseg.errors import InputError

    if option in _OUTPUTS and value != "-":
        if Path(value).exists() and not force:
            raise InputError(f"{value}: exists already. Choose another name, or give --force.")
        return Returned(path=Path(value))
    kind = _FOLDERS.get(option)
    if kind == "artifact":
        return Pushed(path=Path(value), kind="artifact")
    if kind == "data" and Path(value).is_dir():
        return Pushed(path=Path(value), kind="data")
    return value
