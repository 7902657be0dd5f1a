"""What every picture shares: colours, style, and how a figure is opened and saved.

Colours are of the Okabe-Ito palette, which colour-blind readers tell apart; every model is also
named where it stands. matplotlib is imported when a picture is drawn, never before.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from destilo.errors import DestiloError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, GRID = "#222222", "#6B6B6B", "#E4E4E4"
MODEL_COLOURS = {"teacher": "#0072B2", "student": "#D55E00", "baseline": "#6B6B6B"}
_OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
N_COLOURS = len(_OTHER_COLOURS)
"""After so many names colours come again; lines then need another mark."""
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
}


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Give each name a colour, models the same in every picture."""
    others = [name for name in dict.fromkeys(names) if name not in MODEL_COLOURS]
    extra = {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}
    return MODEL_COLOURS | extra


def say(axes: Axes, sentence: str) -> None:
    """Write why a picture is empty in the middle of it."""
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=PALE)


@contextmanager
def open_figure(*, width: float, height: float) -> Iterator[Figure]:
    """Open a figure in destilo's style, without matplotlib's global state or a window."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DestiloError(
            "Drawing needs matplotlib. Install it: pip install 'destilo[train]'."
        ) from error
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, target: Path) -> None:
    """Write a figure as a PNG, whole or not at all, the same bytes each time."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(picture.getvalue())
    partial.replace(target)
