"""``data: {dataset: NAME}``: a data set of the catalogue becomes the splits of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from destilo.catalogue.datasets import DatasetEntry, dataset_entry
from destilo.errors import InputError, RecipeError
from destilo.recipe.paths import is_file, is_folder, seen_from
from destilo.recipe.places import Key, Place, Places

_KEYS = ("dataset", "folder")
SPLITS = ("train", "validation", "test", "unlabelled")
"""What a data set's name stands for, and what replaces it where a recipe names another."""


def expand_data(value: dict[str, Any], places: dict[Key, Place]) -> None:
    """Put the splits of a named data set in the place of its name.

    Keys written beside the name win: a split with a ``format`` of its own, or a share set aside,
    stands for the whole split; other keys of a split are added to it. ``task`` and ``language``
    are the data set's where the recipe has none.

    Args:
        value: A recipe as plain values; changed.
        places: Where each key was written; what is added has the place of the name.

    Raises:
        RecipeError: No such data set, or it cannot be had as asked, or a split is missing.
    """
    data = value.get("data")
    if not isinstance(data, dict) or "dataset" not in data:
        _refuse_folder(data, places)
        return
    place = Places(places).find(("data", "dataset")) or Place("")
    prefix = f"{place.text}: data.dataset: " if place.text else "data.dataset: "
    name, folder = data.pop("dataset"), data.pop("folder", None)
    if not isinstance(name, str):
        raise RecipeError(f"{prefix}must be the name of one data set, not {name!r}.")
    try:
        entry = dataset_entry(name)
    except InputError as error:
        remedy = "`destilo list datasets` shows them; files of your own need no name."
        raise RecipeError(f"{prefix}{error} {remedy}") from None
    if folder is None:
        splits = _from_hub(entry, prefix)
    else:
        seen = Places(places).find(("data", "folder")) or Place("")
        splits = _from_folder(entry, _text(folder, prefix), seen, prefix)
    for role, source in splits.items():
        written = data.get(role)
        data[role] = _joined(source, written) if role in data else source
        if written is None:
            places[("data", role)] = place
    _require_splits(entry, data, prefix)
    for key, fact in (("task", entry.task), ("language", entry.language)):
        if value.setdefault(key, fact) != fact and key == "task":
            raise RecipeError(
                f"{prefix}{name} is for {fact}, the recipe's task is {value[key]}. "
                "Change `task`, or name another data set."
            )


def _refuse_folder(data: Any, places: dict[Key, Place]) -> None:
    if isinstance(data, dict) and "folder" in data:
        place = Places(places).find(("data", "folder"))
        prefix = f"{place.text}: " if place and place.text else ""
        raise RecipeError(
            f"{prefix}data.folder: says where a data set of the catalogue lies, but none is named. "
            "Add `dataset: NAME`, or write the splits."
        )


def _text(folder: Any, prefix: str) -> str:
    if isinstance(folder, str) and folder:
        return folder
    where = prefix.replace("data.dataset", "data.folder")
    raise RecipeError(f"{where}must be a folder, not {folder!r}.")


def _from_hub(entry: DatasetEntry, prefix: str) -> dict[str, Any]:
    if not entry.hub:
        raise RecipeError(
            f"{prefix}{entry.name} is not on the hub. {entry.notes} "
            f"Add `folder: DIR` with its files in DIR/{entry.name}: {_names(entry)}."
        )
    return entry.hub


def _from_folder(entry: DatasetEntry, folder: str, place: Place, prefix: str) -> dict[str, Any]:
    """Its splits as files; splits that are not there are left out."""
    if not entry.local:
        raise RecipeError(
            f"{prefix}{entry.name} has no known layout as files. Take `folder` away to read it "
            "from the hub, or write the splits with their `format` and `path`."
        )
    base = Path(seen_from(place.folder, folder))
    if not is_folder(base):
        where = prefix.replace("data.dataset", "data.folder")
        raise RecipeError(f"{where}{base} is not a folder. Name the one that holds {entry.name}.")
    own = base / entry.name if is_folder(base / entry.name) else base
    splits: dict[str, Any] = {}
    for role, source in entry.local.items():
        if "path" not in source:
            splits[role] = source
            continue
        path = (own / source["path"]).resolve()
        if is_file(path):
            splits[role] = {**source, "path": str(path)}
    if not any("path" in source for source in splits.values()):
        raise RecipeError(
            f"{prefix}none of the files of {entry.name} is in {own}: {_names(entry)}. "
            "Name the folder that holds them."
        )
    return splits


def _names(entry: DatasetEntry) -> str:
    return ", ".join(str(one["path"]) for one in entry.local.values() if "path" in one)


def _joined(source: Mapping[str, Any], written: Any) -> Any:
    """Lay what the recipe says of a split over what the catalogue says."""
    if not isinstance(written, Mapping):
        return written
    whole = "format" in written or "fraction" in written or "fraction" in source
    named = bool(written) and all(isinstance(inner, Mapping) for inner in written.values())
    if whole or (named and "columns" not in written):
        return written
    return {**source, **written}


def _require_splits(entry: DatasetEntry, data: Mapping[str, Any], prefix: str) -> None:
    remedies = {
        "train": "`train: {format: ..., path: FILE}` (rows of another data set, or your own)",
        "validation": "`validation: {fraction: 0.1}` (a share of the training rows)",
    }
    missing = [role for role in remedies if data.get(role) is None]
    if missing:
        raise RecipeError(
            f"{prefix}{entry.name} has no {' and no '.join(missing)} rows here. Beside it, add "
            f"{' and '.join(remedies[role] for role in missing)}."
        )
