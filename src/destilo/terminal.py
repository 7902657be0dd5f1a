"""What a user sees in a terminal: progress with ETA, messages, tables. For the command line."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

_STYLES = {
    "stage": "[bold cyan]==>[/] [bold]{}[/]",
    "skip": "[dim]==> {}[/]",
    "warning": "[yellow]warning:[/] {}",
    "done": "[green]{}[/]",
    "step": "    {}",
    "info": "    [dim]{}[/]",
}
_PLAIN_EVERY_SECONDS = 30.0


class TerminalProgress:
    """Bars with ETA on a terminal; a line now and then where there is none.

    Args:
        console: Where notes go; standard error, so that standard output stays for results.
        quiet: Say only warnings.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._done = "", 0, 0
        self._started = self._spoken = 0.0

    def note(self, message: str, *, level: str = "info") -> None:
        """Print one sentence, above the bar if there is one."""
        if self.quiet and level != "warning":
            return
        text = _STYLES.get(level, "{}").format(escape(message))
        (self._bars.console if self._bars else self.console).print(text, highlight=False)

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        """Start a bar."""
        self.end()
        self._name, self._total, self._done = name, total, done
        self._started = self._spoken = time.monotonic()
        if self.quiet or not self.console.is_terminal:
            return
        self._bars = Bars(
            TextColumn("    {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[figures]}"),
            console=self.console,
            transient=True,
        )
        self._task = self._bars.add_task(name, total=total, completed=done, figures="")
        self._bars.start()

    def advance(self, amount: int = 1, *, figures: Mapping[str, float] | None = None) -> None:
        """Move on; without a terminal, say so every half minute."""
        self._done += amount
        text = ", ".join(f"{name} {value:.4f}" for name, value in (figures or {}).items())
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, amount)
            if text:
                self._bars.update(self._task, figures=text)
        elif not self.quiet:
            self._speak(text)

    def _speak(self, text: str) -> None:
        now = time.monotonic()
        if now - self._spoken < _PLAIN_EVERY_SECONDS:
            return
        self._spoken = now
        left = (now - self._started) / max(1, self._done) * (self._total - self._done)
        figures = f", {text}" if text else ""
        self.console.print(
            f"    {self._name}: {self._done}/{self._total}, about {left:.0f} s left{figures}",
            highlight=False,
        )

    def end(self) -> None:
        """Take the bar away."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table: figures to the right, words to the left, nothing cut off."""
    lines = [list(row) for row in rows]
    result = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for number, column in enumerate(columns):
        figures = all(not line[number] or line[number][0] in "+-0123456789" for line in lines)
        result.add_column(
            column,
            justify="right" if figures else "left",
            overflow="fold",
            no_wrap=number == 0,  # a name that is broken cannot be copied
        )
    for row in lines:
        result.add_row(*map(escape, row))
    return result


def error_console() -> Console:
    """Standard error, with colours where they are wanted."""
    return Console(file=sys.stderr, soft_wrap=True)


def output_console() -> Console:
    """Standard output, with colours where they are wanted."""
    return Console(file=sys.stdout)


def say(message: str) -> None:
    """Print a sentence on standard output."""
    output_console().print(message, highlight=False, markup=False, soft_wrap=True)


def say_json(value: Any) -> None:
    """Print a result for machines on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def complain(level: str, message: str) -> None:
    """Print an ``error`` or a ``warning`` on standard error."""
    colour = "red" if level == "error" else "yellow"
    error_console().print(f"[{colour}]{level}:[/] {escape(message)}", highlight=False)


def is_helper() -> bool:
    """Whether a launcher started this process beside the one that speaks."""
    return int(os.environ.get("RANK", "0")) > 0
