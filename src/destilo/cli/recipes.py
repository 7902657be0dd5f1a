"""The commands about recipes themselves: what there is, a copy to edit, a check of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from destilo.cli.options import JsonOption, RecipeArgument, SetOption
from destilo.errors import InputError, RecipeError, suggest
from destilo.terminal import complain, output_console, say, say_json, table


def list_things(
    what: Annotated[
        str, typer.Argument(help="tasks, recipes or terms.", metavar="[tasks|recipes|terms]")
    ] = "recipes",
    as_json: JsonOption = False,
) -> None:
    """List shipped recipes, tasks or loss terms."""
    from destilo.recipe.catalogue import list_tasks, list_terms, shipped_recipes

    if what == "tasks":
        entries: Any = [asdict(entry) for entry in list_tasks()]
        columns = ["name", "summary", "formats", "metrics"]
        rows = [[_joined(entry[column]) for column in columns] for entry in entries]
    elif what in ("recipes", "terms"):
        entries = shipped_recipes() if what == "recipes" else list_terms()
        columns, rows = ["name", "what it does"], [[name, text] for name, text in entries.items()]
    else:
        raise InputError(suggest(what, ("tasks", "recipes", "terms"), kind="list"))
    if as_json:
        say_json(entries)
        return
    output_console().print(table(what, columns, rows))


def _joined(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def copy(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name.", metavar="RECIPE")],
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
) -> None:
    """Copy a shipped recipe, comments and all, to a file of your own.

    destilo copy ner-es mine.yaml
    """
    from destilo.recipe.catalogue import copy_recipe
    from destilo.runs import reported_io

    with reported_io(target):
        path = copy_recipe(recipe, target)
    say(f"wrote {path}; edit it, then: destilo check {path}")


def check(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe before anything is loaded.

    Looks at keys, values, files and combinations that cannot work; each problem
    comes with its file, line and remedy. Leaves with 2 if there is an error.
    """
    from destilo.recipe.check import check_recipe
    from destilo.recipe.load import load_recipe

    try:
        loaded = load_recipe(recipe, overrides=overrides or ())
    except RecipeError as error:
        if not as_json:
            raise
        say_json({"digest": None, "findings": _problems(str(error), overrides or ())})
        raise typer.Exit(2) from None
    findings = check_recipe(loaded)
    errors = [finding for finding in findings if finding.level == "error"]
    if as_json:
        say_json({"digest": loaded.digest, "findings": [asdict(one) for one in findings]})
    else:
        for finding in findings:
            complain(finding.level, str(finding))
        if not errors:
            say(f"{recipe}: no errors, {len(findings)} warnings. Digest {loaded.digest[:16]}")
    if errors:
        raise typer.Exit(2)


_PLACE = re.compile(r"(.+?:\d+): ")
_KEY = re.compile(r"([\w-]+(?:\.[\w-]+)*): ")


def _problems(text: str, overrides: Sequence[str]) -> list[dict[str, str]]:
    """Take the message of a recipe that cannot be loaded apart, into findings as a check's.

    It holds a problem a line, ``WHERE: KEY: what is wrong. What to do``; what does not begin
    with a place goes on with the line before.
    """
    problems: list[dict[str, str]] = []
    origins = [f"--set {override}: " for override in overrides]
    for line in text.split("\n"):
        origin = next((one for one in origins if line.startswith(one)), "")
        match = _PLACE.match(line)
        where = origin.removesuffix(": ") or (match[1] if match else "")
        if problems and not where:
            problems[-1]["remedy"] += f"\n{line}"
            continue
        rest = line[len(where) + 2 :] if where else line
        key = _KEY.match(rest)
        message, stop, remedy = (rest[key.end() :] if key else rest).partition(". ")
        problems.append(
            {
                "level": "error",
                "where": where,
                "key": key[1] if key else "",
                "message": message + stop.rstrip(),
                "remedy": remedy,
            }
        )
    return problems
