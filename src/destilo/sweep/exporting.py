"""The collection itself: the best model of every student, where people look for models."""

from __future__ import annotations

import shutil
from pathlib import Path

from destilo.records import Collection
from destilo.sweep.storage import Storage

_ORIGIN = ".trial"


def export_students(collection: Collection, storage: Storage, folder: Path) -> list[Path]:
    """Copy the distilled students to ``DATASET/STUDENT``, in Hugging Face layout.

    Of several seeds it is the first. What is there already is left alone.

    Args:
        collection: Says which trials were selected.
        storage: Where they lie.
        folder: Made if needed.

    Returns:
        The folders of the models.
    """
    made: dict[tuple[str, str], Path] = {}
    for trial in collection.trials:
        name = (trial.dataset, trial.model)
        mine = trial.selected and trial.role == "student" and trial.stage == "distil"
        if mine and name not in made:
            made[name] = _copy(trial.trial, storage, folder / trial.dataset / trial.model)
    return list(made.values())


def _copy(trial: str, storage: Storage, target: Path) -> Path:
    source, origin = storage.fetch(f"trials/{trial}") / "student", target / _ORIGIN
    there = origin.exists() and origin.read_text(encoding="utf-8") == trial
    if there or not source.is_dir():
        return target
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    (partial / _ORIGIN).write_text(trial, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    return target
