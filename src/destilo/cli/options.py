"""Arguments and options that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or a shipped recipe's name.")
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="RUN", help="The run folder; made if needed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, e.g. training.seed=7. Repeatable."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Do finished stages again.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Results as JSON on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say only warnings.")]
