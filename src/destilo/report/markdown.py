"""Figures and tables as Markdown text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from destilo.records import Score

MISSING = "–"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table; the first column is text, the others are aligned to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, rule, *([cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """Keep a text inside its cell."""
    return " ".join(text.replace("|", "\\|").split()) or MISSING


def points(value: float | None) -> str:
    """Write a fraction in points, such as ``82.31``."""
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.2f}"


def interval(score: Score) -> str:
    """Write a score with its 95% interval, in points."""
    if math.isnan(score.value):
        return MISSING
    return f"{points(score.value)} [{points(score.low)}, {points(score.high)}]"


def percent(value: float | None) -> str:
    """Write a share, such as ``97.8%``."""
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.1f}%"


def times(value: float | None) -> str:
    """Write a ratio, such as ``3.7x``."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"


def amount(count: float) -> str:
    """Write a large count with three digits, such as ``14.2M``."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{three_digits(count / limit)}{unit}"
    return f"{count:.0f}"


def three_digits(value: float) -> str:
    """Write a measurement with three digits at least and no false ones."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Write seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
