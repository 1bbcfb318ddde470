"""`edgeseg VERB ...`: finds the verb, runs it, and turns errors into one line and an exit status.

0 done, 1 an EdgesegError, 2 usage, 3 a proof or gate that failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from edgeseg import __version__
from edgeseg.cli.missing import missing_library, out_of_memory_message
from edgeseg.core.interrupt import ending_in_time, signals_as_interrupt
from edgeseg.core.suggestions import suggestion
from edgeseg.errors import EdgesegError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = (
    "demo",
    "new",
    "spec",
    "convert",
    "adopt",
    "check",
    "compile",
    "verify",
    "validate",
    "run",
    "predict",
    "bench",
    "serve",
    "compare",
    "flicker",
    "train",
    "compress",
    "calibrate",
    "inspect",
    "data",
    "debug-quant",
    "bisect",
    "models",
    "targets",
    "toolchain",
    "device",
    "cameras",
    "doctor",
    "completion",
)

EPILOG = """\
examples:
  edgeseg demo                           the full pipeline, once
  edgeseg convert --target tflite        the bundled model in int8
  edgeseg run ARTIFACT --source 0        the camera, with an overlay
  edgeseg VERB --help                    what a verb takes
"""


class Parser(argparse.ArgumentParser):
    """argparse, with the nearest verb or option named when one is misspelt."""

    def error(self, message: str) -> NoReturn:
        """Print the message with a suggestion and leave with status 2."""
        hint = self._hint(message)
        if hint and "invalid choice" in message:
            message = message.partition(" (choose from")[0] + "."
        self.print_usage(sys.stderr)
        self.exit(2, f"edgeseg: {printable(message)}{hint}\n")

    def _hint(self, message: str) -> str:
        options = [option for action in self._actions for option in action.option_strings]
        for word in message.split():
            bare = word.strip("'\",:")
            if message.startswith("unrecognized") and bare.startswith("--"):
                return suggestion(bare.split("=")[0], options)
            if "invalid choice" in message and f"'{bare}'" in message:
                return suggestion(bare, [str(c) for action in self._actions for c in action.choices or ()])
        return ""


class _OneLine(logging.Formatter):
    """Log records with control characters escaped: they contain names from users' files."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return printable(super().format(record), keep="\n\t")


def parser() -> argparse.ArgumentParser:
    """Return the whole command line's parser; imports nothing heavy."""
    top = Parser(
        prog="edgeseg",
        description="Semantic segmentation from a PyTorch checkpoint to every edge device, with proof.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"edgeseg {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for name in VERBS:
        module = import_module(f"edgeseg.cli.{name.replace('-', '_')}")
        # A percent sign in a help text would be a format to argparse.
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        module.configure(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
        loudness = verb.add_mutually_exclusive_group()
        loudness.add_argument("-v", "--verbose", action="store_true", help="show the log on stderr")
        loudness.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes on stderr")
        verb.set_defaults(run=module.run, parser=verb)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    _open_standard_streams()
    try:
        return _run(arguments)
    except EdgesegError as error:
        _complain(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        _complain("interrupted.")
        return 130
    except BrokenPipeError:
        _close_stdout()
        return 1
    except OSError as error:
        # A full or failing disk shows wherever something is written, stdout included.
        _close_stdout()
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"{place}{error.strerror or error}.")
        return 1
    except Exception as error:
        # A missing library or too little memory needs no traceback; anything else is a bug and does.
        line = out_of_memory_message(error) or missing_library(error)
        if line is None:
            raise
        _complain(line)
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    top = parser()
    options, unknown = top.parse_known_args(arguments)
    if options.verb is None:
        if unknown:
            top.error(f"unrecognized arguments: {' '.join(unknown)}")
        top.print_help()
        sys.stdout.flush()
        return 0
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options.arguments = given[given.index(options.verb) + 1 :]
    _start_log(verbose=options.verbose)
    if options.quiet:
        from edgeseg.cli import render

        render.be_quiet()
    with ending_in_time(), signals_as_interrupt():
        status = options.run(options)
    sys.stdout.flush()
    return status or 0


def _start_log(*, verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler])


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"edgeseg: {printable(text, keep=chr(10))}", file=sys.stderr)


def _open_standard_streams() -> None:
    """Open the null device for a standard stream that was closed (`>&-`).

    Otherwise the next file that is opened gets its number, and what a library prints would be written into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _close_stdout() -> None:
    # The reader closed stdout (`edgeseg models | head -1`) or the disk is full: nothing may be flushed at exit.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
