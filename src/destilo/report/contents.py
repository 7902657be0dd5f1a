"""Read what a Run folder holds; every file may be missing, none may be damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from destilo.errors import InputError
from destilo.recipe.yaml_text import read_yaml
from destilo.records import EvalResult, ProfileResult, Record
from destilo.runs import MANIFEST, damaged, read_json

T = TypeVar("T", bound=Record)
TRAINED = ("teacher", "student", "baseline")


@dataclass(frozen=True)
class RunContents:
    """What a Run says about itself; empty where a stage has not been done.

    Attributes:
        path: The folder.
        manifest: Stages, versions, the recipe's digest.
        recipe: The recipe as plain values.
        data: Splits, labels and leaks.
        preflight: What was found before training.
        evaluations: Every model on every split.
        profiles: Size and speed of every model.
    """

    path: Path
    manifest: Mapping[str, Any]
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]
    preflight: Mapping[str, Any]
    evaluations: tuple[EvalResult, ...]
    profiles: tuple[ProfileResult, ...]

    @property
    def name(self) -> str:
        """The recipe's name, else the folder's."""
        return str(self.recipe.get("name") or self.path.resolve().name)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that were evaluated, tests first."""
        names = dict.fromkeys(result.split for result in self.evaluations)
        return tuple(sorted(names, key=lambda name: not name.startswith("test")))

    def models_on(self, split: str) -> tuple[EvalResult, ...]:
        """The results on a split: teachers, student, baseline, others."""
        found = [result for result in self.evaluations if result.split == split]
        return tuple(sorted(found, key=lambda result: model_rank(result.model)))

    def evaluation_of(self, model: str, split: str) -> EvalResult | None:
        """One model on one split."""
        wanted = (result for result in self.evaluations if result.split == split)
        return next((result for result in wanted if result.model == model), None)

    def profile_of(self, model: str) -> ProfileResult | None:
        """A model's size and speed."""
        return next((profile for profile in self.profiles if profile.model == model), None)

    def holds(self, stage: str) -> bool:
        """Whether a stage is finished for the recipe that the run is for now.

        A folder that was used for another recipe keeps its models until they are replaced.
        """
        plan = self.manifest.get("plan")
        if not isinstance(plan, Mapping):  # says nothing about it
            return True
        entry = (self.manifest.get("stages") or {}).get(stage) or {}
        return stage in plan and entry.get("key") == plan[stage].get("key")

    @property
    def logs(self) -> tuple[Path, ...]:
        """The logs of the trainings whose models are those of the recipe; teachers first."""
        found = (self.path / "training").glob("*/log.jsonl")
        plan = self.manifest.get("plan")
        if isinstance(plan, Mapping):
            names = {
                name
                for stage, planned in plan.items()
                if self.holds(stage)
                for name in planned.get("trainings", ())
            }
            found = (log for log in found if log.parent.name in names)
        return tuple(sorted(found, key=lambda log: model_rank(log.parent.name)))

    def setting(self, section: str, key: str) -> Any:
        """A value of the recipe, ``None`` where it is not there."""
        return (self.recipe.get(section) or {}).get(key)


def read_run(path: Path) -> RunContents:
    """Read a Run folder.

    Raises:
        InputError: If it is no folder, or one of its files is damaged.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder. Name the output folder of a run.")
    recipe_file = path / "recipe.yaml"
    recipe: Any = {}
    if recipe_file.exists():
        text = recipe_file.read_text(encoding="utf-8")
        recipe = read_yaml(text, name=str(recipe_file)).value or {}
    return RunContents(
        path=path,
        manifest=_object(path / MANIFEST),
        recipe=recipe if isinstance(recipe, dict) else {},
        data=_object(path / "data.json"),
        preflight=_object(path / "preflight.json"),
        evaluations=read_records(path / "evaluation.json", EvalResult),
        profiles=read_records(path / "profile.json", ProfileResult),
    )


def model_rank(model: str) -> tuple[int, str]:
    """Order models: teachers, student, baseline, others."""
    kind = model.partition("-")[0]
    return (TRAINED.index(kind) if kind in TRAINED else len(TRAINED), model)


def _object(path: Path) -> Mapping[str, Any]:
    value = read_json(path) if path.exists() else {}
    if not isinstance(value, dict):
        raise damaged(path, "not a JSON object")
    return value


def read_records(path: Path, kind: type[T]) -> tuple[T, ...]:
    """Read what was measured; nothing where the file is not there.

    Raises:
        InputError: If the file is damaged.
    """
    results = _object(path).get("results", [])
    try:
        return tuple(kind.model_validate(item) for item in results)
    except (ValidationError, TypeError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None
