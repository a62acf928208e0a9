"""Results as self-contained HTML pages, and the words and numbers that terminal and page share."""

from ohmformer.reports.page import write_report
from ohmformer.reports.reporting import demo_report, estimate_report, evaluation_report

__all__ = ["demo_report", "estimate_report", "evaluation_report", "write_report"]
