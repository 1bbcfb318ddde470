"""The installed stages, edgeseg's and other packages', from the entry-point group `edgeseg.stages`."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass

from edgeseg.compress.pipeline.stage import Stage
from edgeseg.core import registry
from edgeseg.errors import MissingDependency, RecipeError, UnknownName

_GROUP = "stages"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledStage:
    """A stage's name and one-line description, or the reason why it cannot be used."""

    name: str
    does: str
    fault: str = ""


def stage_class(name: str, *, where: str = "kind") -> type[Stage]:
    """Return the stage registered as `name`; `where` is the place in the recipe, for error messages.

    Raises:
        RecipeError: no such stage (names the nearest one), or a broken plug-in (gives the reason).
    """
    try:
        found = registry.load_plugin(_GROUP, name)
    except (UnknownName, MissingDependency) as error:
        raise RecipeError(f"{where}: {error}") from error
    fault = _fault(found, name)
    if fault:
        raise RecipeError(f'{where}: stage "{name}" cannot be used: {fault}')
    assert isinstance(found, type)
    return found


def installed_stages() -> tuple[InstalledStage, ...]:
    """Return all registered stages, sorted by name; `fault` says why a stage is broken."""
    listed = []
    for plugin in registry.load_all(_GROUP):
        fault = plugin.fault or _fault(plugin.value, plugin.name)
        does = "" if fault else str(getattr(plugin.value, "does", ""))
        listed.append(InstalledStage(name=plugin.name, does=does, fault=fault))
    return tuple(listed)


def _fault(found: object, name: str) -> str:
    """Return why an entry point's object is not a stage, or an empty string."""
    if not (isinstance(found, type) and issubclass(found, Stage)):
        return "its entry point is not a subclass of edgeseg.compress.pipeline.stage.Stage."
    own = getattr(found, "name", "")
    if own != name:
        return f'its class has the name "{own}"; entry point and class need the same name.'
    try:
        settings = found.settings_type()
    except Exception as error:  # noqa: BLE001 - another package's annotations may fail in any way
        return f"its settings cannot be read: {type(error).__name__}: {error}"
    return "" if is_dataclass(settings) else "its settings are not annotated with a dataclass."
