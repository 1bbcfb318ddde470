"""Nets by `package.module:factory`: any callable that returns an `nn.Module`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import suggestion
from edgeseg.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from edgeseg.core.spec import Argument

PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
CLASS_COUNTS = ("classes", "num_classes", "n_classes", "num_labels")
"""Names of the number of classes in factories; the first that a factory has is passed."""
_trusted: set[str] = set()


def is_factory(text: str) -> bool:
    """Return whether a text has the form `package.module:factory`."""
    return PATTERN.fullmatch(text) is not None


def trust(text: str) -> None:
    """Allow this process to call a factory that the user named, without an annotation."""
    _trusted.add(text)


def find_factory(text: str) -> Callable[..., object]:
    """Return the callable that `package.module:factory` names.

    A checkpoint may come from anybody, and it names its own factory. So only installed modules are searched, and the
    factory must be a subclass of `nn.Module` or a function annotated to return one. If the user named the factory in
    this process (`trust`), the working directory is searched too, and any callable is accepted.

    Raises:
        InputError: no such module, a failing import, or no callable of that name.
        UnsupportedError: a checkpoint's factory without a return annotation.
    """
    module_name, _, path = text.partition(":")
    module = _import(module_name, text)
    found: object = module
    for name in path.split("."):
        near = suggestion(name, dir(found))
        found = getattr(found, name, None)
        if found is None:
            raise InputError(f'{text}: the module {module_name} has no "{name}".{near}')
    if not callable(found):
        raise InputError(f"{text}: is a {type(found).__name__}; name a class or function that returns an nn.Module.")
    if text not in _trusted and not _returns_net(found):
        raise UnsupportedError(
            f"{text}: this checkpoint names a factory without a return annotation, so it is not called. "
            "Annotate the function with -> nn.Module."
        )
    return found


def call_factory(
    text: str,
    *,
    classes: int,
    size: tuple[int, int],
    aux: bool = False,
    arguments: Mapping[str, Argument] | None = None,
) -> nn.Module:
    """Return the net that a factory builds from `arguments`, and classes, size and aux if it takes them.

    Raises:
        InputError: arguments that the factory does not have, a factory that fails, or one that does not return a
            module.
        Others as `find_factory`.
    """
    from torch import nn

    factory, given = find_factory(text), dict(arguments or {})
    names = parameters_of(factory)
    known = {"size": size, "aux": aux, **dict.fromkeys(CLASS_COUNTS, classes)}
    count = next((name for name in CLASS_COUNTS if name in names), None)
    passed = {name: known[name] for name in (count, "size", "aux") if name in names and name is not None} | given
    unknown = [name for name in given if name not in names and names]
    if unknown and not _takes_any(factory):
        raise InputError(
            f'{text}: has no argument "{unknown[0]}".{suggestion(unknown[0], names)} It takes: {", ".join(names)}.'
        )
    try:
        with _search_path(text):
            net = factory(**passed)
    except Exception as error:  # foreign code may fail in any way
        shown = ", ".join(f"{name}={value!r}" for name, value in passed.items())
        raise InputError(f"{text}({shown}): failed with {_one_line(error)}") from error
    if not isinstance(net, nn.Module):
        raise InputError(f"{text}: returned a {type(net).__name__}; a factory must return an nn.Module.")
    return net


def parameters_of(factory: Callable[..., object]) -> tuple[str, ...]:
    """Return the keyword arguments of a factory; empty if they cannot be determined."""
    try:
        found = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return ()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(item.name for item in found if item.kind in by_name)


def class_count_default(text: str) -> int | None:
    """Return a factory's default number of classes, or None."""
    try:
        found = inspect.signature(find_factory(text)).parameters
    except (TypeError, ValueError):
        return None
    name = next((name for name in CLASS_COUNTS if name in found), None)
    default = None if name is None else found[name].default
    return default if isinstance(default, int) and not isinstance(default, bool) else None


def depends_on_size(text: str) -> bool:
    """Return whether a factory takes the input size, so that a net for another size is rebuilt."""
    return "size" in parameters_of(find_factory(text))


def module_folder(text: str) -> Path | None:
    """Return the folder of a factory's module, None if it has no file; raises as `find_factory`."""
    module_name = text.partition(":")[0]
    file = getattr(_import(module_name, text), "__file__", None)
    return None if file is None else Path(file).parent


def _import(module_name: str, text: str) -> object:
    try:
        with _search_path(text):
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise InputError(
                f"{text}: there is no module {missing}.{_bundled_like(text)} {_where_to_look(missing, text)}"
            ) from error
        raise InputError(f"{text}: the module {module_name} needs {missing}, which is not installed.") from error
    except Exception as error:  # foreign code may fail in any way
        raise InputError(f"{text}: importing {module_name} failed with {_one_line(error)}") from error


def path_prefix(text: str) -> str:
    """Return "PYTHONPATH=. " if a later command needs it to find a checkpoint's factory, else ""."""
    if not is_factory(text):
        return ""
    folder, here = module_folder(text), Path.cwd()
    on_path = any(Path(place).resolve() == here for place in sys.path if place)
    inside = folder is not None and folder.resolve().is_relative_to(here)
    return "PYTHONPATH=. " if inside and not on_path else ""


def _bundled_like(text: str) -> str:
    """Return the bundled checkpoint whose name may be meant: fast_scn:camvid looks like a factory too."""
    from edgeseg.models.resolve import bundled

    return suggestion(text, bundled())


def _where_to_look(missing: str, text: str) -> str:
    top = missing.partition(".")[0]
    is_here = Path(f"{top}.py").is_file() or Path(top).is_dir()
    if text in _trusted or not is_here:
        return "Install it, or add its folder to PYTHONPATH."
    return (
        "It is in this folder, but a checkpoint may come from anyone, so the code that it names is only looked for "
        "among installed modules and on PYTHONPATH. If you trust it: export PYTHONPATH=."
    )


@contextmanager
def _search_path(text: str) -> Iterator[None]:
    """Let a trusted factory's imports find modules in the working directory, after everything that is installed."""
    here = str(Path.cwd())
    added = text in _trusted and here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _takes_any(factory: Callable[..., object]) -> bool:
    kinds = [item.kind for item in inspect.signature(factory).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def _returns_net(factory: object) -> bool:
    from torch import nn

    kind: object = factory
    if not isinstance(factory, type):
        try:
            kind = typing.get_type_hints(factory).get("return")
        except Exception:  # noqa: BLE001 - annotations are foreign code too
            return False
    return isinstance(kind, type) and issubclass(kind, nn.Module)


def _one_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
