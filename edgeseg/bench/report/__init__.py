"""The report: one HTML file that needs nothing else, for whoever decides."""

from __future__ import annotations

from edgeseg.bench.report.page import Image, render_report, write_report

__all__ = ["Image", "render_report", "write_report"]
