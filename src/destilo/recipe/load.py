"""Load a recipe from a file, a shipped name or a mapping, and write it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from destilo.errors import RecipeError, suggest
from destilo.recipe.catalogue import shipped_names, shipped_path, sweep_names
from destilo.recipe.named_data import SPLITS, expand_data
from destilo.recipe.named_models import expand_models
from destilo.recipe.paths import is_file, is_folder, seen_from
from destilo.recipe.places import Key, Place, Places, dotted
from destilo.recipe.problems import describe_problems
from destilo.recipe.schema import Recipe
from destilo.recipe.yaml_text import read_yaml, write_yaml

_FILE_KEYS = {
    "data": {"path"},
    "teacher": {"model", "tokenizer"},
    "student": {"model", "config", "tokenizer"},
}
"""The keys of each section whose text may name a file or folder."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A recipe, or another file of keys and values, not yet validated.

    Attributes:
        value: Plain values.
        places: Where each was written.
    """

    value: dict[str, Any]
    places: dict[Key, Place]


def load_recipe(source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and validate it.

    Paths in it are seen from the folder of the file they were written in, where they exist there;
    in shipped recipes, mappings and overrides, from the current folder. Whether the parts go
    together is for ``destilo.recipe.check``.

    Args:
        source: A file, the name of a shipped recipe, or a mapping.
        overrides: ``a.b=value`` each, the value in YAML; ``null`` takes a key back to its default.

    Raises:
        RecipeError: All problems, one a line, as ``FILE:LINE: key: what is wrong. What to do``.
    """
    return recipe_of(read_draft(source, overrides=overrides))


def read_draft(source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = ()) -> Draft:
    """Read a file of keys and values with what it ``extends`` and what is laid over it.

    Args:
        source: As in ``load_recipe``.
        overrides: Likewise.

    Raises:
        RecipeError: If it cannot be read.
    """
    if isinstance(source, Mapping):
        draft = _extend(Draft(_plain(source), {(): Place("")}), ())
    else:
        draft = _read_file(_find(source, Path()), ())
    for override in sorted(overrides, key=lambda one: not one.startswith("data.dataset")):
        _apply(draft, override)  # a named data set first: it replaces splits
    return draft


