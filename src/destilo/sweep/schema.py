"""What a sweep file may hold: data sets, candidates, students, and what is tried of each.

Sections of recipes (``base``, those of data sets, teachers and students) stay as written: they are
validated as part of the recipes that are made of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from destilo.recipe.fields import Count, Positive, Spec, Text, as_tuple, shape
from destilo.recipe.objective_spec import TermSpec
from destilo.recipe.training_spec import TrainingOverrides, TrainingSpec

LossName: TypeAlias = Literal["kl", "reverse-kl", "jsd", "soft-ce", "mse"]
Axis: TypeAlias = Annotated[tuple[Any, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Grid: TypeAlias = dict[str, Axis]


def _folder_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError(
            f"'{value}' names folders, so it takes letters, digits, dots, dashes and underscores"
        )
    return value


Name: TypeAlias = Annotated[str, AfterValidator(_folder_name)]


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("repeats one: the same seed trains the same model")
    return seeds


_WHOLE = frozenset(
    {
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "max_steps",
        "num_train_epochs",
        "early_stopping_patience",
        "eval_steps",
        "student.layers",
        "encoding.max_length",
        "encoding.doc_stride",
    }
)

LOSS_AXES = ("term", "alpha", "temperature")
"""Axes that make up the objective: alpha x labels + (1 - alpha) x term at a temperature."""


def _candidate(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    own = {key: value[key] for key in ("grid", "training") if key in value}
    return {**own, "section": {key: inner for key, inner in value.items() if key not in own}}


def _by_name(key: str, **more: str) -> Any:
    """Let a list of names stand for sections that hold nothing but the name."""

    def convert(value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return {name: {key: name, **more} for name in value}
        return value

    return BeforeValidator(convert)


class CandidateSpec(Spec):
    """A teacher or a student that is tried on every data set.

    Attributes:
        section: A recipe's ``teacher`` (of candidates) or ``student``.
        grid: In place of that of the stage.
        training: Differences from the stage's own.
    """

    section: dict[str, Any]
    grid: Grid | None = None
    training: TrainingOverrides = TrainingOverrides()


Candidate: TypeAlias = Annotated[CandidateSpec, BeforeValidator(_candidate)]


class FinetuneSpec(Spec):
    """How candidate teachers are fine-tuned.

    Attributes:
        training: Differences from ``base.training``.
        grid: Values by recipe key; keys of ``training`` need no prefix.
        select_by: Which run of a candidate, and which candidate, is best on validation: the task's
            ``metric``, or ``validation_loss`` as in Speedy Gonzales.
    """

    training: TrainingOverrides = TrainingOverrides()
    grid: Grid = Field(default_factory=dict)
    select_by: Literal["metric", "validation_loss"] = "metric"


def key_of(axis: str) -> str:
    """The recipe key that an axis stands for: those of ``training`` need no prefix."""
    return f"training.{axis}" if axis in TrainingSpec.model_fields else axis


def is_whole(axis: str) -> bool:
    """Whether the range of an axis is of whole numbers."""
    return axis.removeprefix("training.") in _WHOLE


class RangeSpec(Spec):
    """Numbers from ``low`` to ``high``; ``log``: evenly in the logarithm."""

    low: float
    high: float
    log: bool = False
    step: Positive | None = None

    @model_validator(mode="after")
    def _ascends(self) -> RangeSpec:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("`low` must be below `high`, and above 0 with `log`")
        if self.log and self.step is not None:
            raise ValueError("`log` and `step` exclude each other")
        return self


_Space: TypeAlias = Annotated[
    Annotated[RangeSpec, Tag("<section>")]
    | Annotated[Axis, Tag("<list>")]
    | Annotated[Axis, Tag("<value>")],
    Discriminator(shape),
]


class SearchSpec(Spec):
    """A search in place of a grid, by Optuna.

    Attributes:
        n_trials: For each data set and student.
        space: By axis: a list to choose from, or ``{low, high}``.
        sampler: ``tpe`` or ``random``.
        seed: The same seed asks for the same trials.
        prune: Give a trial up where its best value is below the median of those before it.
        startup_trials: Finished ones before anything is pruned.
        warmup_evaluations: No pruning before that many validations.
        parallel: Trials asked for at a time.
    """

    n_trials: Count
    space: Annotated[dict[str, _Space], Field(min_length=1)]
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Annotated[int, Field(ge=0)] = 13
    prune: bool = True
    startup_trials: Count = 4
    warmup_evaluations: Annotated[int, Field(ge=0)] = 1
    parallel: Count = 1


class DistilSpec(Spec):
    """How students follow the selected teacher.

    Attributes:
        training: Differences from ``base.training``; also of the students without distillation.
        term, alpha, temperature: alpha x labels + (1 - alpha) x term, the term at this
            temperature (Speedy Gonzales, section 3: kl, 0 and 1).
        objective: Other terms, in place of those three.
        grid: Values by recipe key, or of ``term``, ``alpha`` and ``temperature``.
        search: In place of ``grid``.
        n_teachers: Follow so many of the best candidates at once, with equal weights.
        select_by: Which run of a student is best on validation.
        without_distillation: Also train every student on the gold labels alone, over the training
            keys of the grid or the search.
        cache: Run the selected teacher once and keep its outputs.
    """

    training: TrainingOverrides = TrainingOverrides()
    term: LossName = "kl"
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 1.0
    objective: Annotated[tuple[TermSpec, ...], BeforeValidator(as_tuple)] | None = None
    grid: Grid = Field(default_factory=dict)
    search: SearchSpec | None = None
    n_teachers: Count = 1
    select_by: Literal["metric", "validation_loss"] = "metric"
    without_distillation: bool = True
    cache: bool = True

    @model_validator(mode="after")
    def _one_choice(self) -> DistilSpec:
        if self.search is not None and self.grid:
            raise ValueError("give `grid` or `search`, not both")
        axes = set(self.grid) | set(self.search.space if self.search else ())
        clash = sorted(axes & set(LOSS_AXES)) if self.objective is not None else []
        if clash:
            raise ValueError(
                f"`objective` is fixed, so {', '.join(clash)} cannot vary: remove one of them, or "
                "write the axis as `objective.0.weight`"
            )
        return self


class SweepSpec(Spec):
    """A sweep file.

    Attributes:
        base: Keys of a recipe that all runs share.
        datasets: By name, keys of a recipe over those of ``base`` (``task``, ``data``, ...); or
            names of the catalogue.
        teachers: Candidates by name: ``teacher`` sections; or names of the catalogue.
        students: By name: ``student`` sections; or names of the catalogue.
        only: Names of ``datasets`` to keep; all of them without it.
        seeds: The first is that of every grid; the best settings are repeated with the others.
        reference: The model that speed-ups are relative to; by default the first candidate.
        keep: Whose weights stay on disk: the ``selected`` trials', or ``all``.
    """

    name: Text | None = None
    description: Text | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    datasets: Annotated[dict[Name, dict[str, Any]], _by_name("dataset"), Field(min_length=1)]
    teachers: Annotated[dict[Name, Candidate], _by_name("model"), Field(min_length=1)]
    students: Annotated[
        dict[Name, Candidate], _by_name("model", **{"from": "checkpoint"}), Field(min_length=1)
    ]
    only: Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)] | None = None
    finetune: FinetuneSpec = FinetuneSpec()
    distil: DistilSpec = DistilSpec()
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**32)], ...],
        BeforeValidator(as_tuple),
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = (13,)
    reference: Text | None = None
    keep: Literal["selected", "all"] = "selected"
