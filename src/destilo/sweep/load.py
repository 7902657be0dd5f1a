"""Load a sweep from a file, a shipped name or a mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from destilo.catalogue.datasets import DATASETS
from destilo.catalogue.models import MODELS
from destilo.errors import RecipeError, suggest
from destilo.recipe.load import read_draft
from destilo.recipe.paths import is_folder, seen_from
from destilo.recipe.places import Key, Place, Places
from destilo.recipe.problems import at_place, describe_problems
from destilo.recipe.training_spec import TrainingSpec
from destilo.sweep.schema import (
    LOSS_AXES,
    CandidateSpec,
    DistilSpec,
    RangeSpec,
    SweepSpec,
    is_whole,
    key_of,
)


@dataclass(frozen=True)
class Sweep:
    """A sweep as read.

    Attributes:
        spec: Its sections, validated.
        places: Where each key was written, for the errors of the recipes made of them.
    """

    spec: SweepSpec
    places: Mapping[Key, Place]

    @property
    def name(self) -> str:
        return self.spec.name or "sweep"

    @property
    def reference(self) -> str:
        """The model that speed-ups are relative to."""
        return self.spec.reference or next(iter(self.spec.teachers))


def load_sweep(
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> Sweep:
    """Load a sweep and validate it.

    Args:
        source: A file, the name of a shipped sweep, or a mapping.
        overrides: ``a.b=value`` each, as for recipes.
        datasets: Keep these data sets only.

    Raises:
        RecipeError: All problems, one a line, with file and line.
    """
    draft = read_draft(source, overrides=overrides)
    places = Places(draft.places)
    if "datasets" not in draft.value:
        raise RecipeError(
            f"{draft.places[()].text or 'the sweep'}: has no `datasets`, so it is no sweep. A "
            "single recipe is for `destilo run`; `destilo list sweeps` shows what is shipped."
        )
    try:
        spec = SweepSpec.model_validate(draft.value)
    except ValidationError as error:
        problems = describe_problems(error, places, schema=SweepSpec)
        raise RecipeError("\n".join(problems)) from None
    _check_catalogue(draft.value, places)
    for name in spec.only or ():
        if name not in spec.datasets:
            message = suggest(name, spec.datasets, kind="data set of the sweep")
            raise RecipeError(at_place(places, ("only",), message))
    for name in datasets:
        if name not in spec.datasets:
            raise RecipeError(suggest(name, spec.datasets, kind="data set of the sweep"))
    wanted = datasets or spec.only
    if wanted:
        chosen = {name: spec.datasets[name] for name in spec.datasets if name in wanted}
        spec = spec.model_copy(update={"datasets": chosen})
    _check_sections(spec, places)
    _check_axes(spec, places)
    _check_names(spec, places)
    return Sweep(spec, draft.places)


def _check_catalogue(value: Mapping[str, Any], places: Places) -> None:
    """Refuse a name in a plain list, or after ``dataset``, that the catalogue does not have."""
    problems = []
    for kind in ("teachers", "students"):
        names = value[kind] if isinstance(value[kind], list) else ()
        for number, name in enumerate(names):
            place = places.find((kind, number)) or Place("")
            if name in MODELS or is_folder(seen_from(place.folder, name)):
                continue
            message = suggest(name, MODELS, kind="model of the catalogue")
            remedy = f"{message} Another model needs a section: `NAME: {{model: ...}}`."
            problems.append(at_place(places, (kind, number), remedy))
    datasets = value["datasets"]
    named: list[tuple[Key, Any]] = (
        [(("datasets", number), name) for number, name in enumerate(datasets)]
        if isinstance(datasets, list)
        else [
            (("datasets", name, *inner, "dataset"), holder["dataset"])
            for name, section in datasets.items()
            for inner, holder in (((), section), (("data",), section.get("data")))
            if isinstance(holder, Mapping) and "dataset" in holder
        ]
    )
    shared = value.get("base", {}).get("data")
    if isinstance(shared, Mapping) and "dataset" in shared:
        named.append((("base", "data", "dataset"), shared["dataset"]))
    for key, name in named:
        if name not in DATASETS:
            message = suggest(str(name), DATASETS, kind="data set of the catalogue")
            problems.append(at_place(places, key, message))
    if problems:
        raise RecipeError("\n".join(problems))


_PLURAL = {
    "teacher": "`teachers`",
    "student": "`students`",
    "objective": "`distil`",
    "stages": "`distil.objective`",
}
"""Keys of a single recipe, and what a sweep makes them of."""


def _check_sections(spec: SweepSpec, places: Places) -> None:
    """Refuse what a data set cannot decide, rather than leave it out unsaid."""
    sections: list[tuple[Key, Mapping[str, Any]]] = [(("base",), spec.base)]
    sections += [(("datasets", name), section) for name, section in spec.datasets.items()]
    problems = [
        at_place(places, (*key, name), f"a sweep makes it of {source}: write it there.")
        for key, section in sections
        for name, source in _PLURAL.items()
        if name in section
    ]
    if problems:
        raise RecipeError("\n".join(problems))


def _check_axes(spec: SweepSpec, places: Places) -> None:
    problems = []
    axes: list[tuple[Key, Sequence[str]]] = [
        (("finetune", "grid"), list(spec.finetune.grid)),
        (("distil", "grid"), list(spec.distil.grid)),
        (
            ("distil", "search", "space"),
            list(spec.distil.search.space if spec.distil.search else ()),
        ),
    ]
    for kind, candidates in (("teachers", spec.teachers), ("students", spec.students)):
        axes += [((kind, name, "grid"), list(one.grid or ())) for name, one in candidates.items()]
    for key, names in axes:
        loss = key[0] in ("distil", "students")
        known = [*TrainingSpec.model_fields, *(LOSS_AXES if loss else ())]
        for name in names:
            if name not in known and "." not in name:
                message = suggest(name, known, kind="axis")
                problems.append(
                    at_place(
                        places,
                        (*key, name),
                        f"{message} Or a recipe key such as `student.dropout`.",
                    )
                )
            elif (why := _no_axis(name, names, spec)) is not None:
                problems.append(at_place(places, (*key, name), why))
    space = spec.distil.search.space if spec.distil.search else {}
    for name, values in space.items():
        if isinstance(values, RangeSpec) and is_whole(name):
            ends = (values.low, values.high, values.step or 1.0)
            if not all(end.is_integer() for end in ends):
                why = "takes whole numbers: write such for `low`, `high` and `step`."
                problems.append(at_place(places, ("distil", "search", "space", name), why))
    problems += _losses(spec, places)
    if problems:
        raise RecipeError("\n".join(problems))


def _no_axis(name: str, names: Sequence[str], spec: SweepSpec) -> str | None:
    """Why an axis that is spelt well cannot be one of these."""
    twin = next(one for one in names if key_of(one) == key_of(name))
    if twin != name:
        return f"is the same key as `{twin}` beside it. Remove one of them."
    if name in ("seed", "training.seed"):
        return "seeds are no axis: write them under `seeds`."
    if name.split(".")[0] == "objective" and spec.distil.objective is None:
        return (
            "there is no `distil.objective` whose entries could vary. Write it, or vary "
            f"{', '.join(LOSS_AXES)}."
        )
    return None


def _losses(spec: SweepSpec, places: Places) -> list[str]:
    """What is wrong with values of term, alpha and temperature: no recipe has these keys."""
    grids: list[tuple[Key, Mapping[str, Any]]] = [(("distil", "grid"), spec.distil.grid)]
    grids += [(("students", name, "grid"), one.grid or {}) for name, one in spec.students.items()]
    if spec.distil.search is not None:
        grids.append((("distil", "search", "space"), spec.distil.search.space))
    problems = []
    for key, grid in grids:
        for axis in [name for name in LOSS_AXES if name in grid]:
            try:
                for value in _ends(grid[axis]):
                    DistilSpec.model_validate({axis: value})
            except ValidationError as error:
                for told in describe_problems(error, Places(), schema=DistilSpec):
                    message = told.removeprefix(f"{axis}: ")
                    problems.append(at_place(places, (*key, axis), message))
    return problems


def _ends(values: Any) -> tuple[Any, ...]:
    """The values of an axis that stand for all of it."""
    return (values.low, values.high) if isinstance(values, RangeSpec) else tuple(values)


def _check_names(spec: SweepSpec, places: Places) -> None:
    known = [*spec.teachers, *spec.students]
    wanted, candidates = spec.distil.n_teachers, len(spec.teachers)
    if wanted > candidates:
        message = (
            f"asks for the best {wanted} of {candidates}. Add to `teachers`, or ask for fewer."
        )
        raise RecipeError(at_place(places, ("distil", "n_teachers"), message))
    if spec.reference is not None and spec.reference not in known:
        message = suggest(spec.reference, known, kind="model of the sweep")
        raise RecipeError(at_place(places, ("reference",), message))
    for name in spec.teachers.keys() & spec.students.keys():
        if _origin(spec.teachers[name]) != _origin(spec.students[name]):
            message = (
                f"'{name}' is also a teacher, and another model: the tables could not tell them "
                "apart. Rename one."
            )
            raise RecipeError(at_place(places, ("students", name), message))


def _origin(candidate: CandidateSpec) -> Any:
    return candidate.section.get("model")
