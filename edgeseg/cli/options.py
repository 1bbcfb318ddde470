"""Options that several verbs share, and how their texts are read."""

from __future__ import annotations

import argparse
import os
import re

from edgeseg.errors import InputError


def size_of(text: str | None, *, option: str = "--size") -> tuple[int, int] | None:
    """Return (height, width) from `HxW`, or None; raises `InputError` for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if not match or not all(int(side) for side in match.groups()):
        raise InputError(f'{option} "{text}" is not HEIGHTxWIDTH in pixels. Write for example {option} 384x480.')
    return int(match[1]), int(match[2])


def positive(text: str) -> int:
    """Return a whole number of at least 1, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number of at least 1')
    return int(text)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --threads."""
    parser.add_argument(
        "--engine", metavar="E", help="litert, onnxruntime, openvino, ... (default: the artifact's own)"
    )
    parser.add_argument(
        "--threads", metavar="N", type=positive, help=f"engine threads (default: {min(4, os.cpu_count() or 1)} here)"
    )
