"""One self-contained HTML page about a memory, and a recording for the rerun viewer (`embodmem.report.rerun`)."""

from embodmem.report.config import ReportConfig
from embodmem.report.page import render_report, write_report

__all__ = ["ReportConfig", "render_report", "write_report"]
