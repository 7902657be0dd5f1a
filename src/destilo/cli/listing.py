"""`destilo list`: what there is to name in a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from destilo.catalogue.datasets import DatasetEntry, list_datasets
from destilo.catalogue.models import ModelEntry, Role, list_models
from destilo.catalogue.sizes import Sizes, count_from_config
from destilo.cli.options import JsonOption
from destilo.errors import InputError, suggest
from destilo.terminal import output_console, say, say_json, table

KINDS = ("recipes", "sweeps", "tasks", "terms", "models", "teachers", "students", "datasets")
_LENGTH = 512
_ROLES: dict[str, Role | None] = {"models": None, "teachers": "teacher", "students": "student"}


def list_things(
    what: Annotated[
        str,
        typer.Argument(help=", ".join(KINDS) + ".", metavar="WHAT"),
    ] = "recipes",
    as_json: JsonOption = False,
) -> None:
    """List what a recipe can name.

    destilo list teachers    for teacher: {model: NAME, finetune: {}}

    destilo list students    for student: {from: checkpoint, model: NAME}

    destilo list datasets    for data: {dataset: NAME}

    Sizes come from formulas over configurations; nothing is downloaded.
    """
    if what in _ROLES:
        _list_models(what, as_json=as_json)
    elif what == "datasets":
        _list_datasets(as_json=as_json)
    else:
        _list_words(what, as_json=as_json)


def _list_words(what: str, *, as_json: bool) -> None:
    from destilo.recipe.catalogue import list_tasks, list_terms, shipped_recipes, shipped_sweeps

    if what == "tasks":
        entries: Any = [asdict(entry) for entry in list_tasks()]
        columns = ["name", "summary", "formats", "metrics"]
        rows = [[_joined(entry[column]) for column in columns] for entry in entries]
    elif what in ("recipes", "sweeps", "terms"):
        makers = {"recipes": shipped_recipes, "sweeps": shipped_sweeps, "terms": list_terms}
        entries = makers[what]()
        columns, rows = ["name", "what it does"], [[name, text] for name, text in entries.items()]
    else:
        raise InputError(suggest(what, KINDS, kind="list"))
    if as_json:
        say_json(entries)
        return
    output_console().print(table(what, columns, rows))


def _joined(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _list_models(what: str, *, as_json: bool) -> None:
    entries = [(entry, _sizes(entry)) for entry in list_models(_ROLES[what])]
    if as_json:
        say_json([asdict(entry) | {"sizes": asdict(sizes)} for entry, sizes in entries])
        return
    console = output_console()
    columns = ["name", "params", "embedding", "MACs", "THOP", "layers x width", "casing"]
    console.print(table(what, columns, [_model_row(*one) for one in entries]))
    say(
        f"Of a classifier with 3 classes, for one row of {_LENGTH} pieces. MACs: all matrix\n"
        "products; THOP: as that package counts (the published speed-ups), without those\n"
        "of attention.\n"
    )
    places = [[entry.name, entry.hub or "", entry.licence] for entry, _ in entries]
    console.print(table("where they are", ["name", "hub", "licence"], places))
    say(
        "In a recipe the name is enough: `model: NAME`. With `weights: random` beside it\n"
        "the architecture alone is built, and nothing is downloaded."
    )


def _sizes(entry: ModelEntry) -> Sizes:
    sizes = count_from_config(entry.config, sequence_length=_LENGTH)
    assert sizes is not None  # every architecture of the catalogue has a formula
    return sizes


def _model_row(entry: ModelEntry, sizes: Sizes) -> list[str]:
    config = entry.config
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    width = config.get("hidden_size", config.get("dim"))
    return [
        entry.name,
        f"{sizes.parameters / 1e6:.1f} M",
        f"{sizes.embedding_parameters / 1e6:.1f} M",
        f"{sizes.macs / 1e9:.2f} G",
        f"{sizes.macs_of_modules / 1e9:.2f} G",
        f"{layers} x {width}",
        entry.casing,
    ]


def _list_datasets(*, as_json: bool) -> None:
    entries = list_datasets()
    if as_json:
        say_json([asdict(entry) for entry in entries])
        return
    console = output_console()
    columns = ["name", "task", "language", "score", "from"]
    rows = [[one.name, one.task, one.language, one.metric, _origins(one)] for one in entries]
    console.print(table("datasets", columns, rows))
    say("")
    facts = [[one.name, one.licence, f"{one.title}. {one.notes}"] for one in entries]
    console.print(table("about them", ["name", "licence", "what to know"], facts))
    say(
        "\nFrom the hub: `data: {dataset: NAME}`. From files in DIR/NAME, or in DIR:\n"
        "`data: {dataset: NAME, folder: DIR}`. `--json` shows which files and columns."
    )


def _origins(entry: DatasetEntry) -> str:
    return ", ".join(name for name, there in (("hub", entry.hub), ("files", entry.local)) if there)
