"""Checkpoints that are whole or absent, and that say when they are damaged.

A checkpoint is ``step-000200/``: what ``accelerate`` saves (weights, optimiser, random states of
every process), the loop's own state and a manifest with a hash of every file. It appears by one
rename; the one before goes only after that.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from destilo.errors import CheckpointError

_MANIFEST = "manifest.json"
_FINISHED = "finished.safetensors"


@dataclass(slots=True)
class LoopState:
    """Where training stands, beside weights, optimiser and random states.

    Attributes:
        identity: Digest of everything that decides the training; a checkpoint of another one
            is never resumed.
        step: Finished optimiser steps.
        best_step: The step whose weights were best on validation; 0 before the first.
        best_hash: Of the file that holds them.
        best_value: Its value of the selection metric.
        best_metrics: All its validation metrics.
        stale: Evaluations since then without improvement.
    """

    identity: str
    step: int = 0
    best_step: int = 0
    best_hash: str = ""
    best_value: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    stale: int = 0


def save_checkpoint(accelerator: Accelerator, *, folder: Path, state: LoopState) -> None:
    """Write a checkpoint; every process must call this."""
    partial = folder / ".partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    files = {path.name: _hash(path) for path in sorted(partial.iterdir())}
    manifest = {"state": asdict(state), "files": files}
    (partial / _MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    target = folder / _folder_name(state.step)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    for older in _checkpoints(folder):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)
    for path in folder.glob("best-*.safetensors"):
        if path != best_file(folder, state):
            path.unlink()


def find_checkpoint(folder: Path, *, identity: str) -> tuple[Path, LoopState] | None:
    """The newest checkpoint of this training, checked file by file.

    Returns:
        Its folder and the loop's state; ``None`` where there is none, or only of a training
        with other settings.

    Raises:
        CheckpointError: If it is damaged.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    newest = found[-1]
    try:
        manifest: dict[str, Any] = json.loads((newest / _MANIFEST).read_text(encoding="utf-8"))
        state = LoopState(**manifest["state"])
        files: dict[str, str] = manifest["files"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(_damaged(newest, f"{_MANIFEST} is unreadable: {error}")) from error
    if state.identity != identity:
        return None
    for name, expected in files.items():
        path = newest / name
        if not path.exists():
            raise CheckpointError(_damaged(newest, f"{name} is missing"))
        if _hash(path) != expected:
            raise CheckpointError(_damaged(newest, f"{name} is not what was written"))
    if state.best_step:
        best = best_file(folder, state)
        if not best.exists() or _hash(best) != state.best_hash:
            raise CheckpointError(_damaged(newest, f"its {best.name} is missing or damaged"))
    return newest, state


def clear_checkpoints(folder: Path) -> None:
    """Remove every checkpoint and the best weights, once they are not needed."""
    shutil.rmtree(folder, ignore_errors=True)


def best_file(folder: Path, state: LoopState) -> Path:
    """Where the weights of the best step are."""
    return folder / f"best-{state.best_step:06d}.safetensors"


def save_best(model: torch.nn.Module, *, folder: Path, state: LoopState) -> None:
    """Keep the weights of ``state.best_step``, and their hash in the state.

    Each best step has a file of its own: until the next checkpoint is whole, the one before and
    the weights that it speaks of are both there.
    """
    path = best_file(folder, state)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    save_file(_weights(model), str(partial))
    state.best_hash = _hash(partial)
    partial.replace(path)


def load_best(model: torch.nn.Module, *, folder: Path, state: LoopState) -> None:
    """Put the best weights back into the model.

    Raises:
        CheckpointError: If they are missing or damaged.
    """
    path = best_file(folder, state)
    checkpoint = folder / _folder_name(state.step)
    try:
        weights = load_file(str(path))
    except Exception as error:  # safetensors raises a class of its own
        raise CheckpointError(_damaged(checkpoint, f"its {path.name}: {error}")) from error
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = set(model.state_dict()) - set(_without_aliases(dict(model.state_dict())))
    if unexpected or set(missing) - tied:
        raise CheckpointError(_damaged(checkpoint, f"its {path.name} does not fit the model"))


def keep_weights(model: torch.nn.Module, *, folder: Path, identity: str) -> None:
    """Keep a finished stage's weights for the next one, whole or not at all."""
    partial = folder / f".{_FINISHED}"
    save_file(_weights(model), str(partial), metadata={"identity": identity})
    partial.replace(folder / _FINISHED)


def drop_weights(folder: Path) -> None:
    """Remove a finished stage's weights, once nothing goes on from them."""
    (folder / _FINISHED).unlink(missing_ok=True)


def read_weights(folder: Path, *, identity: str) -> dict[str, torch.Tensor] | None:
    """The weights of a finished stage; ``None`` where there are none, or of other settings.

    Raises:
        CheckpointError: If they are damaged.
    """
    path = folder / _FINISHED
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            if file.metadata()["identity"] != identity:
                return None
        return load_file(str(path))
    except Exception as error:  # safetensors raises a class of its own
        raise CheckpointError(_damaged(path, str(error))) from error


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A model's tensors as safetensors takes them: each once, in one piece."""
    return _without_aliases(
        {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    )


def _without_aliases(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    seen: set[int] = set()
    kept = {}
    for name, value in state.items():
        if value.data_ptr() not in seen or value.numel() == 0:
            kept[name] = value
            seen.add(value.data_ptr())
    return kept


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.exists() else []


def _folder_name(step: int) -> str:
    return f"step-{step:06d}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(folder: Path, reason: str) -> str:
    return (
        f"The checkpoint {folder} is damaged: {reason}. Delete that folder to start this "
        "training again from its beginning, or use --force to redo the whole run."
    )
