"""A toolchain as data: `Toolchain`, from NAME.toml, with the lock file NAME.lock beside it."""

from __future__ import annotations

import platform
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeseg.core.files import read_toml, sha256_of
from edgeseg.core.records import bounds
from edgeseg.core.requirements import require_modules
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError, RecipeError, UnsupportedError
from edgeseg.toolchains.left_out import find_left_out, left_out_names

_SCHEMA = 1
_PINNED = re.compile(r"(?P<name>(?:@[a-z0-9._-]+/)?[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")
_SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})(?![0-9a-f])")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The keys of the TOML file."""

    schema: int
    name: str
    title: str
    purpose: str
    version: str
    licence: str
    licence_url: str
    terms: str
    download_mb: int = field(metadata=bounds(low=0))
    installed_mb: int = field(metadata=bounds(low=0))
    source: Literal["pypi", "npm"] = "pypi"
    python: tuple[str, str] | None = None
    files: tuple[str, ...] = ()
    systems: tuple[str, ...] = ("Linux",)
    machines: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    borrows: tuple[str, ...] = ()
    extra: str = ""

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema {self.schema} is not known to this version; it reads schema {_SCHEMA}.")
        if self.source == "pypi" and self.python is None:
            raise ValueError(
                'python is missing: the first and the last version that the tool runs on, ["3.10", "3.13"].'
            )
        if self.source == "npm" and not self.files:
            raise ValueError("files is missing: the files of the npm packages to install, as PACKAGE/FILE.")
        for text in self.python or ():
            if not re.fullmatch(r"3\.\d+", text):
                raise ValueError(f'python: "{text}" is not a version such as 3.11.')
        if bool(self.borrows) != bool(self.extra):
            raise ValueError(
                "borrows and extra belong together: modules of edgeseg's own environment, and their extra."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A vendor's tool, and how to install it.

    `purpose` says what it does in one line. `licence` is an SPDX identifier or a name, `terms` what it means for a
    user in one or two sentences. `source` is the registry: "pypi" makes a Python environment, "npm" a folder of
    JavaScript packages, of which `files` (PACKAGE/FILE) are installed. `pythons` are the versions it runs on, `systems`
    and `machines` the values of `platform.system()` and `platform.machine()` (empty: any). `imports` must import after
    the installation, and `programs` must be on the PATH (Java, for one). `pinned` are the packages of the lock file
    with their versions, `digests` the SHA-256 that it allows for each. `borrows` are modules that it takes from
    edgeseg's own environment, where the extra `extra` installs them: both then run on the same Python.
    """

    name: str
    title: str
    purpose: str
    version: str
    licence: str
    licence_url: str
    terms: str
    download_mb: int
    installed_mb: int
    source: Literal["pypi", "npm"]
    files: tuple[str, ...]
    pythons: tuple[str, ...]
    systems: tuple[str, ...]
    machines: tuple[str, ...]
    imports: tuple[str, ...]
    programs: tuple[str, ...]
    borrows: tuple[str, ...]
    extra: str
    lock: Path
    lock_sha256: str
    pinned: dict[str, str]
    digests: dict[str, tuple[str, ...]]

    @property
    def install_command(self) -> str:
        """The command that installs it."""
        place = self.lock.with_suffix(".toml")
        return f"edgeseg toolchain install {self.name if place.parent == _HERE else place}"

    def check_machine(self) -> None:
        """Check that it can run here.

        Raises:
            UnsupportedError: it does not run on this kind of machine, or a program is missing.
            MissingDependency: edgeseg's own environment lacks a module that it borrows.
        """
        here, machine = platform.system(), platform.machine()
        if here not in self.systems or (self.machines and machine not in self.machines):
            able = f"{' or '.join(self.systems)} {' or '.join(self.machines)}".rstrip()
            raise UnsupportedError(f"{self.title} runs on {able} only; this is {here} {machine}.")
        for program in self.programs:
            if shutil.which(program) is None:
                raise UnsupportedError(f"{self.title} needs the program {program}, which is not on the PATH.")
        if self.borrows:
            require_modules(self.borrows, what=self.title, extra=self.extra)


def find_toolchain(text: str) -> Toolchain:
    """Return the toolchain of a name, or the one in a file of your own if `text` ends in .toml.

    Raises:
        UnknownName: no such toolchain; names the nearest one.
        UnsupportedError: a tool that edgeseg leaves out, with the reason and what to do.
        InputError, RecipeError: the description or its lock file is missing or does not follow the schema.
    """
    if text.endswith(".toml"):
        return _read(Path(text).expanduser())
    known = [path.stem for path in sorted(_HERE.glob("*.toml"))]
    if text in left_out_names():
        raise UnsupportedError(find_left_out(text).line)
    if text not in known:
        raise unknown("toolchain", text, (*known, *left_out_names()))
    return _read(_HERE / f"{text}.toml")


def load_toolchains() -> tuple[Toolchain, ...]:
    """Return edgeseg's own toolchains, sorted by name."""
    return tuple(_read(path) for path in sorted(_HERE.glob("*.toml")))


def _read(path: Path) -> Toolchain:
    table = read_toml(_Table, path)
    if table.name != path.stem or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", table.name):
        raise RecipeError(f'{path}: name = "{table.name}" must equal the file\'s name, in a-z, 0-9 and hyphens.')
    lock = path.with_suffix(".lock")
    requirements = _requirements(lock)
    return Toolchain(
        name=table.name,
        title=table.title,
        purpose=table.purpose,
        version=table.version,
        licence=table.licence,
        licence_url=table.licence_url,
        terms=table.terms,
        download_mb=table.download_mb,
        installed_mb=table.installed_mb,
        source=table.source,
        files=table.files,
        pythons=_versions(*table.python) if table.python else (),
        systems=table.systems,
        machines=table.machines,
        imports=table.imports,
        programs=table.programs,
        borrows=table.borrows,
        extra=table.extra,
        lock=lock,
        pinned={name: version for name, (version, _) in requirements.items()},
        digests={name: digests for name, (_, digests) in requirements.items()},
        lock_sha256=sha256_of(lock),
    )


def _versions(first: str, last: str) -> tuple[str, ...]:
    low, high = int(first.split(".")[1]), int(last.split(".")[1])
    return tuple(f"3.{minor}" for minor in range(low, high + 1))


def _requirements(lock: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the version and the hashes of each package of a lock file."""
    try:
        text = lock.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{lock}: the lock file beside the description cannot be read: {error.strerror}.") from None
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for requirement in re.split(r"(?<!\\)\n", text):
        line = requirement.strip()
        if not line or line.startswith("#"):
            continue
        pin, digests = _PINNED.match(line), tuple(_SHA256.findall(line))
        if pin is None or not digests:
            raise RecipeError(f'{lock}: "{line.splitlines()[0][:60]}" is not NAME==VERSION with --hash=sha256:...')
        found[pin["name"]] = (pin["version"], digests)
    if not found:
        raise RecipeError(f"{lock}: names no package.")
    return found
