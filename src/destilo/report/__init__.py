"""What a Run found, from its files alone: a document, a picture, rows for a table."""

from destilo.report.combine import combine_runs
from destilo.report.document import ReportFiles, build_report
from destilo.report.summary import SummaryRow, summary_rows

__all__ = ["ReportFiles", "SummaryRow", "build_report", "combine_runs", "summary_rows"]
