"""Weights from the Hugging Face hub: one pinned file, checked against its SHA-256 before anything reads it."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeseg.core.files import sha256_of
from edgeseg.errors import CheckpointError, InputError, MissingDependency

_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[^/#]+)/(?P<file>[^#]+)(#sha256=(?P<sha256>\w+))?")
ADDRESS_FORM = "hf://OWNER/REPOSITORY@COMMIT/FILE#sha256=HASH"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of one commit of a repository on the hub, and its expected hash."""

    repo: str
    revision: str
    file: str
    sha256: str


def hub_file(address: str) -> HubFile:
    """Return the parts of an address of the form `hf://OWNER/REPOSITORY@COMMIT/FILE#sha256=HASH`.

    Raises:
        InputError: another form, a branch or tag in place of a commit, or no hash.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InputError(f"{address}: is not an address of weights. Write {ADDRESS_FORM}.")
    if not re.fullmatch(r"[0-9a-f]{40}", match["revision"]):
        raise InputError(
            f'{address}: "{match["revision"]}" can change. Name the commit, 40 hexadecimal digits; the hub lists them '
            "under History."
        )
    if not re.fullmatch(r"[0-9a-fA-F]{64}", match["sha256"] or ""):
        raise InputError(
            f"{address}: has no SHA-256, so a changed file would not be noticed. Add #sha256= and the 64 digits that "
            "the hub shows on the file's page."
        )
    return HubFile(repo=match["repo"], revision=match["revision"], file=match["file"], sha256=match["sha256"].lower())


def fetch_weights(address: str, out: str | Path | None = None) -> Path:
    """Download the file that an address names to `out` (default: its own name, here) and return that path.

    An existing file with this hash is not downloaded again; any other is not replaced.

    Raises:
        InputError: an address that does not pin its content, or another file at `out`.
        MissingDependency: huggingface_hub is not installed.
        CheckpointError: the hub cannot be reached, has no such file, or has one with another hash.
    """
    wanted = hub_file(address)
    path = Path(out or Path(wanted.file).name).expanduser()
    if path.exists():
        if path.is_file() and sha256_of(path) == wanted.sha256:
            return path
        raise InputError(f"{path}: exists and is another file. Move it, or choose another path with -o.")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingDependency('huggingface_hub is not installed: pip install "edgeseg[hub]".') from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
        try:
            made = hf_hub_download(wanted.repo, wanted.file, revision=wanted.revision, local_dir=folder)
        except Exception as error:  # the hub's client and its network library raise many kinds
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise CheckpointError(
                f"{wanted.repo}: {wanted.file} could not be downloaded ({lines[0]}). Check network and address, or "
                "copy the file here and use edgeseg models import."
            ) from error
        found = sha256_of(Path(made))
        if found != wanted.sha256:
            raise CheckpointError(
                f"{address}: the file's SHA-256 is {found}. It is not the expected file, and was deleted."
            )
        shutil.move(made, path)
    return path