def recipe_of(draft: Draft) -> Recipe:
    """Validate a draft as a recipe; names of the catalogue and paths are resolved in place.

    Raises:
        RecipeError: All problems, one a line.
    """
    if "datasets" in draft.value:
        raise RecipeError(
            f"{draft.places[()].text or 'the recipe'}: is a sweep, not a recipe. "
            "Use `destilo sweep`."
        )
    expand_data(draft.value, draft.places)
    expand_models(draft.value, draft.places)
    places = Places(draft.places)
    _resolve_paths(draft, places)
    try:
        recipe = Recipe.model_validate(draft.value)
    except ValidationError as error:
        raise RecipeError("\n".join(describe_problems(error, places))) from None
    recipe._places = places
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML, defaults included, that loads back to the same digest."""
    return write_yaml(_written(recipe))


def _written(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        pairs = ((field.alias or name, getattr(value, name)) for name, field in fields.items())
        return {name: _written(inner) for name, inner in pairs if inner is not None}
    if isinstance(value, Mapping):
        return {name: _written(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_written(inner) for inner in value]
    return value


def _find(source: str | Path, folder: Path) -> Path:
    """Find the file that a name or path stands for, seen from ``folder``."""
    path = folder / Path(source).expanduser()
    is_name = isinstance(source, str) and Path(source).suffix == "" and "/" not in source
    shipped = [*shipped_names(), *sweep_names()] if is_name else []
    if source in shipped:
        return shipped_path(str(source))
    if is_file(path):
        return path
    if is_folder(path):
        raise RecipeError(f"{path}: is a folder. Name a recipe file in it.")
    if is_name:
        raise RecipeError(suggest(str(source), shipped, kind="recipe or file"))
    raise RecipeError(f"{path}: no such recipe file. Check the path from {Path.cwd()}.")


def _read_file(path: Path, extended_by: tuple[Path, ...]) -> Draft:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}). Check the file.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text. Save the file as UTF-8.") from None
    document = read_yaml(text, name=str(path))
    if document.value is None:
        raise RecipeError(f"{path}: the file is empty. `destilo copy demo FILE` writes a recipe.")
    if not isinstance(document.value, dict):
        raise RecipeError(f"{path}:1: a recipe is `key: value` lines, not {document.value!r:.40}.")
    folder = Path() if path.is_relative_to(shipped_path("demo").parent) else path.parent
    places = {key: Place(f"{path}:{line}", folder) for key, line in document.lines.items()}
    places[()] = Place(str(path), folder)
    return _extend(Draft(document.value, places), (*extended_by, path.resolve()))


def _extend(draft: Draft, chain: tuple[Path, ...]) -> Draft:
    """Lay a draft over the recipe that it ``extends``, if any."""
    if "extends" not in draft.value:
        return draft
    name = draft.value.pop("extends")
    place = draft.places.get(("extends",), draft.places[()])
    prefix = f"{place.text}: extends: " if place.text else "extends: "
    if not isinstance(name, str) or not name:
        raise RecipeError(f"{prefix}must be the name or path of one recipe, not {name!r}.")
    try:
        path = _find(name, place.folder)
    except RecipeError as error:
        raise RecipeError(f"{prefix}{error}") from None
    if path.resolve() in chain:
        names = " -> ".join(link.name for link in (*chain, path))
        raise RecipeError(f"{prefix}recipes extend each other in a circle: {names}. Break it.")
    base = _read_file(path, chain)
    base.places[()] = draft.places[()]
    for key in ("name", "description"):  # the base's own, not those of what extends it
        base.value.pop(key, None)
    merge_drafts(base, draft)
    return base


def merge_drafts(base: Draft, over: Draft, key: Key = ()) -> None:
    """Lay the keys of one draft over those of another, in place; an empty value takes one back."""
    target, new = _at(base.value, key), _at(over.value, key)
    for name, value in new.items():
        inner = (*key, name)
        both = isinstance(value, dict) and isinstance(target.get(name), dict)
        if both:
            if inner == ("data",) and "dataset" in value:
                _forget_splits(base)
            base.places[inner] = over.places.get(inner, Place(""))
            merge_drafts(base, over, inner)
            continue
        _forget_places(base.places, inner)
        if value is None:
            target.pop(name, None)
            continue
        target[name] = value
        base.places.update(
            (known, place) for known, place in over.places.items() if known[: len(inner)] == inner
        )


def _at(value: Any, key: Key) -> Any:
    for part in key:
        value = value[part]
    return value


def _forget_splits(draft: Draft) -> None:
    """Take away the splits that a data set named from here on stands for."""
    data = draft.value.get("data")
    if isinstance(data, dict) and "dataset" not in data:
        for name in (*SPLITS, "labels"):
            data.pop(name, None)
            _forget_places(draft.places, ("data", name))


def _forget_places(places: dict[Key, Place], key: Key) -> None:
    for known in [known for known in places if known[: len(key)] == key]:
        del places[known]


def _apply(draft: Draft, override: str) -> None:
    """Write one ``a.b=value`` into a draft."""
    origin = f"--set {override}"
    path, equals, text = override.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"{origin}: write it as key.path=value.")
    if parts == ["extends"]:
        raise RecipeError(f"{origin}: a base can be named in the recipe file only.")
    value = read_yaml(text, name=origin).value
    if parts == ["data", "dataset"] and value is not None:
        _forget_splits(draft)
    key: Key = ()
    holder: Any = draft.value
    for part in parts[:-1]:
        step = _step(holder, part, key, origin)
        if isinstance(holder, dict) and holder.get(step) is None:
            holder[step] = {}
            draft.places[(*key, step)] = Place(origin)
        holder, key = holder[step], (*key, step)
    last = _step(holder, parts[-1], key, origin)
    key = (*key, last)
    _forget_places(draft.places, key)
    if value is None and isinstance(holder, dict):
        holder.pop(last, None)
        return
    holder[last] = value
    draft.places[key] = Place(origin)


def _step(holder: Any, part: str, key: Key, origin: str) -> str | int:
    """Check that ``part`` may stand under ``key``; a number where that is a list."""
    if isinstance(holder, dict):
        return part
    if not isinstance(holder, list):
        raise RecipeError(f"{origin}: {dotted(key)} is a value, not a section with keys.")
    if not part.isdecimal() or int(part) >= len(holder):
        entries = f"0 to {len(holder) - 1}" if holder else "none"
        raise RecipeError(
            f"{origin}: {dotted(key)} is a list of {len(holder)}. Name an entry: {entries}."
        )
    return int(part)


def _resolve_paths(draft: Draft, places: Places) -> None:
    for section, names in _FILE_KEYS.items():
        for key, text in _texts(draft.value.get(section), (section,)):
            last = [part for part in key if isinstance(part, str)][-1]
            place = places.find(key)
            free = {"config", "columns"} & set(key[:-1])  # keys in there are not the recipe's own
            if last in names and not free and place and text not in ("teacher", "own"):
                _at(draft.value, key[:-1])[key[-1]] = seen_from(place.folder, text)


def _texts(value: Any, key: Key) -> Iterator[tuple[Key, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for part, inner in list(pairs):
            yield from _texts(inner, (*key, part))


def _plain(value: Any) -> Any:
    """Copy a mapping given from Python into the plain values that YAML would give."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else deepcopy(value)
