"""What runs and sweeps found, from their files alone: a document, a picture, rows for a table."""

from destilo.report.collection import (
    CollectionReport,
    build_collection_report,
    build_paper_report,
)
from destilo.report.combine import combine_runs
from destilo.report.document import ReportFiles, build_report
from destilo.report.summary import SummaryRow, summary_rows

__all__ = [
    "CollectionReport",
    "ReportFiles",
    "SummaryRow",
    "build_collection_report",
    "build_paper_report",
    "build_report",
    "combine_runs",
    "summary_rows",
]
