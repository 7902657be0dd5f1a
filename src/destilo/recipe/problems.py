"""Say what pydantic found wrong with a recipe in the words of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from destilo.errors import suggest
from destilo.recipe.places import Key, Places, dotted
from destilo.recipe.schema import Recipe

NOT_YET: Mapping[tuple[str, str], str] = {
    ("task", "masked-lm"): "the task masked-lm",
}
"""Named in the design, and refused by name rather than as a misspelling."""

_SHORTHAND = {
    "DataSpec": ("dataset", "folder"),
    "TeacherSpec": ("weights",),
    "StudentSpec": ("weights",),
}
"""Keys that names of the catalogue bring, gone before a recipe is validated."""

_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "dict": "a section (`key: value` lines)",
    "model": "a section (`key: value` lines)",
}


def describe_problems(
    error: ValidationError, places: Places, *, schema: type[BaseModel] = Recipe
) -> list[str]:
    """Turn each error into ``FILE:LINE: key.path: what is wrong. What to do``.

    Args:
        error: What validating a mapping as ``schema`` raised.
        places: Where its keys were written.
        schema: What knows the keys.
    """
    problems = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":
            continue  # a consequence of another error in the same section
        key = tuple(part for part in detail["loc"] if not str(part).startswith("<"))
        problems.append(at_place(places, key, _describe(detail, key, schema)))
    return problems


def at_place(places: Places, key: Key, message: str) -> str:
    """Put the place, where known, and the key before a message."""
    place = places.find(key)
    where = f"{place.text}: " if place and place.text else ""
    return f"{where}{dotted(key)}: {message}" if key else f"{where}{message}"


def _describe(detail: ErrorDetails, key: Key, schema: type[BaseModel]) -> str:
    kind, value = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return suggest(str(key[-1]), _keys_beside(detail["loc"], schema), kind="key")
    if kind == "missing":
        return f"is missing. Add `{key[-1]}:` to {_section(key)}."
    if kind == "literal_error":
        return _wrong_name(str(key[-1]), value, context["expected"])
    if kind == "value_error":
        return f"{context['error']}."
    if kind == "too_short":
        return "is an empty list. Give at least one entry, or leave the key out."
    if kind == "string_too_short":
        return "is empty. Write a value, or leave the key out."
    if kind == "string_pattern_mismatch":
        return f"{_show(value)} is not a language code. Write two or three letters, such as `es`."
    if kind == "finite_number":
        return "must be a finite number."
    wanted = _WANTED.get(kind.removesuffix("_type"))
    if wanted is not None:
        return f"must be {wanted}, not {_show(value)}.{_type_advice(wanted, value)}"
    message = detail["msg"].replace("Input should be", "must be")
    return f"{message}, not {_show(value)}."


def _section(key: Key) -> str:
    return f"`{dotted(key[:-1])}`" if len(key) > 1 else "the recipe"


def _show(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text '{value[:60]}'"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a section"
    return type(value).__name__


def _type_advice(wanted: str, value: Any) -> str:
    if wanted == "text" and isinstance(value, int | float):
        return f" Write it in quotes: '{str(value).lower()}'."
    if wanted == "a list" and not isinstance(value, dict):
        return f" Write [{value}]." if value is not None else " Write its entries, or leave it out."
    if wanted == "a list":
        return " Begin each entry with a dash."
    if wanted == "true or false" and value in ("yes", "no", "on", "off"):
        return f" Write {'true' if value in ('yes', 'on') else 'false'}."
    if wanted in ("a number", "a whole number") and isinstance(value, str) and _is_number(value):
        return " Take the quotes away."
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _wrong_name(key: str, value: Any, expected: str) -> str:
    options = [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
    if (key, str(value)) in NOT_YET:
        planned = NOT_YET[key, str(value)]
        return f"{planned} is not available yet. Available: {', '.join(options)}."
    if not isinstance(value, str):
        return f"must be one of {', '.join(options)}, not {_show(value)}."
    return suggest(value, options, kind=key)


def _keys_beside(loc: Key, schema: type[BaseModel]) -> list[str]:
    """List the keys that may stand where the last part of ``loc`` stands."""
    models: list[type[BaseModel]] = [schema]
    for part in loc[:-1]:
        if isinstance(part, str) and part.startswith("<"):
            named = [model for model in models if f"<{model.__name__}>" == part]
            models = named or models
            continue
        inner = [model for outer in models for model in _models_of(outer, part)]
        models = inner or models  # an index or a free name: still inside the same models
    keys = [field.alias or name for model in models for name, field in model.model_fields.items()]
    return [*keys, *(name for model in models for name in _SHORTHAND.get(model.__name__, ()))]


def _models_of(model: type[BaseModel], part: str | int) -> Iterator[type[BaseModel]]:
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            yield from dict.fromkeys(_models_in(field.annotation))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
