"""The board of a sweep: its selected trials, seeds of one setting together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, geometric_mean, median

from pydantic import ValidationError

from destilo.catalogue.models import MODELS
from destilo.errors import InputError
from destilo.recipe.yaml_text import read_yaml
from destilo.records import Collection, CollectionDataset, ProfileResult, Role, Score, TrialResult
from destilo.report.board import (
    FAILED,
    NOT_RUN,
    PRUNED,
    Board,
    Cell,
    Column,
    Entry,
    Hours,
    Rate,
    Size,
    cell_over_seeds,
)
from destilo.runs import damaged, read_json

RESULTS = "results.json"


def read_collection(folder: Path) -> Collection:
    """Read what a sweep has done so far.

    Raises:
        InputError: If the folder is no sweep's, or the file is damaged.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise InputError(f"{folder} is not the folder of a sweep: it holds no {RESULTS}.")
    try:
        return Collection.model_validate(read_json(path))
    except ValidationError as error:
        raise damaged(path, str(error).splitlines()[0]) from None


def measured_board(collection: Collection, *, folder: Path | None = None) -> Board:
    """Arrange a sweep's trials as a board.

    Args:
        collection: What was done so far.
        folder: The sweep's folder, whose trials' recipes say whether a teacher was cached.
    """
    columns = tuple(column for one in collection.datasets for column in _columns(one, collection))
    entries = _entries(collection)
    cells = {
        (entry, column): _cell(_trials(collection, entry, column.dataset), column)
        for entry in entries
        for column in columns
    }
    profiles = _profiles(collection)
    conditions = tuple(
        dict.fromkeys(condition(one) for by_set in profiles.values() for one in by_set.values())
    )
    return Board(
        name=collection.name,
        reference=collection.reference,
        columns=columns,
        entries=entries,
        students=collection.students,
        cells=cells,
        sizes=_sizes(profiles, reference=collection.reference),
        conditions=conditions,
        rates=_rates(profiles),
        teachers=collection.selected_teachers,
        hours={name: _hours(collection, name, folder) for name in collection.students},
        remarks=_remarks(collection),
    )


def _columns(dataset: CollectionDataset, collection: Collection) -> list[Column]:
    columns = []
    for split in dataset.tests:
        suffix = "" if len(dataset.tests) == 1 else f" {split.removeprefix('test-')}"
        metrics = [dataset.main_metric]
        if dataset.task == "question-answering" and _has(collection, dataset.name, split, "em"):
            metrics.append("em")
        columns += [
            Column(
                dataset=dataset.name,
                split=split,
                metric=metric,
                task=dataset.task,
                title=f"{dataset.name}{suffix} {metric}",
                main=metric == dataset.main_metric,
            )
            for metric in dict.fromkeys(metrics)
        ]
    return columns


def _has(collection: Collection, dataset: str, split: str, metric: str) -> bool:
    own = [trial for trial in collection.trials if trial.dataset == dataset]
    return not any(trial.tests for trial in own) or any(
        metric in trial.tests.get(split, {}) for trial in own
    )


def _entries(collection: Collection) -> tuple[Entry, ...]:
    """Candidate teachers, students on gold labels alone, students that follow a teacher."""
    alone = {
        trial.model
        for trial in collection.trials
        if (trial.stage, trial.role) == ("finetune", "student")
    }
    return (
        *(Entry("finetune", "teacher", name, title(name)) for name in collection.teachers),
        *(
            Entry("finetune", "student", name, title(name))
            for name in collection.students
            if name in alone
        ),
        *(Entry("distil", "student", name, title(name)) for name in collection.students),
    )


def title(model: str) -> str:
    """Name a model for people, as papers do where the catalogue knows it."""
    entry = MODELS.get(model)
    return entry.title if entry else model


def _trials(collection: Collection, entry: Entry, dataset: str) -> list[TrialResult]:
    wanted = (entry.stage, entry.role, entry.model, dataset)
    return [
        trial
        for trial in collection.trials
        if (trial.stage, trial.role, trial.model, trial.dataset) == wanted
    ]


def _cell(trials: Sequence[TrialResult], column: Column) -> Cell:
    scores: dict[int, Score] = {}
    for trial in trials:
        found = trial.tests.get(column.split, {}).get(column.metric)
        if trial.selected and found is not None:
            scores.setdefault(trial.seed, found)
    if scores:
        return cell_over_seeds(list(scores.values()))
    states = {trial.state for trial in trials}
    if not states & {"planned", "finished"}:
        for state, missing in (("failed", FAILED), ("pruned", PRUNED)):
            if state in states:
                return Cell(missing=missing)
    return Cell(missing=NOT_RUN)


