"""Which libraries are installed, checked without importing them, and the extra that installs the missing ones."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from edgeseg.errors import MissingDependency

if TYPE_CHECKING:
    from collections.abc import Iterable


def missing_modules(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the top-level `modules` that are not installed.

    >>> missing_modules(["json", "no_such_module"])
    ('no_such_module',)
    """
    return tuple(module for module in modules if importlib.util.find_spec(module) is None)


def require_modules(modules: Iterable[str], *, what: str, extra: str) -> None:
    """Raise `MissingDependency` naming the libraries that `what` lacks and the extra that installs them."""
    missing = missing_modules(modules)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingDependency(f'{what}: {", ".join(missing)} {verb} not installed: pip install "edgeseg[{extra}]".')


def installed_versions(*distributions: str) -> dict[str, str]:
    """Return the versions of the installed `distributions`; missing ones are skipped."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
