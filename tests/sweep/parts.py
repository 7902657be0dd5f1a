"""Tiny sweeps, someone who watches them, and trainings that only pretend."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from destilo.errors import TrainingError, TrialPruned
from destilo.recipe.schema import Recipe
from destilo.sweep import load_sweep, run_sweep
from destilo.sweep.executors import Executor, InProcess
from destilo.sweep.load import Sweep
from destilo.sweep.run import SweepResult
from destilo.sweep.storage import Storage
from destilo.sweep.work import Outcome, Task
from tests import tiny

TOKENIZER = {"algorithm": "wordpiece", "vocab_size": 200}
NARROW = tiny.CONFIG | {"hidden_size": 16}


def sweep_value(folder: Path, *kinds: str, **changes: Any) -> dict[str, Any]:
    """A whole sweep as a mapping, with its data files written to a folder.

    Args:
        folder: Where the files go.
        kinds: Data sets, of ``tiny.TASKS``.
        changes: Keys as ``section__key`` (two underscores) and their values.
    """
    made = {kind: tiny.recipe(folder / kind, kind) for kind in kinds or ("ner", "classes")}
    shared = next(iter(made.values()))
    value: dict[str, Any] = {
        "name": "tiny",
        "base": {
            "training": shared["training"] | {"num_train_epochs": 1},
            "evaluation": {"bootstrap_samples": 50},
            "profile": shared["profile"],
        },
        "datasets": {
            kind: {key: recipe[key] for key in ("task", "data", "encoding")}
            for kind, recipe in made.items()
        },
        "teachers": {
            "wide": {"config": deepcopy(tiny.CONFIG), "tokenizer": TOKENIZER},
            "narrow": {"config": NARROW, "tokenizer": TOKENIZER},
        },
        "students": {
            "one-layer": {"from": "layers", "layers": 1},
            "small": {
                "from": "config",
                "config": NARROW | {"num_hidden_layers": 1},
                "tokenizer": TOKENIZER,
            },
        },
        "finetune": {"grid": {"learning_rate": [1e-3, 5e-3]}},
        "distil": {"grid": {"learning_rate": [2e-3, 5e-3], "temperature": [1.0, 2.0]}},
        "seeds": [13, 14],
    }
    for path, change in changes.items():
        *sections, key = path.split("__")
        place = value
        for section in sections:
            place = place.setdefault(section, {})
        if change is None:
            place.pop(key, None)
        else:
            place[key] = change
    return value


def tiny_sweep(folder: Path, *kinds: str, **changes: Any) -> Sweep:
    """The same, loaded."""
    return load_sweep(sweep_value(folder, *kinds, **changes))


def write_sweep(folder: Path, *kinds: str, **changes: Any) -> Path:
    """The same as a file."""
    path = folder / "sweep.yaml"
    value = sweep_value(folder / "data", *kinds, **changes)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


@dataclass
class Watching:
    """Writes down what it is told."""

    tasks: list[Task] = field(default_factory=list)
    began: list[Task] = field(default_factory=list)
    done: list[Outcome] = field(default_factory=list)
    repeated: list[Outcome] = field(default_factory=list)
    teachers: dict[str, str] = field(default_factory=dict)

    def planned(self, tasks: list[Task]) -> None:
        self.tasks += tasks

    def begun(self, task: Task) -> None:
        self.began.append(task)

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        (self.repeated if again else self.done).append(outcome)

    def selected(self, dataset: str, teacher: str) -> None:
        self.teachers[dataset] = teacher

    def what(self, verb: str) -> list[str]:
        """The labels of the tasks of one kind that were begun."""
        return [task.label for task in self.began if task.verb == verb]


def do_sweep(
    sweep: Sweep, output: Path, *, make: Callable[[Storage, Watching], Executor] | None = None
) -> tuple[SweepResult, Watching]:
    """Do a sweep and tell how it went."""
    watching = Watching()

    @contextmanager
    def make_executor(storage: Storage) -> Iterator[Executor]:
        executor = (
            InProcess(storage, begun=watching.begun) if make is None else make(storage, watching)
        )
        try:
            yield executor
        finally:
            executor.close()

    result = run_sweep(sweep, output=output, make_executor=make_executor, watcher=watching)
    return result, watching


Scores = Callable[[Recipe], list[dict[str, float]]]
"""What a pretended training reaches at each validation."""


def by_learning_rate(recipe: Recipe) -> list[dict[str, float]]:
    """The faster, the better, by metric; the slower, the better, by loss."""
    rate = recipe.training.learning_rate
    figures = {"f1": 0.5 + 10 * rate, "accuracy": 0.5 + 10 * rate, "validation_loss": 100 * rate}
    return [figures, figures]


@dataclass
class Pretended:
    """Stands for the trainings of a sweep: it writes what they would leave behind.

    Attributes:
        scores: What each reaches.
        runs: Name of the recipe, its learning rate and the last stage, in order.
        fails: Whether a recipe's training breaks down.
    """

    scores: Scores = by_learning_rate
    runs: list[tuple[str | None, float, str]] = field(default_factory=list)
    fails: Callable[[Recipe], Exception | None] = lambda _: None

    def run(
        self,
        recipe: Recipe,
        *,
        output: Path,
        until: str,
        bounds: Mapping[int, float],
        progress: Any = None,
    ) -> None:
        del progress
        self.runs.append((recipe.name, recipe.training.learning_rate, until))
        if (error := self.fails(recipe)) is not None:
            raise error
        folder = output / "training" / "student"
        folder.mkdir(parents=True, exist_ok=True)
        by = recipe.evaluation.select_by or "f1"
        records = []
        for number, figures in enumerate(self.scores(recipe), start=1):
            records.append(json.dumps({"step": number, "validation": figures, "best": number == 1}))
            (folder / "log.jsonl").write_text("\n".join(records) + "\n", encoding="utf-8")
            bound, value = bounds.get(number), figures[by]
            if bound is not None and (value > bound if by == "validation_loss" else value < bound):
                raise TrialPruned(f"{value} at {number}, where half of the others had {bound}")
        (output / "student").mkdir(exist_ok=True)
        (output / "student" / "model.safetensors").write_text(recipe.digest, encoding="utf-8")

    def cache(self, recipe: Recipe, **options: Any) -> None:
        del options
        self.runs.append((recipe.name, recipe.training.learning_rate, "cache"))


def broken(recipe: Recipe) -> Exception:
    """What a training says that goes wrong."""
    return TrainingError(f"{recipe.name}: the loss is not finite [NaN]")


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """Put pretended trainings in the place of all."""
    from destilo import pipeline
    from destilo.pipeline import caching

    made = Pretended()
    monkeypatch.setattr(pipeline, "run", made.run)
    monkeypatch.setattr(caching, "build_caches", made.cache)
    return made
