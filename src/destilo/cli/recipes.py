"""The commands about recipes themselves: a copy to edit, a check of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from destilo.cli.options import JsonOption, RecipeArgument, SetOption
from destilo.errors import RecipeError
from destilo.terminal import complain, say, say_json


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
