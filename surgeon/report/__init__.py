"""The report: one HTML page from the folders of evaluations. No torch here."""

from surgeon.report.page import report
from surgeon.report.reading import Run, read_run

__all__ = ["Run", "read_run", "report"]
