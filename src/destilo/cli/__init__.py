"""The command line: the commands in the order of its help, and how it leaves.

Positional input, ``-o`` output, ``--set`` overrides, ``--json`` for machines; exit code 2 for
what the user can mend, 1 for what failed on our side. A command imports what it needs when it is
called, so that help, lists and checks start no machinery.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from destilo import __version__
from destilo.cli.caching import cache
from destilo.cli.demonstration import demo
from destilo.cli.listing import list_things
from destilo.cli.predicting import predict
from destilo.cli.recipes import check, copy
from destilo.cli.results import report
from destilo.cli.running import evaluate, profile, run, train
from destilo.cli.sweeping import sweep
from destilo.cli.trimming import trim
from destilo.errors import DestiloError
from destilo.terminal import error_console, output_console

__all__ = ["app", "main"]

app = typer.Typer(
    name="destilo",
    help="Distil a large transformer encoder into a small, fast model for one task, and prove "
    "that it is good.\n\n"
    "[bold]destilo demo[/]                          see it work: minutes, no network\n"
    "[bold]destilo copy ner-es mine.yaml[/]         start a recipe of your own, then edit it\n"
    "[bold]destilo check mine.yaml[/]               find mistakes before anything is loaded\n"
    "[bold]destilo run mine.yaml -o runs/mine[/]    train, distil, measure, report\n"
    "[bold]destilo predict runs/mine --text ...[/]  use the model",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for _name, _command in (
    ("demo", demo),
    ("run", run),
    ("train", train),
    ("evaluate", evaluate),
    ("profile", profile),
    ("sweep", sweep),
    ("trim", trim),
    ("report", report),
    ("list", list_things),
    ("copy", copy),
    ("check", check),
    ("predict", predict),
):
    app.command(_name)(_command)
app.add_typer(cache)


def _version(wanted: bool) -> None:
    if wanted:
        output_console().print(f"destilo {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Hold the options that every command has."""


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    sys.exit(_main(arguments, debug=debug))


def _main(arguments: Sequence[str], *, debug: bool) -> int:
    console = error_console()
    try:
        code = int(app(args=list(arguments), prog_name="destilo", standalone_mode=False) or 0)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return code
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted; the same command goes on where this stopped", highlight=False)
        return 1
    except (BrokenPipeError, SystemExit) as leave:  # the parser exits when the reader goes away
        if isinstance(leave, SystemExit) and not isinstance(leave.__context__, OSError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DestiloError as error:
        _fail(console, error, debug=debug)
        return error.exit_code
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = f"{'the disk is full: ' if full else ''}{error}"
        _fail(console, DestiloError(message), debug=debug)
        return 1
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # usage errors of the parser
            error.show()
            return 2
        kind = type(error).__name__
        message = f"{kind}: {error} (a bug in destilo; --debug shows where)"
        _fail(console, DestiloError(message), debug=debug)
        return 1


_INTERRUPTED = 130
"""What the parser returns when Ctrl-C stops a command."""


def _fail(console: Console, error: DestiloError, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
