"""One trial of a sweep: what is trained, and the recipe that says so."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from destilo import __version__
from destilo.catalogue.datasets import dataset_entry
from destilo.errors import RecipeError
from destilo.recipe.catalogue import TASKS
from destilo.recipe.load import Draft, merge_drafts, recipe_of
from destilo.recipe.places import Key, Place, Places, dotted
from destilo.recipe.problems import at_place
from destilo.recipe.schema import Recipe
from destilo.records import Role, TrialStage
from destilo.runs import digest, file_digest, folder_digest
from destilo.sweep.load import Sweep
from destilo.sweep.schema import LOSS_AXES, CandidateSpec, Grid, RangeSpec, is_whole, key_of

Settings = tuple[tuple[str, Any], ...]
"""What a grid or a search chose: pairs of axis and value."""

Values = TypeVar("Values")

TEACHER_OF = "trial:"
"""What stands in a recipe for the model of another trial, until it is known where that lies."""

_WITHOUT_EFFECT = ("logging_steps", "save_steps", "report_to", "per_device_eval_batch_size")
_DECODING = ("select_by", "n_best", "max_answer_length", "no_answer")


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a sweep.

    Attributes:
        stage: On gold labels, or following ``teacher``.
        role: Whether ``model`` names a candidate teacher or a student.
        settings: In the order of the grid's axes.
        teachers: Name and trial of each selected candidate, where the student needs them; the
            first is the best.
    """

    stage: TrialStage
    dataset: str
    model: str
    role: Role
    settings: Settings
    seed: int
    teachers: tuple[tuple[str, str], ...] = ()

    @property
    def teacher(self) -> str | None:
        """The names of those it follows, for people."""
        return " + ".join(name for name, _ in self.teachers) or None


