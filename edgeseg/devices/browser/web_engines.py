"""The engines that run artifacts in a browser, by format: their files, and how the page loads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.errors import UnsupportedError

if TYPE_CHECKING:
    from edgeseg.core.artifact import Manifest
    from edgeseg.toolchains import Toolchain

WEB_TOOLCHAIN = "web"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebEngine:
    """An engine that runs in a browser: its name in records, the format it runs, and the npm package it comes in."""

    name: str
    format: str
    package: str

    def version(self, tool: Toolchain) -> str:
        """Return the version that the lock file pins."""
        return tool.pinned[self.package]


WEB_ENGINES = (
    WebEngine(name="onnxruntime-web", format="onnx", package="onnxruntime-web"),
    WebEngine(name="litertjs", format="tflite", package="@litertjs/core"),
)


def web_engine(manifest: Manifest) -> WebEngine:
    """Return the engine that runs an artifact in a browser.

    Raises:
        UnsupportedError: none runs its format, or it is an adopted file.
    """
    found = next((engine for engine in WEB_ENGINES if engine.format == manifest.format), None)
    if found is None:
        able = " and ".join(engine.format for engine in WEB_ENGINES)
        raise UnsupportedError(
            f'{manifest.name}: no browser runs the format "{manifest.format}"; they run {able}. Convert the model with '
            "--target onnx or --target tflite."
        )
    if manifest.file is not None:
        raise UnsupportedError(
            f"{manifest.name}: the page cannot read an adopted file's own output yet. Convert the model with edgeseg "
            "convert FILE.onnx --spec spec.toml --target onnx."
        )
    return found
