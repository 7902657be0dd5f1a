"""A sweep as a user sees it: a table that moves while it goes on, and its plan before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from destilo.terminal import output_console, say, say_json, table

if TYPE_CHECKING:
    from destilo.sweep.load import Sweep
    from destilo.sweep.plan import Phase
    from destilo.sweep.work import Outcome, Task


@dataclass
class _Counts:
    """Tasks of one kind: planned, done, failed, pruned."""

    planned: int = 0
    done: int = 0
    failed: int = 0
    pruned: int = 0

    def __str__(self) -> str:
        notes = [f"{self.failed} failed"] * bool(self.failed)
        notes += [f"{self.pruned} pruned"] * bool(self.pruned)
        return f"{self.done}/{self.planned}" + (f" ({', '.join(notes)})" if notes else "")


@dataclass
class _Pace:
    """How fast tasks are done: those with a cost by their cost, the others by their number.

    The two do not mix: a task whose cost is not known is not one of a single operation.
    """

    left: float = 0.0
    spent: float = 0.0
    seconds: float = 0.0

    def move_on(self, outcome: Outcome, *, again: bool) -> None:
        amount = outcome.task.cost or 1.0
        self.left -= amount
        if not again:
            self.spent += amount
            self.seconds += outcome.seconds

    @property
    def seconds_left(self) -> float:
        """0 where nothing like it has been done yet."""
        return self.seconds / self.spent * max(self.left, 0.0) if self.spent else 0.0


_COLUMNS = ("teachers", "cache", "fine-tuned", "distilled", "measured")


@dataclass
class SweepBoard:
    """Draws a sweep on a terminal; a line for each finished task where there is none.

    It is also told how the training goes that this process does itself.
    """

    console: Console
    quiet: bool = False
    workers: int = 1
    _counts: dict[str, dict[str, _Counts]] = field(default_factory=dict)
    _teachers: dict[str, str] = field(default_factory=dict)
    _running: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _bar: tuple[str, int, int, str] = ("", 0, 0, "")
    _started: float = field(default_factory=time.monotonic)
    _paces: dict[bool, _Pace] = field(default_factory=lambda: {True: _Pace(), False: _Pace()})
    _live: Live | None = None

    def __enter__(self) -> SweepBoard:
        if self.console.is_terminal and not self.quiet:
            self._live = Live(console=self.console, get_renderable=self._draw, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def planned(self, tasks: list[Task]) -> None:
        """Count tasks as to be done."""
        for task in tasks:
            self._count(task).planned += 1
            self._paces[task.cost > 0].left += task.cost or 1.0

    def begun(self, task: Task) -> None:
        """Show a task as running."""
        self._running[task.key] = task.label
        if self._live is None and not self.quiet and self.workers == 1:
            self._say(f"[bold cyan]==>[/] {escape(_told(task))}")

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        """Count a task as done."""
        task, state = outcome.task, outcome.result.state
        self._running.pop(task.key, None)
        counts = self._count(task)
        counts.done += state == "finished"
        counts.failed += state == "failed"
        counts.pruned += state == "pruned"
        self._paces[task.cost > 0].move_on(outcome, again=again)
        if state == "failed":
            self._say(f"[red]failed:[/] {escape(_told(task))}: {escape(str(outcome.result.error))}")
        elif not again and not self.quiet and (self._live is None or state == "pruned"):
            self._say(f"    {escape(_told(task))}: {escape(_figure(outcome))}{self._eta()}")

    def selected(self, dataset: str, teacher: str) -> None:
        """Show which teacher the students of a data set follow."""
        self._teachers[dataset] = teacher
        if not self.quiet:
            self._say(f"[green]{escape(dataset)}: students follow {escape(teacher)}[/]")

    def note(self, message: str, *, level: str = "info") -> None:
        """Show warnings of a training; the rest is in its folder."""
        if level == "warning" and self._live is None and not self.quiet:
            self._say(f"    [yellow]warning:[/] {escape(message)}")

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        """Show what the training here is at."""
        self._bar = (name, total, done, "")

    def advance(self, amount: int = 1, *, figures: Mapping[str, float] | None = None) -> None:
        """Move it on."""
        name, total, done, text = self._bar
        told = ", ".join(f"{key} {value:.4f}" for key, value in (figures or {}).items())
        self._bar = (name, total, done + amount, told or text)

    def end(self) -> None:
        """Take it away."""
        self._bar = ("", 0, 0, "")

    def _count(self, task: Task) -> _Counts:
        of_dataset = self._counts.setdefault(
            task.result.dataset, {column: _Counts() for column in _COLUMNS}
        )
        return of_dataset[_column(task)]

    def _say(self, text: str) -> None:
        (self._live.console if self._live else self.console).print(text, highlight=False)

    def _eta(self) -> str:
        seconds = self._seconds_left()
        return f"; at least {_span(seconds)} left" if seconds else ""

    def _seconds_left(self) -> float:
        return sum(pace.seconds_left for pace in self._paces.values()) / max(1, self.workers)

    def _draw(self) -> Group:
        board = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
        for name in ("data set", *_COLUMNS, "teacher"):
            board.add_column(name, justify="left" if name in ("data set", "teacher") else "right")
        for dataset, counts in self._counts.items():
            cells = [str(counts[column]) for column in _COLUMNS]
            board.add_row(dataset, *cells, self._teachers.get(dataset, ""))
        lines = [Text(f"now: {label}", style="cyan") for label in list(self._running.values())[:4]]
        name, total, done, told = self._bar
        if total:
            lines.append(Text(f"     {name}: {done}/{total}  {told}", style="dim"))
        seconds = self._seconds_left()
        left = f", at least {_span(seconds)} left of what is planned" if seconds else ""
        elapsed = _span(time.monotonic() - self._started)
        return Group(board, *lines, Text(f"{elapsed} so far{left}", style="dim"))


def _column(task: Task) -> str:
    if task.verb != "train":
        return "cache" if task.verb == "cache" else "measured"
    if task.result.role == "teacher":
        return "teachers"
    return "distilled" if task.result.stage == "distil" else "fine-tuned"


def _told(task: Task) -> str:
    prefix = {"cache": "cache for ", "measure": "", "train": ""}[task.verb]
    return prefix + task.label


def _figure(outcome: Outcome) -> str:
    result = outcome.result
    if outcome.task.verb == "cache":
        return f"full, {_span(outcome.seconds)}"
    value = result.validation.get(result.select_by)
    told = "" if value is None else f"{result.select_by} {value:.4f}, "
    pruned = "given up, " if result.state == "pruned" else ""
    return f"{pruned}{told}{_span(outcome.seconds)}"


def _span(seconds: float) -> str:
    for unit, length, until in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < until:
            return (
                f"{seconds / length:.1f} {unit}"
                if unit == "h"
                else f"{seconds / length:.0f} {unit}"
            )
    return f"{seconds / 86_400:,.0f} days"


def show_plan(sweep: Sweep, output: Path, storage: str | None, *, as_json: bool) -> None:
    """Show what a sweep would do."""
    from destilo.sweep.cost import macs_per_second
    from destilo.sweep.plan import plan_sweep
    from destilo.sweep.storage import Storage

    place = storage or (str(output.resolve()) if output.exists() else None)
    plan = plan_sweep(sweep, storage=None if place is None else Storage(place))
    speed = macs_per_second()
    if as_json:
        say_json(
            {
                "phases": [asdict(phase) for phase in plan.phases],
                "assumed_teachers": plan.assumed,
                "tasks": plan.tasks,
                "done": plan.done,
                "macs": plan.macs,
                "hours_at_least": plan.macs / speed / 3600,
            }
        )
        return
    rows = [_plan_row(phase) for phase in plan.phases]
    columns = ["data set", "model", "what", "tasks", "done", "PetaMACs"]
    output_console().print(table(f"{sweep.name}: the plan", columns, rows))
    for dataset, teacher in plan.assumed.items():
        say(f"{dataset}: students are taken to follow {teacher}")
    unknown = sum(phase.unknown for phase in plan.phases)
    say(
        f"{plan.tasks:,} tasks, {plan.done:,} of them done. The rest: {plan.macs / 1e15:,.2f} "
        f"PetaMACs of training at full windows, {_span(plan.macs / speed)} at the speed of a plain "
        f"matrix product here ({speed / 1e9:,.0f} GMAC/s); trainings reach a part of that."
    )
    if unknown:
        say(f"{unknown:,} trainings have no estimate: their model or data are not on this machine.")


def _plan_row(phase: Phase) -> list[str]:
    verbs = {"cache": "cache the teacher's outputs", "measure": "measure the best"}
    trains = {
        ("teacher", "finetune"): "fine-tune as a teacher",
        ("student", "finetune"): "fine-tune without distillation",
        ("student", "distil"): "distil",
    }
    what = verbs.get(phase.verb) or trains[phase.role, phase.stage]
    if phase.verb == "measure":
        what += "" if phase.stage == "distil" else " (fine-tuned)"
    cost = "" if phase.verb == "measure" else f"{phase.macs / 1e15:.2f}"
    if phase.unknown:
        cost = "?"
    return [phase.dataset, phase.model, what, str(phase.tasks), str(phase.done), cost]