@dataclass
class Recipes:
    """Makes the recipe of each trial of a sweep, and its digest."""

    sweep: Sweep
    _drafts: dict[tuple[Any, ...], Draft] = field(default_factory=dict)

    def recipe(self, trial: Trial) -> Recipe:
        """The recipe of a trial; the model of its teacher is ``trial:DIGEST``.

        Raises:
            RecipeError: If the sections of the sweep do not make a valid recipe together.
        """
        key = (trial.stage, trial.dataset, trial.model, trial.role, trial.teachers)
        if key not in self._drafts:
            self._drafts[key] = self._compose(trial)
        made = self._drafts[key]
        draft = Draft(copy.deepcopy(made.value), dict(made.places))
        losses: dict[str, Any] = {}
        for axis, value in trial.settings:
            if axis in LOSS_AXES:
                losses[axis] = value
                continue
            place = self._axis_place(trial, axis)
            _put(draft, _key_of(axis), value, place)
        if trial.stage == "distil" and self.sweep.spec.distil.objective is None:
            draft.value["objective"] = self._objective(losses)
        _put(draft, ("training", "seed"), trial.seed, self._place(("seeds",)))
        draft.value["name"] = f"{trial.dataset}-{trial.model}-{trial.stage}"
        return recipe_of(draft)

    def digest(self, recipe: Recipe) -> str:
        """A digest of all that decides a trial's weights: content, not paths.

        What only measures (tests, profile, intervals) is left out, so that changing it does not
        train anything again.
        """
        content = recipe.model_dump(mode="json", by_alias=True)
        for key in ("name", "description", "profile"):
            content.pop(key)
        for key in ("test", "leak_check"):
            content["data"].pop(key)
        for key in _WITHOUT_EFFECT:
            content["training"].pop(key)
        content["evaluation"] = {key: content["evaluation"][key] for key in _DECODING}
        return digest([__version__, _by_content(content)])

    def metric(self, dataset: str, select_by: str) -> str:
        """The validation metric that trials of a data set are compared by."""
        if select_by == "validation_loss":
            return select_by
        return _main_metric(self._of_dataset(dataset).value)

    def _of_dataset(self, dataset: str) -> Draft:
        """What all recipes of a data set share."""
        spec = self.sweep.spec
        draft = self._section(spec.base, ("base",), ())
        section = dict(spec.datasets[dataset])
        if "dataset" in section:  # the name of one in the catalogue
            section["data"] = {"dataset": section.pop("dataset"), **section.get("data", {})}
        merge_drafts(draft, self._section(section, ("datasets", dataset), ()))
        return draft

    def _compose(self, trial: Trial) -> Draft:
        spec = self.sweep.spec
        draft = self._of_dataset(trial.dataset)
        metric = _main_metric(draft.value)
        distils_or_compares = trial.role == "student"
        stage = spec.distil if distils_or_compares else spec.finetune
        stage_key: Key = ("distil", "training") if distils_or_compares else ("finetune", "training")
        group = "students" if distils_or_compares else "teachers"
        candidate = (spec.students if distils_or_compares else spec.teachers)[trial.model]
        for overrides, key in (
            (stage.training, stage_key),
            (candidate.training, (group, trial.model, "training")),
        ):
            values = overrides.model_dump(exclude_none=True)
            merge_drafts(draft, self._section(values, key, ("training",)))
        student = (
            self._student(trial, candidate)
            if trial.role == "student"
            else _as_student(candidate.section)
        )
        merge_drafts(draft, self._section(student, (group, trial.model), ("student",)))
        if trial.teachers:
            sections = [self._teacher(trial, *one) for one in trial.teachers]
            draft.value["teacher"] = sections if len(sections) > 1 else sections[0]
        if trial.stage == "distil" and spec.distil.objective is not None:
            terms = [term.model_dump(mode="json", by_alias=True) for term in spec.distil.objective]
            draft.value["objective"] = terms
        evaluation = draft.value.setdefault("evaluation", {})
        evaluation |= {"baseline": False, "teacher": False}
        by_loss = stage.select_by == "validation_loss"
        evaluation["select_by"] = stage.select_by if by_loss else metric
        return draft

    def _student(self, trial: Trial, candidate: CandidateSpec) -> dict[str, Any]:
        """A student's section; where nothing is distilled it must owe the teacher nothing."""
        section = dict(candidate.section)
        if trial.stage == "distil" or not trial.teachers:
            return section
        origin = self.sweep.spec.teachers[trial.teachers[0][0]].section
        if origin.get("model") is not None and origin.get("weights") != "random":
            return section | {"of": "encoder"}
        if section.get("from") == "layers":  # the teacher began with random weights: so does it
            made = _as_student(origin)
            return made | {key: section[key] for key in ("layers", "dropout") if key in section}
        return section

    def _teacher(self, trial: Trial, name: str, digest_of_trial: str) -> dict[str, Any]:
        origin = self.sweep.spec.teachers[name].section
        section: dict[str, Any] = {"model": f"{TEACHER_OF}{digest_of_trial}"}
        if origin.get("model") is not None and origin.get("weights") != "random":
            section["encoder"] = self._resolved(name, str(origin["model"]))
        if trial.stage == "distil" and self._cached():
            section["cache"] = "logits"
        return section

    def _resolved(self, teacher: str, model: str) -> str:
        """A candidate's model as its own recipes name it: a full path where it is a folder."""
        dataset = next(iter(self.sweep.spec.datasets))
        seed = self.sweep.spec.seeds[0]
        recipe = self.recipe(Trial("finetune", dataset, teacher, "teacher", (), seed))
        return recipe.student.model or model

    def _cached(self) -> bool:
        distil = self.sweep.spec.distil
        layers = any(term.on_layers for term in distil.objective or ())
        return distil.cache and not layers

    def _objective(self, losses: Mapping[str, Any]) -> list[dict[str, Any]]:
        distil = self.sweep.spec.distil
        term, alpha = losses.get("term", distil.term), losses.get("alpha", distil.alpha)
        temperature = losses.get("temperature", distil.temperature)
        followed = {"term": term, "weight": 1 - alpha}
        if term != "mse":
            followed["temperature"] = temperature
        terms = [{"term": "labels", "weight": alpha}, followed]
        return [one for one in terms if one["weight"] > 0]

    def _axis_place(self, trial: Trial, axis: str) -> Place:
        """Where the values of an axis are written."""
        group = "students" if trial.role == "student" else "teachers"
        stage = "distil" if trial.role == "student" else "finetune"
        keys: tuple[Key, ...] = (
            (group, trial.model, "grid", axis),
            (stage, "search", "space", axis),
            (stage, "grid", axis),
        )
        written = (key for key in keys if key in self.sweep.places)
        return self._place(next(written, ()))

    def _place(self, key: Key) -> Place:
        return Places(self.sweep.places).find(key) or Place("")

    def _section(self, value: Mapping[str, Any], at: Key, under: Key) -> Draft:
        """A part of the sweep as a part of a recipe, with the places of its keys."""
        places: dict[Key, Place] = {
            (*under, *key[len(at) :]): place
            for key, place in self.sweep.places.items()
            if key[: len(at)] == at
        }
        places[()] = self.sweep.places[()]
        nested: dict[str, Any] = copy.deepcopy(dict(value))
        for part in reversed(under):
            nested = {str(part): nested}
        return Draft(nested, places)


