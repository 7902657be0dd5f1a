"""Run a recipe in a process of its own that is killed (SIGKILL) at a chosen moment."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MOMENTS = {
    "step": ("destilo.training.loop", "_Loop._update"),
    "evaluation": ("destilo.evaluation", "predict_heads"),
    "saving": ("destilo.training.checkpoint", "_hash"),
    "saved": ("destilo.training.loop", "save_checkpoint"),
    "best": ("destilo.training.loop", "save_best"),
    "kept": ("destilo.pipeline.training", "keep_weights"),
    "model": ("destilo.models.folder", "replace_folder"),
}
"""Where a process can be killed: after a call of this function."""


def _die_after(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    done = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = function(*args, **kwargs)
        done += 1
        if done == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def _run(
    recipe: Mapping[str, Any], output: Path, until: str, moment: str | None, call: int
) -> None:
    from importlib import import_module

    import destilo

    if moment is not None:
        module_name, name = MOMENTS[moment]
        holder: Any = import_module(module_name)
        *classes, attribute = name.split(".")
        for inner in classes:
            holder = getattr(holder, inner)
        setattr(holder, attribute, _die_after(call, getattr(holder, attribute)))
    destilo.run(destilo.load_recipe(recipe), output=output, until=until)


def run_recipe(
    recipe: Mapping[str, Any],
    output: Path,
    *,
    until: str = "student",
    moment: str | None = None,
    call: int = 0,
) -> int:
    """Run in a new process, killed after the given call at a moment; return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["destilo.pipeline"])
    process = context.Process(target=_run, args=(recipe, output, until, moment, call))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode
