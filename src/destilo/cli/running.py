"""The commands that run a recipe: to its end, or up to one of its stages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from destilo.cli.hub import stay_offline_without_hub
from destilo.cli.options import (
    ForceOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RecipeArgument,
    SetOption,
)
from destilo.cli.results import show_result
from destilo.errors import InputError
from destilo.terminal import TerminalProgress, error_console, is_helper

if TYPE_CHECKING:
    from destilo.pipeline import RunResult


def run(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a recipe from start to finish into a run folder.

    Stages: data, teacher, student, baseline, evaluate, profile, report.
    A finished stage is skipped; after Ctrl-C or a crash the same command goes on.

    destilo run demo -o runs/demo
    destilo run mine.yaml -o runs/mine --set training.seed=7

    Several processes, on GPUs or on a CPU (--multi_gpu is for both):

    accelerate launch --multi_gpu --num_processes 2 -m destilo run ...
    """
    result = run_recipe(recipe, output, overrides, force=force, until="report", quiet=quiet)
    show_result(result, as_json=as_json)


def train(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the models of a recipe, without measuring them."""
    run_recipe(recipe, output, overrides, force=force, until="baseline", quiet=quiet)


def evaluate(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run up to the evaluation: scores with intervals, every prediction on file."""
    result = run_recipe(recipe, output, overrides, force=force, until="evaluate", quiet=quiet)
    show_result(result, as_json=as_json)


def profile(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run up to the profile: parameters, MACs, size, latency, memory."""
    result = run_recipe(recipe, output, overrides, force=force, until="profile", quiet=quiet)
    show_result(result, as_json=as_json)


def run_recipe(
    source: str,
    output: Path,
    overrides: Sequence[str] | None,
    *,
    force: bool,
    until: str,
    quiet: bool,
) -> RunResult:
    """Load and check a recipe, then run it with its progress on standard error."""
    from destilo.recipe.check import require_valid
    from destilo.recipe.load import load_recipe

    recipe = load_recipe(source, overrides=overrides or ())
    require_valid(recipe)  # before torch is imported, so that a typo costs no time
    stay_offline_without_hub(recipe)
    quiet_libraries()
    from destilo import pipeline

    progress = TerminalProgress(error_console(), quiet=quiet or is_helper())
    return pipeline.run(recipe, output=output, force=force, until=until, progress=progress)


_QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
}
"""What the libraries read when they are imported; what a user has set holds."""


def quiet_libraries() -> None:
    """Keep the libraries' own bars and load reports off the terminal; ours say what matters."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from transformers.utils import logging
    except ImportError:
        raise InputError(
            'This command needs torch and transformers: pip install "destilo[train]"'
        ) from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
