"""Options that several verbs share, and their argparse types: malformed values end with status 2."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.backend import MAX_THREADS
from edgeseg.errors import InputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeseg.runtime.web import WebAddress


class UsageError(InputError):
    """An option whose text cannot be read; exit status 2, as for every malformed command."""

    exit_status = 2


@contextlib.contextmanager
def as_usage() -> Iterator[None]:
    """Raise what is wrong with an option's own text, an `InputError`, as `UsageError`."""
    try:
        yield
    except InputError as error:
        raise UsageError(str(error)) from None


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) from `HxW`, for argparse."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text) if text.isascii() else None
    if not match or not all(int(side) for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{_quoted(text)} is not HEIGHTxWIDTH in pixels, such as 384x480")
    return int(match[1]), int(match[2])


def size_of(text: str | tuple[int, int] | None, *, option: str = "--size") -> tuple[int, int] | None:
    """Return (height, width) from `HxW`, or None; raises `UsageError` for anything else."""
    if text is None or isinstance(text, tuple):
        return text
    try:
        return parse_size(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{option}: {error}.") from None


def page_address(options: argparse.Namespace) -> WebAddress:
    """Return what --web, --token-file, --tls-cert and --tls-key say; raises `UsageError` for a malformed --web."""
    from edgeseg.runtime.web import web_address

    with as_usage():
        address = web_address(options.web)
    return replace(address, token_file=options.token_file, certificate=options.tls_cert, key=options.tls_key)


def title(text: str) -> str:
    """Return a name without spaces around it, for argparse."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return text.strip()


def positive(text: str) -> int:
    """Return a whole number of at least 1, for argparse."""
    return _whole(text, low=1)


def whole(text: str) -> int:
    """Return a whole number of at least 0, for argparse."""
    return _whole(text, low=0)


def threads(text: str) -> int:
    """Return a number of threads, for argparse."""
    count = _whole(text, low=1)
    if count > MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{count} threads are too many; give 1 to {MAX_THREADS}")
    return count


def fraction(text: str) -> float:
    """Return a number from 0 to 1, for argparse."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{_quoted(text)} is not a number from 0 to 1")
    return value


def share(text: str) -> float:
    """Return a number of percent, 0 to 100, for argparse."""
    value = number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{_quoted(text)} is not a number of percent, 0 to 100")
    return value


def duration(text: str) -> float:
    """Return seconds from "90s", "30m" or "1h", for argparse."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh])", text) if text.isascii() else None
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not seconds:
        raise argparse.ArgumentTypeError(f"{_quoted(text)} is not a time such as 90s, 30m or 1h")
    return seconds


def number(text: str) -> float:
    """Return a finite number, for argparse, which `float` alone does not promise: it reads "nan" and "inf"."""
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{_quoted(text)} is not a number")
    return value


def add_model(parser: argparse.ArgumentParser, *, name: str = "model", default: str = "fast_scnn:streets-half") -> None:
    """Add MODEL with --weights and --spec, for nets that edgeseg did not make."""
    parser.add_argument(
        name,
        metavar="MODEL",
        nargs="?",
        help=f"a name of edgeseg models, a checkpoint, package.module:factory, or a float .onnx (default: {default})",
    )
    add_weights(parser)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add --weights and --spec, which belong to a net named as package.module:factory."""
    parser.add_argument(
        "--weights", metavar="FILE", type=Path, help="state dict (.pth or .safetensors) of package.module:factory"
    )
    parser.add_argument(
        "--spec",
        metavar="FILE",
        type=Path,
        help="spec.toml: classes, input size and preprocessing of package.module:factory (default: the one beside the "
        "weights or the module)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --threads."""
    parser.add_argument(
        "--engine", metavar="E", help="litert, onnxruntime, openvino, ... (default: the artifact's own)"
    )
    parser.add_argument(
        "--threads", metavar="N", type=threads, help=f"engine threads (default: {min(4, os.cpu_count() or 1)} here)"
    )


def add_delegation(parser: argparse.ArgumentParser) -> None:
    """Add --require-delegation."""
    parser.add_argument(
        "--require-delegation",
        metavar="PERCENT",
        type=share,
        help="fail (status 3) if fewer ops than this, in percent, run on the accelerator",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trusted and --untrusted, for verbs that run an artifact."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--trusted",
        action="store_true",
        help="open the artifact directly, now and later; by default one that was not made here first runs in a process "
        "of its own, within limits, once",
    )
    choice.add_argument(
        "--untrusted", action="store_true", help="verify the artifact in a process of its own, even if it is known here"
    )


def check_origin(artifacts: Iterable[Path], *, options: argparse.Namespace) -> None:
    """Verify artifacts of unknown origin where --untrusted asks for it, or remember them where --trusted does.

    Raises:
        ArtifactError, GateError: an artifact that is damaged, or whose model crashes, hangs or swallows memory.
    """
    if options.untrusted:
        from edgeseg.runtime import verify

        for artifact in artifacts:
            verify(artifact, engine=options.engine)
    if options.trusted:
        from edgeseg.core.artifact import open_artifact
        from edgeseg.core.trust import remember

        for artifact in artifacts:
            remember(open_artifact(artifact), how="vouched")


def _whole(text: str, *, low: int) -> int:
    # More than 18 digits is not a sensible count, and Python refuses to parse thousands of them.
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < low:
        raise argparse.ArgumentTypeError(f"{_quoted(text)} is not a whole number of at least {low}")
    return int(text)


def _quoted(text: str) -> str:
    shown = printable(text)
    return f'"{shown}"' if len(shown) <= 60 else f'"{shown[:57]}..."'
