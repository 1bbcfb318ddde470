"""Small changes to the structure of a net."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import suggestion
from edgeseg.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn


def bypass(net: nn.Module, name: str) -> None:
    """Replace a module by an identity, in the net itself.

    Raises:
        CheckpointError: the net has no such module.
    """
    from torch import nn

    modules = {path for path, _ in net.named_modules() if path}
    if name not in modules:
        near = suggestion(name, modules)
        raise CheckpointError(f'bypassed: {type(net).__name__} has no module "{name}".{near}')
    put(net, name, nn.Identity())


def put(net: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module called `name`, in the net itself."""
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, module)


def without_aux(net: nn.Module) -> nn.Module:
    """Return a copy of net without its auxiliary heads (`net.aux`, a ModuleList); the logits stay the same.

    A net without such a list is copied whole.
    """
    from torch import nn

    copied = copy.deepcopy(net)
    if isinstance(getattr(copied, "aux", None), nn.ModuleList):
        copied.aux = nn.ModuleList()
    return copied
