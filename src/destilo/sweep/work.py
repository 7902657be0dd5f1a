"""What a worker does: train a trial, fill a cache, or measure what was selected.

A task is plain values, so that it can be sent to another process or machine. Its recipe names the
models of other trials ``trial:DIGEST``; the worker knows where those lie.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from destilo.errors import DestiloError, InputError, TrialPruned
from destilo.progress import Progress
from destilo.recipe.load import load_recipe
from destilo.records import EvalResult, TrialResult
from destilo.runs import MANIFEST, Run, read_json, write_json, write_text
from destilo.sweep.storage import RESULT, Storage
from destilo.sweep.trial import TEACHER_OF

Verb: TypeAlias = Literal["train", "cache", "measure"]

CACHED = "cached"
"""Marks the trial for which a teacher's outputs were computed. Should they be deleted, whoever
trains next computes what it needs."""

TRACEBACK = "error.txt"
"""Where a failure is told in full that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing for a worker to do.

    Attributes:
        verb: ``train`` up to the student; ``cache``: fill that of the recipe's teacher;
            ``measure``: evaluate and profile what was trained.
        result: Of the trial as planned; the worker returns it filled in.
        recipe: Plain values.
        measured_by: Digest of all that decides what is measured.
        bounds: By validation, what the best weights must have reached.
        label: For people.
        cost: In multiply-accumulates, 0 where unknown.
    """

    verb: Verb
    result: TrialResult
    recipe: Mapping[str, Any]
    measured_by: str
    bounds: Mapping[int, float] = field(default_factory=dict)
    label: str = ""
    cost: float = 0.0

    @property
    def key(self) -> tuple[Verb, str]:
        return self.verb, self.result.trial

    @property
    def folder(self) -> str:
        return f"trials/{self.result.trial}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes:
        result: As it is now.
        history: Best value so far at each validation.
        seconds: That this took; 0 where it had been done before.
    """

    task: Task
    result: TrialResult
    history: Mapping[int, float] = field(default_factory=dict)
    seconds: float = 0.0


