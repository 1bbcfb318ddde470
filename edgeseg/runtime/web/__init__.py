"""The loop in a browser: `WebSink` serves one page with the live image, the labels over it, and the figures."""

from __future__ import annotations

from edgeseg.runtime.web.address import WebAddress, web_address
from edgeseg.runtime.web.sink import WebSink

__all__ = ["WebAddress", "WebSink", "web_address"]
