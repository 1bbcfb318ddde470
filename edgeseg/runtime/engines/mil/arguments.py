"""A kernel's arguments: one op's inputs by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeseg.runtime.engines.mil.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The inputs of one op; `half` says that its result is stored in half precision."""

    values: dict[str, tuple[Value, ...]]
    half: bool = False

    def has(self, name: str) -> bool:
        """Return whether the op was given this input."""
        return name in self.values

    def tensor(self, name: str) -> np.ndarray:
        """Return an input that must be there."""
        return np.asarray(self.values[name][0])

    def tensors(self, name: str) -> tuple[np.ndarray, ...]:
        """Return every tensor of an input that takes several."""
        return tuple(np.asarray(value) for value in self.values[name])

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a list of whole numbers, or the default that MIL sets."""
        if name not in self.values:
            return default
        return tuple(int(number) for number in np.atleast_1d(self.tensor(name)))

    def integer(self, name: str, default: int) -> int:
        """Return one whole number, or the default that MIL sets."""
        return self.integers(name, (default,))[0]

    def number(self, name: str, default: float) -> float:
        """Return one real number, or the default that MIL sets."""
        return float(self.tensor(name).reshape(())) if name in self.values else default

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value, or the default that MIL sets."""
        return bool(self.tensor(name).reshape(())) if name in self.values else default

    def text(self, name: str, default: str) -> str:
        """Return a string, or the default that MIL sets."""
        return str(self.values[name][0]) if name in self.values else default