def finished(task: Task, storage: Storage) -> Outcome | None:
    """What is on file for a task, if it needs not be done again."""
    if task.verb == "cache":
        there = storage.is_shared and (storage.folder(task.folder) / CACHED).exists()
        return _cached(task) if there else None
    content = storage.read_result(task.folder)
    if not isinstance(content, dict):
        return None
    try:
        result = TrialResult.model_validate(content["result"])
        history = {int(number): float(value) for number, value in content["history"].items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    if result.state not in ("finished", "pruned") or result.trial != task.result.trial:
        return None
    if result.state == "pruned" and not _falls_short(history, task):
        return None
    if task.verb == "measure":
        there = not storage.is_shared or (storage.folder(task.folder) / "student").is_dir()
        if content.get("measured_by") != task.measured_by or not there:
            return None
    return seen_as(task, Outcome(task, result, history))


def _falls_short(history: Mapping[int, float], task: Task) -> bool:
    """Whether what was reached until a training was given up would end it today as well."""
    by_loss = task.result.select_by == "validation_loss"
    return any(
        not (history[number] <= bound if by_loss else history[number] >= bound)  # NaN reaches none
        for number, bound in task.bounds.items()
        if number in history
    )


def _cached(task: Task) -> Outcome:
    return Outcome(task, task.result.model_copy(update={"state": "finished"}))


_IDENTITY = ("stage", "dataset", "model", "role", "teacher", "settings", "seed", "select_by")


def seen_as(task: Task, outcome: Outcome) -> Outcome:
    """The outcome as that of another task with the same recipe, under the other's names.

    A model may be tried as a teacher and as a student: it is trained once.
    """
    planned = {name: getattr(task.result, name) for name in _IDENTITY}
    result = outcome.result.model_copy(update=planned)
    return Outcome(task, result, outcome.history, outcome.seconds)


def perform(task: Task, storage: Storage, progress: Progress | None = None) -> Outcome:
    """Do a task here and now. A failure is an outcome too: the others go on."""
    start = time.perf_counter()
    path = storage.fetch(task.folder)
    try:
        with _caches_in(storage):
            recipe = load_recipe(_placed(task.recipe, storage))
            if task.verb == "cache":
                result = _cache(task, recipe, path, progress)
            else:
                result = _run(task, recipe, path, progress)
    except TrialPruned as error:
        result = _trained(task, path).model_copy(update={"state": "pruned", "error": str(error)})
    except DestiloError as error:
        result = task.result.model_copy(update={"state": "failed", "error": str(error)})
    except Exception as error:  # out of memory, a device that went away, a bug: one trial's matter
        told = f"{type(error).__name__}: {error} (traceback in {path / TRACEBACK})"
        result = task.result.model_copy(update={"state": "failed", "error": told})
        with suppress(OSError):
            write_text(path / TRACEBACK, traceback.format_exc())
    history = _history(path, result)
    if task.verb != "cache":
        measured_by = task.measured_by if task.verb == "measure" else None
        content = {
            "result": result.model_dump(mode="json"),
            "history": history,
            "measured_by": measured_by if result.state == "finished" else None,
        }
        write_json(path / RESULT, content)
        storage.publish(task.folder)
    return Outcome(task, result, history, time.perf_counter() - start)


def _placed(value: Any, storage: Storage) -> Any:
    """Put the folders of other trials in the place of their digests."""
    if isinstance(value, Mapping):
        return {key: _placed(inner, storage) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placed(inner, storage) for inner in value]
    if isinstance(value, str) and value.startswith(TEACHER_OF):
        folder = storage.fetch(f"trials/{value.removeprefix(TEACHER_OF)}")
        return str((folder / "student").resolve())
    return value


@contextmanager
def _caches_in(storage: Storage) -> Iterator[None]:
    """Keep teachers' outputs beside the trials, unless the user has a place for them."""
    if "DESTILO_CACHE" in os.environ:
        yield
        return
    os.environ["DESTILO_CACHE"] = str(storage.folder("cache").resolve())
    try:
        yield
    finally:
        del os.environ["DESTILO_CACHE"]


def _cache(task: Task, recipe: Any, path: Path, progress: Progress | None) -> TrialResult:
    from destilo.pipeline.caching import build_caches

    build_caches(recipe, output=path, progress=progress)  # which keeps a tokenizer for the trial
    write_text(path / CACHED, "")
    return _cached(task).result


def _run(task: Task, recipe: Any, path: Path, progress: Progress | None) -> TrialResult:
    from destilo import pipeline

    _wait_for_its_lock(path)
    until = "student" if task.verb == "train" else "report"
    pipeline.run(recipe, output=path, until=until, progress=progress, bounds=task.bounds)
    return _trained(task, path).model_copy(update={"state": "finished", "error": None})


def _wait_for_its_lock(path: Path, *, seconds: float = 60.0) -> None:
    """Give a worker whose node has died the time to be gone; the trial is nobody else's."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with Run(path).locked():
                return
        except InputError:
            time.sleep(0.5)


def _trained(task: Task, path: Path) -> TrialResult:
    """Read from a Run what it measured so far."""
    from destilo.pipeline import read_result

    found = read_result(path)
    evaluations: list[EvalResult] = [one for one in found.evaluations if one.model == "student"]
    tests = {one.split: one.scores for one in evaluations if one.split.startswith("test")}
    if not tests:
        tests = {one.split: one.scores for one in evaluations}
    best = [record for record in _validations(path) if record.get("best")]
    manifest = read_json(path / MANIFEST) if (path / MANIFEST).exists() else {}
    stages = {
        name: float(entry["seconds"])
        for name, entry in (manifest.get("stages") or {}).items()
        if isinstance(entry, dict) and "seconds" in entry
    }
    return task.result.model_copy(
        update={
            "validation": dict(best[-1]["validation"]) if best else {},
            "tests": tests,
            "profile": found.profile,
            "seconds": stages,
        }
    )


def _validations(path: Path) -> list[dict[str, Any]]:
    log = path / "training" / "student" / "log.jsonl"
    if not log.exists():
        return []
    records = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut off by a kill
        if "validation" in record:
            records.append(record)
    return records


def _history(path: Path, result: TrialResult) -> dict[int, float]:
    """The best value at each validation, whether or not that one was the best."""
    history: dict[int, float] = {}
    best: float | None = None
    by_loss = result.select_by == "validation_loss"
    for number, record in enumerate(_validations(path), start=1):
        value = record["validation"].get(result.select_by)
        if value is not None:
            better = best is None or (value < best if by_loss else value > best)
            best = value if better else best
        if best is not None:
            history[number] = best
    return history


def forget_weights(trial: str, storage: Storage) -> None:
    """Free the disk of a trial that was not selected; its figures stay."""
    if not storage.is_shared:
        return
    path = storage.folder(f"trials/{trial}")
    content = storage.read_result(f"trials/{trial}")
    if isinstance(content, dict) and content.get("measured_by") is not None:
        write_json(path / RESULT, content | {"measured_by": None})
    if (path / "student").is_dir():
        Run(path).forget("student", why="its weights were not kept")
        shutil.rmtree(path / "student")
    for checkpoints in path.glob("training/*/checkpoints"):
        shutil.rmtree(checkpoints, ignore_errors=True)