_Profiles = dict[str, dict[tuple[str, Role], ProfileResult]]


def _profiles(collection: Collection) -> _Profiles:
    """Per model, its profiles by data set and role: of one shape of head each."""
    found: _Profiles = {}
    for trial in collection.trials:
        if trial.selected and trial.profile is not None:
            key = (trial.dataset, trial.role)
            found.setdefault(trial.model, {}).setdefault(key, trial.profile)
    return found


def condition(profile: ProfileResult) -> str:
    """Say at what shape and on what a profile was taken."""
    threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
    device = profile.machine.device
    on = device if device.startswith("cuda") else f"{device}, {threads}"
    return f"{on}, {profile.batch_size} × {profile.sequence_length}"


def _sizes(profiles: _Profiles, *, reference: str) -> dict[str, Size]:
    """Ratios within each data set, where shapes are alike, then their geometric mean."""
    base = {dataset: one for (dataset, _), one in profiles.get(reference, {}).items()}
    sizes = {}
    for model, by_set in profiles.items():
        pairs = [
            (base[dataset], one)
            for (dataset, _), one in by_set.items()
            if dataset in base and condition(base[dataset]) == condition(one)
        ]
        first = next(iter(by_set.values()))
        sizes[model] = Size(
            parameters=first.parameters,
            macs=first.macs,
            by_macs=_ratio((whole.macs, part.macs) for whole, part in pairs),
            by_modules=_ratio(
                (whole.macs_of_modules or 0, part.macs_of_modules or 0) for whole, part in pairs
            ),
            by_time=_ratio((whole.latency_p50_ms, part.latency_p50_ms) for whole, part in pairs),
        )
    return sizes


def _ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    ratios = [whole / part for whole, part in pairs if whole > 0 and part > 0]
    return geometric_mean(ratios) if ratios else None


def _rates(profiles: _Profiles) -> dict[tuple[str, str], Rate]:
    """The median over data sets: their heads differ by next to nothing."""
    rates = {}
    for model, by_set in profiles.items():
        for where in dict.fromkeys(condition(one) for one in by_set.values()):
            here = [one for one in by_set.values() if condition(one) == where]
            by_paper = [
                one.paper_inferences_per_s for one in here if one.paper_inferences_per_s is not None
            ]
            rates[model, where] = Rate(
                per_second=median(one.throughput_per_s for one in here),
                by_paper=median(by_paper) if by_paper else None,
            )
    return rates


def _hours(collection: Collection, model: str, folder: Path | None) -> Hours:
    times: dict[bool, list[float]] = {True: [], False: []}
    for trial in collection.trials:
        seconds = trial.seconds.get("student")
        if (trial.stage, trial.model, trial.state) != ("distil", model, "finished"):
            continue
        cached = _was_cached(trial, folder)
        if seconds is not None and cached is not None:
            times[cached].append(seconds / 3600)
    return Hours(
        cached=fmean(times[True]) if times[True] else None,
        uncached=fmean(times[False]) if times[False] else None,
    )


def _was_cached(trial: TrialResult, folder: Path | None) -> bool | None:
    """What its settings or its recipe say; ``None`` where neither is there."""
    if "teacher.cache" in trial.settings:
        return bool(trial.settings["teacher.cache"] == "logits")
    path = None if folder is None else folder / "trials" / trial.trial / "recipe.yaml"
    if path is None or not path.is_file():
        return None
    recipe = read_yaml(path.read_text(encoding="utf-8"), name=str(path)).value
    teacher = recipe.get("teacher") if isinstance(recipe, Mapping) else None
    teachers = teacher if isinstance(teacher, list) else [teacher]
    return all(isinstance(one, Mapping) and one.get("cache") == "logits" for one in teachers)


def _remarks(collection: Collection) -> tuple[str, ...]:
    states = [trial.state for trial in collection.trials]
    counted = ", ".join(
        f"{states.count(state)} {state}"
        for state in ("finished", "planned", "pruned", "failed")
        if state in states
    )
    remarks = [f"{len(states)} trials: {counted}." if states else "No trial has been planned yet."]
    failed = [trial for trial in collection.trials if trial.state == "failed"]
    remarks += [
        f"Failed: {one.model} on {one.dataset} ({one.stage}, seed {one.seed}): {one.error}"
        for one in failed[:10]
    ]
    if len(failed) > 10:
        remarks.append(f"... and {len(failed) - 10} more, in `{RESULTS}`.")
    return tuple(remarks)
