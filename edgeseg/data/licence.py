"""The licence of a data set, as an SPDX identifier, from its LICENSE file; never a guess."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeseg.core.files import sha256_of_bytes

if TYPE_CHECKING:
    from pathlib import Path

_FILES = ("LICENSE.txt", "LICENSE", "LICENSE.md")
UNKNOWN = "unknown"
IDENTIFIERS = (
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "GPL-2.0-only", "GPL-3.0-only", "LGPL-3.0-only",
    "MPL-2.0", "CC0-1.0", "PDDL-1.0", "ODbL-1.0", "ODC-By-1.0",
    *(f"CC-BY{terms}-{version}" for terms in ("", "-SA", "-NC", "-ND", "-NC-SA", "-NC-ND") for version in (
        "1.0", "2.0", "2.5", "3.0", "4.0",
    )),
)  # fmt: skip
"""Licence names, as they appear on a line of their own or in an SPDX tag."""

WHOLE_TEXTS = {
    "c40f2e9c481f3e6b50c360a91fc136bcb39e0a16a90e4f7307c5804ce9dac002": "Apache-2.0",
    "83c751dfe33b6bcf56055b71330745f1103cac80bc38605cb26988b890503f77": "Apache-2.0",  # with its appendix
    "0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c": "MIT",
    "a56fee4b2f66331ed54da4950ef9c9391453fd1490b4d8ea202bc29683bcbd30": "BSD-2-Clause",
    "9b83d3dee0616d07b82a272dd9bf5134a9f402b750f5ee6188458073b0a32ff2": "BSD-3-Clause",
    "6282a4545628e243ce0a8f4ab5ce4ed91ad0181c8c1402e1734a0dcdacc69aa9": "ISC",
    "3b1d500cfe1bef623c13cba1d84149c68d5ea414b79d77eea0222106c6aeec7b": "MPL-2.0",
    "96bdc7f63190fb4bd1ae584b890300ed7517d858b34c945642a3b9b2f1612a5f": "CC0-1.0",
    "def99b23ba8930a02c111ffb99c0c4f55f9fd9bb38ad3ffe9df58fde3aac4247": "CC-BY-SA-4.0",
}
"""SHA-256 of normalised licence texts. GPL is absent: its text does not say whether "only" or "or-later" applies."""

_TAG = re.compile(r"SPDX-License-Identifier:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_DEED = re.compile(r"creativecommons\.org/(licenses/(by(?:-nc|-sa|-nd)*)/(\d\.\d)|publicdomain/zero/1\.0)")
_RESERVED = re.compile(r"all rights reserved|proprietary|confidential|internal use only", re.IGNORECASE)
_TITLE = re.compile(r"copyright\b|\(c\)|©|all rights reserved\.?$|(the )?[\w -]+ licen[cs]e( \(\w+\))?$", re.IGNORECASE)
_NAMES = {re.sub(r"[^a-z0-9.]+", "", name.lower()): name for name in IDENTIFIERS} | {"cc0": "CC0-1.0"}
_STATEMENT = re.compile(
    r"(?:(?:these |the )?(?:images|data)|this data ?set|licen[cs]ed under|licen[cs]e|creative commons)\s*:?\s+",
    re.IGNORECASE,
)


def read_licence(root: Path) -> str:
    """Return the SPDX identifier of the licence in a folder, "unknown", or "unknown: see FILE".

    It is recognised by an SPDX tag, a line with just its name, the URL of a Creative Commons deed, or its full text.
    Texts that contradict it or name two licences count as unknown.
    """
    path = next((root / name for name in _FILES if (root / name).is_file()), None)
    if path is None:
        return UNKNOWN
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return identify(text) or f"{UNKNOWN}: see {path.name}"


def identify(text: str) -> str | None:
    """Return the SPDX identifier of a licence file's text; None if it is not certain."""
    whole = WHOLE_TEXTS.get(sha256_of_bytes(normalised(text).encode()))
    if whole is not None:
        return whole
    found = {_name_of(tag) for tag in _TAG.findall(text)}
    if not found:
        found = {name for name in map(_name_of, map(_statement, text.splitlines())) if name is not None}
        found |= {_deed(match) for match in _DEED.finditer(text)}
    if len(found) != 1 or _RESERVED.search(text):
        return None
    return found.pop()


def normalised(text: str) -> str:
    """Return a licence's text in lower case, without titles, copyright lines, line breaks and punctuation."""
    lines = [line.strip() for line in text.splitlines()]
    kept = " ".join(line for line in lines if not _TITLE.match(line))
    return re.sub(r"[^a-z0-9]+", " ", kept.lower()).strip()


def _statement(line: str) -> str:
    return _STATEMENT.sub("", line.strip(), count=1).strip(" .\"'*#")


def _name_of(text: str) -> str | None:
    return _NAMES.get(re.sub(r"[^a-z0-9.]+", "", text.lower()))


def _deed(match: re.Match[str]) -> str:
    return f"CC-{match[2].upper()}-{match[3]}" if match[2] else "CC0-1.0"