def _as_student(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """A candidate teacher is fine-tuned as the only model of a recipe: as its student."""
    section = {"from": "config" if "config" in teacher else "checkpoint", **teacher}
    return {key: value for key, value in section.items() if key not in ("weight", "cache")}


def _main_metric(value: Mapping[str, Any]) -> str:
    """What a recipe's models are compared by: its own choice, its data set's, or its task's."""
    data, evaluation = value.get("data") or {}, value.get("evaluation") or {}
    if evaluation.get("select_by") is not None:
        return str(evaluation["select_by"])
    if data.get("dataset") is not None:
        return dataset_entry(str(data["dataset"])).metric
    task = str(value.get("task"))
    if task == "token-classification" and (data.get("train") or {}).get("scheme") == "raw":
        return "accuracy"  # tags that mark no spans
    return TASKS[task].metrics[0] if task in TASKS else "validation_loss"


def points(grid: Grid) -> list[Settings]:
    """Every point of a grid, the last axis turning fastest."""
    return [tuple(zip(grid, values, strict=True)) for values in product(*grid.values())]


def without_losses(axes: Mapping[str, Values]) -> dict[str, Values]:
    """The axes that also mean something where nothing is distilled."""
    return {
        axis: values
        for axis, values in axes.items()
        if axis not in LOSS_AXES and not axis.startswith(("objective.", "teacher.", "alignment"))
    }


def one_at_a_time(space: Mapping[str, RangeSpec | Sequence[Any]]) -> list[Settings]:
    """Settings in which every value of a grid, and both ends of a range, stand at least once."""
    ends: dict[str, tuple[Any, ...]] = {}
    for axis, values in space.items():
        if isinstance(values, RangeSpec):
            number = int if is_whole(axis) else float
            ends[axis] = number(values.low), number(values.high)
        else:
            ends[axis] = tuple(values)
    first = {axis: values[0] for axis, values in ends.items()}
    varied = [tuple((first | {axis: value}).items()) for axis in ends for value in ends[axis][1:]]
    return [tuple(first.items()), *varied]


def _key_of(axis: str) -> tuple[str, ...]:
    return tuple(key_of(axis).split("."))


def _put(draft: Draft, path: tuple[str, ...], new: Any, place: Place) -> None:
    """Write a value into a draft, as it stands in the sweep at ``place``."""
    holder: Any = draft.value
    key: Key = ()
    for number, part in enumerate(path, start=1):
        step: Any = part
        if isinstance(holder, list):
            step = int(part) if part.isdecimal() and int(part) < len(holder) else None
        if step is None or not isinstance(holder, dict | list):
            what = f"has no entry {part}" if isinstance(holder, list) else "has no keys"
            message = f"{dotted(key)} {what}, so it cannot vary."
            raise RecipeError(at_place(Places({(): place}), path, message))
        key = (*key, step)
        if number == len(path):
            holder[step] = new
            continue
        if isinstance(holder, dict) and step not in holder:
            holder[step] = {}
            draft.places[key] = place
        holder = holder[step]
    for known in [one for one in draft.places if one[: len(key)] == key]:
        del draft.places[known]
    draft.places[key] = place


def _by_content(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _by_content(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_by_content(inner) for inner in value]
    if isinstance(value, str) and value.startswith("/"):
        return _content(value)
    return value


def _content(text: str) -> str:
    path = Path(text)
    if not path.exists():
        return text
    files = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file())
    stamps = tuple((one.name, one.stat().st_mtime_ns, one.stat().st_size) for one in files)
    return f"content:{_hash(text, stamps)}"


@functools.lru_cache(maxsize=1024)
def _hash(text: str, stamps: tuple[Any, ...]) -> str:
    """Of a file or a model's folder; ``stamps`` make it anew when a file has changed."""
    del stamps
    path = Path(text)
    return folder_digest(path) if path.is_dir() else file_digest(path)
