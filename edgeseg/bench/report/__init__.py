"""The report: one self-contained HTML file."""

from __future__ import annotations

from edgeseg.bench.report.page import ReportImage, render_report, write_report

__all__ = ["ReportImage", "render_report", "write_report"]
