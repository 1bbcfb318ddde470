"""The version of edgeseg, readable from every package."""

from __future__ import annotations

VERSION = "0.1.0"
