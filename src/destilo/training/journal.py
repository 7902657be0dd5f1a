"""What a training leaves behind as it goes: ``log.jsonl``, and the tracker's curves.

A line of the log is one record: a step's losses, or a validation's metrics. Every process calls
the journal; the main one alone writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from destilo.errors import InputError
from destilo.recipe.schema import TrainingSpec


def find_tracker(settings: TrainingSpec) -> str | None:
    """The tracker that the settings ask for; ``None`` for none.

    Raises:
        InputError: If it is not installed.
    """
    tracker = None if settings.report_to == "none" else settings.report_to
    if tracker is not None and find_spec(tracker) is None:
        package = '"destilo[tracking]"' if tracker == "tensorboard" else tracker
        raise InputError(
            f"training.report_to is '{tracker}', which is not installed. Install it (pip install "
            f"{package}) or set training.report_to to none."
        )
    return tracker


class Journal:
    """The log and the tracker of one training."""

    def __init__(self, accelerator: Accelerator, *, folder: Path, settings: TrainingSpec) -> None:
        """Write nothing yet.

        Args:
            accelerator: Knows the main process, and was made with the settings' tracker.
            folder: Where ``log.jsonl`` goes.
            settings: What the tracker is told of the training.
        """
        self._accelerator = accelerator
        self._file = folder / "log.jsonl"
        self._settings = settings
        self._tracked = settings.report_to != "none"

    def clear(self) -> None:
        """Remove the log of a training that is not gone on with."""
        if self._accelerator.is_main_process:
            self._file.unlink(missing_ok=True)

    def truncate(self, *, after: int) -> None:
        """Drop what was logged after a step, and a line that was cut off by a kill."""
        if not self._accelerator.is_main_process or not self._file.exists():
            return
        kept = []
        for line in self._file.read_text(encoding="utf-8").split("\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record["step"] <= after:
                kept.append(line)
        partial = self._file.with_name(f".{self._file.name}")
        partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        partial.replace(self._file)

    def start_tracker(self) -> None:
        """Open the tracker's run, with the settings beside it."""
        if self._tracked:
            values = self._settings.model_dump()
            plain = {k: v for k, v in values.items() if isinstance(v, int | float | str)}
            self._accelerator.init_trackers("destilo", config=plain)

    def end_tracker(self) -> None:
        """Close the tracker's run."""
        if self._tracked:
            self._accelerator.end_training()

    def write_step(
        self,
        step: int,
        *,
        epoch: float,
        loss: float,
        terms: Mapping[str, float],
        learning_rate: float,
        grad_norm: float,
    ) -> None:
        """Record an optimiser step.

        Args:
            step: Finished optimiser steps.
            epoch: How often the examples have been seen.
            loss: The weighted total.
            terms: Each term, not weighted.
            learning_rate: Of this step.
            grad_norm: Of the whole gradient, before it was clipped.
        """
        self._write(
            {
                "step": step,
                "epoch": round(epoch, 4),
                "loss": loss,
                "terms": dict(terms),
                "learning_rate": learning_rate,
                "grad_norm": grad_norm,
            }
        )
        self._track("train", {"loss": loss, **terms}, step=step)

    def write_validation(self, step: int, *, metrics: Mapping[str, float], best: bool) -> None:
        """Record a validation.

        Args:
            step: Finished optimiser steps.
            metrics: What was measured.
            best: Whether these weights are the best so far.
        """
        self._write({"step": step, "validation": dict(metrics), "best": best})
        self._track("validation", metrics, step=step)

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._accelerator.is_main_process:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def _track(self, group: str, values: Mapping[str, float], *, step: int) -> None:
        if self._tracked:
            named = {f"{group}/{key}": value for key, value in values.items()}
            self._accelerator.log(named, step=step)
