"""Models of the catalogue in a recipe: hub names, fewer layers, or random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from destilo.catalogue.models import MODELS, ModelEntry, model_entry
from destilo.errors import RecipeError, suggest
from destilo.recipe.model_facts import TOKENIZER_FILES
from destilo.recipe.paths import is_file, is_folder, seen_from
from destilo.recipe.places import Key, Place, Places, dotted

_WEIGHTS = ("pretrained", "random")
_ALGORITHMS = {
    "albert": "unigram",
    "deberta-v2": "unigram",
    "camembert": "unigram",
    "xlm-roberta": "unigram",
    "roberta": "byte-level-bpe",
    "modernbert": "byte-level-bpe",
}
"""How the published models of an architecture cut words; the others are ``wordpiece``."""

# Of the folder's model rather than of its architecture: what a new model gets anew.
_NOT_ARCHITECTURE = (
    *("architectures", "id2label", "label2id", "num_labels", "problem_type", "vocab_size"),
    *("transformers_version", "torch_dtype", "dtype", "_name_or_path"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"),
)


def expand_models(value: dict[str, Any], places: dict[Key, Place]) -> None:
    """Put what names of the catalogue stand for into ``teacher`` and ``student``.

    ``weights: random`` turns a model into its configuration; a tokenizer that is not given is
    then trained on the recipe's texts, at the configuration's size.

    Args:
        value: A recipe as plain values; changed.
        places: Where each key was written.

    Raises:
        RecipeError: A model that has no weights, or no place for its number of layers.
    """
    for key, section in _sections(value):
        context = _Context(key, section, places)
        weights = section.pop("weights", "pretrained")
        if weights not in _WEIGHTS:
            unknown = suggest(str(weights), _WEIGHTS, kind="kind of weights")
            raise RecipeError(context.says("weights", unknown))
        if weights == "random":
            _randomise(context)
        _name_hub(context)


class _Context:
    """A teacher or the student of a recipe, and how to speak of its keys."""

    def __init__(self, key: Key, section: dict[str, Any], places: dict[Key, Place]) -> None:
        self.key, self.section, self._places = key, section, places
        self.is_student = key[0] == "student"

    def says(self, name: str, message: str) -> str:
        key = (*self.key, name)
        place = Places(self._places).find(key)
        prefix = f"{place.text}: " if place and place.text else ""
        return f"{prefix}{dotted(key)}: {message}"

    def path(self, name: str) -> Path:
        """Where the text of a key leads, if it is a path."""
        place = Places(self._places).find((*self.key, name)) or Place("")
        return Path(seen_from(place.folder, self.section[name]))

    def entry(self, name: str) -> ModelEntry | None:
        """The catalogue's model that a key names; a folder of that name comes first."""
        text = self.section.get(name)
        if not isinstance(text, str) or text not in MODELS or is_folder(self.path(name)):
            return None
        return model_entry(text)


def _sections(value: Mapping[str, Any]) -> Iterator[tuple[Key, dict[str, Any]]]:
    teacher, student = value.get("teacher"), value.get("student")
    if isinstance(teacher, dict):
        yield ("teacher",), teacher
    elif isinstance(teacher, list):
        for number, one in enumerate(teacher):
            if isinstance(one, dict):
                yield ("teacher", number), one
    if isinstance(student, dict):
        yield ("student",), student


def _name_hub(context: _Context) -> None:
    """Replace names by hub names, with the layers that an entry keeps."""
    for name in ("model", "encoder", "tokenizer"):
        entry = context.entry(name)
        if entry is None:
            continue
        if entry.hub is None:
            raise RecipeError(
                context.says(
                    name,
                    f"{entry.name} is an architecture without published weights. "
                    "Write `weights: random` beside it, or name another model.",
                )
            )
        context.section[name] = entry.hub
        if entry.layers is None or name == "tokenizer":
            continue
        if not context.is_student:
            raise RecipeError(
                context.says(
                    name,
                    f"{entry.name} is a student: a teacher has all its layers. "
                    "Name another, or a folder with a model of that many.",
                )
            )
        context.section.setdefault("layers", entry.layers)
    entry = context.entry("config") if context.is_student else None
    if entry is not None:
        context.section["config"] = entry.config


def _randomise(context: _Context) -> None:
    """Keep of a model its configuration alone."""
    section = context.section
    if section.get("from") == "layers":
        raise RecipeError(
            context.says(
                "weights", "layers of the teacher are not random. Remove it, or change `from`."
            )
        )
    if section.get("model") is None:
        if section.get("config") is None:
            raise RecipeError(context.says("weights", "is said of a `model`. Name one."))
        return  # a configuration has random weights anyway
    entry = context.entry("model")
    if entry is not None:
        config, folder = entry.config, None
    else:
        folder = context.path("model")
        config = _read_config(context, folder)
    pieces = config.get("vocab_size", 30_000)
    model_type = str(config.get("model_type"))
    if folder is not None:
        config = {key: one for key, one in config.items() if key not in _NOT_ARCHITECTURE}
    del section["model"]
    section["config"] = config
    if context.is_student:
        section["from"] = "config"
    if section.get("tokenizer", "own") == "own":
        section["tokenizer"] = _tokenizer(folder, model_type, pieces)


def _tokenizer(folder: Path | None, model_type: str, pieces: int) -> str | dict[str, Any]:
    """That of the folder, if it holds one, or one to train."""
    if folder is not None and any(is_file(folder / name) for name in TOKENIZER_FILES):
        return str(folder)
    return {"algorithm": _ALGORITHMS.get(model_type, "wordpiece"), "vocab_size": pieces}


def _read_config(context: _Context, folder: Path) -> dict[str, Any]:
    text = context.section["model"]
    if not is_folder(folder):
        unknown = suggest(str(text), MODELS, kind="model of the catalogue or folder")
        raise RecipeError(context.says("model", unknown))
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(
            context.says("model", f"{folder}/config.json cannot be read ({error}). Check it.")
        ) from None
    if not isinstance(config, dict):
        raise RecipeError(context.says("model", f"{folder}/config.json is not a JSON object."))
    return config
