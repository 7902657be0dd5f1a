"""The training loop: ours, on ``accelerate``.

Devices, bfloat16, several processes, checkpoints and trackers are the library's. What is divided
by what is ours: every term's sum is divided once per optimiser step by its count over all
micro-batches and processes, so any split of a global batch gives the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel

from destilo.data.batching import BatchPlan, share
from destilo.errors import TrainingError, TrialPruned
from destilo.models.capture import Capture
from destilo.models.heads import run_model
from destilo.objective.base import Objective
from destilo.progress import Progress, Silent
from destilo.recipe.schema import TrainingSpec
from destilo.tasks.base import Example, HeadKind
from destilo.teacher.alignment import read_units
from destilo.teacher.source import Teacher
from destilo.training.batches import MicroBatch, collate
from destilo.training.checkpoint import (
    LoopState,
    clear_checkpoints,
    find_checkpoint,
    load_best,
    save_best,
    save_checkpoint,
)
from destilo.training.journal import Journal
from destilo.training.optimisation import (
    global_batch_size,
    learning_rate_factor,
    make_optimizer,
    planned_steps,
)
from destilo.training.processes import make_accelerator

Validate = Callable[[PreTrainedModel], Mapping[str, float]]


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, on what, and where its files go.

    Attributes:
        name: ``teacher``, ``student`` or ``baseline``.
        model: Trained in place; holds the best weights afterwards.
        examples: Encoded windows; the student's encoding is the first of each.
        kinds: The task's heads.
        pad_id: The student tokenizer's padding piece.
        objective: The weighted terms.
        teachers: In the order of the objective's weights.
        settings: Learning rate, batch size, ...
        folder: Holds ``log.jsonl`` and, while it runs, ``checkpoints/``.
        identity: Digest of everything that decides the result.
        validate: Measures the model on the validation split; ``None`` keeps the last weights.
        select_by: The metric that chooses the best weights and stops early; higher is better,
            but for ``validation_loss``.
        bounds: By the number of the evaluation (from 1): the value of ``select_by`` that the best
            weights so far must have reached, else the training is given up.
    """

    name: str
    model: PreTrainedModel
    examples: Sequence[Example]
    kinds: Mapping[str, HeadKind]
    pad_id: int
    objective: Objective
    settings: TrainingSpec
    folder: Path
    identity: str
    teachers: Sequence[Teacher] = ()
    validate: Validate | None = None
    select_by: str = "validation_loss"
    bounds: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a training went.

    Attributes:
        steps: Optimiser steps that were made.
        planned_steps: Steps that the settings asked for; more where it stopped early.
        best_step: The step whose weights the model now has.
        best_metrics: Validation metrics at that step.
    """

    steps: int
    planned_steps: int
    best_step: int
    best_metrics: Mapping[str, float]


def train(job: TrainingJob, progress: Progress | None = None) -> TrainingResult:
    """Train a model to the end, from its newest checkpoint where there is one.

    Args:
        job: What to train.
        progress: Who is told how it goes.

    Returns:
        How it went; ``job.model`` then holds the best weights.

    Raises:
        TrainingError: If a term or the gradient is not finite.
        CheckpointError: If the checkpoint to resume from is damaged.
        TrialPruned: If it has not reached one of the job's bounds.
    """
    return _Loop(job, progress or Silent()).run()


class _Loop:
    """One training in progress."""

    def __init__(self, job: TrainingJob, progress: Progress) -> None:
        self.job, self.progress, self.settings = job, progress, job.settings
        if job.settings.threads:
            torch.set_num_threads(job.settings.threads)
        self.accelerator = make_accelerator(job.settings, logging_dir=job.folder)
        processes = self.accelerator.num_processes
        lengths = np.array([max(map(len, example.encodings)) for example in job.examples])
        self.plan = BatchPlan(
            lengths=lengths,
            batch_size=global_batch_size(job.settings, processes=processes),
            seed=job.settings.seed,
            group_by_length=job.settings.group_by_length,
        )
        self.total = planned_steps(len(lengths), job.settings, processes=processes)
        self.checkpoints = job.folder / "checkpoints"
        self.journal = Journal(self.accelerator, folder=job.folder, settings=job.settings)
        self.projections = job.objective.projections.to(self.accelerator.device)
        optimizer = make_optimizer([job.model, self.projections], job.settings)
        self.model, self.optimizer = self.accelerator.prepare(job.model, optimizer)
        if len(self.projections):
            self.accelerator.register_for_checkpointing(self.projections)
        wanted = job.objective.wanted()
        self.capture = Capture(job.model, wanted) if wanted else None
        for teacher in job.teachers:
            if isinstance(getattr(teacher, "model", None), torch.nn.Module):
                teacher.model.to(self.accelerator.device)  # type: ignore[attr-defined]  # just tested
        self.state = LoopState(identity=job.identity)

    def run(self) -> TrainingResult:
        self._resume()
        self.journal.start_tracker()
        self.progress.begin(self.job.name, self.total, done=self.state.step)
        try:
            for batch in self._batches():
                self._step(batch)
                if self._evaluation_due():
                    if self._evaluate():
                        break
                elif self._checkpoint_due():
                    save_checkpoint(self.accelerator, folder=self.checkpoints, state=self.state)
        finally:
            self.progress.end()
            if self.capture is not None:
                self.capture.close()
        return self._finish()

    def _resume(self) -> None:
        torch.manual_seed(self.settings.seed + self.accelerator.process_index)
        self.job.folder.mkdir(parents=True, exist_ok=True)
        found = find_checkpoint(self.checkpoints, identity=self.job.identity)
        self.accelerator.wait_for_everyone()
        if found is None:
            if self.accelerator.is_main_process:
                clear_checkpoints(self.checkpoints)
            self.journal.clear()
            self.accelerator.wait_for_everyone()
            return
        folder, self.state = found
        self.accelerator.load_state(str(folder))
        self.journal.truncate(after=self.state.step)
        self.progress.note(
            f"{self.job.name}: going on from step {self.state.step} of {self.total}", level="info"
        )

    def _batches(self) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
        while self.state.step < self.total and not self._out_of_patience():
            epoch, position = divmod(self.state.step, self.plan.steps_per_epoch)
            for batch in self.plan.epoch(epoch)[position:]:
                if self.state.step >= self.total:
                    return
                yield batch

    def _micro_batches(self, batch: np.ndarray[Any, np.dtype[np.int64]]) -> list[MicroBatch]:
        shares = share(
            batch,
            micro_batches=self.settings.gradient_accumulation_steps,
            processes=self.accelerator.num_processes,
            process=self.accelerator.process_index,
        )
        return [
            collate(
                [self.job.examples[index] for index in (part if len(part) else batch[-1:])],
                kinds=self.job.kinds,
                pad_id=self.job.pad_id,
                teachers=self.job.teachers,
                device=self.accelerator.device,
                counted=len(part) > 0,
            )
            for part in shares
        ]

    def _counts(self, micro_batches: Sequence[MicroBatch]) -> list[float]:
        objective, device = self.job.objective, self.accelerator.device
        counts = torch.zeros(len(objective.names), dtype=torch.float64, device=device)
        for micro in micro_batches:
            if micro.counted:
                counts += torch.tensor(
                    objective.counts(micro.targets), dtype=torch.float64, device=device
                )
        reduced: torch.Tensor = self.accelerator.reduce(counts, reduction="sum")
        values: list[float] = reduced.tolist()
        return values

    def _step(self, batch: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self.model.train()
        factor = learning_rate_factor(
            self.state.step,
            total=self.total,
            warmup_steps=self.settings.warmup_steps,
            schedule=self.settings.lr_scheduler_type,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        micro_batches = self._micro_batches(batch)
        counts = self._counts(micro_batches)
        sums = torch.zeros(len(counts), dtype=torch.float64, device=self.accelerator.device)
        for number, micro in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            if last:
                sums += self._forward_backward(micro, counts)
            else:
                with self.accelerator.no_sync(self.model):
                    sums += self._forward_backward(micro, counts)
        norm = self._update()
        self.state.step += 1
        self._record(sums, counts, norm)

    def _forward_backward(self, micro: MicroBatch, counts: Sequence[float]) -> torch.Tensor:
        objective, heads = self.job.objective, tuple(self.job.kinds)
        student = run_model(self.model, micro.student, heads, capture=self.capture)
        pairs = [
            pairing.pair(student, teacher.outputs(inputs), self.job.kinds)
            for teacher, inputs, pairing in zip(
                self.job.teachers, micro.teachers, micro.pairings, strict=True
            )
        ]
        own = read_units(student, micro.units, self.job.kinds)
        sums = objective.sums(own, micro.labels, pairs)
        if micro.counted:
            objective.require_finite(sums, step=self.state.step + 1)
        loss = objective.loss(sums, counts)
        if loss is None or not objective.uses_heads:
            # Every weight gets a gradient, if of zero: other processes wait for it.
            nothing = torch.stack([head.sum() for head in student.heads.values()]).sum() * 0.0
            loss = nothing if loss is None else loss + nothing
        # DDP averages over processes, and the counts already cover all of them.
        scale = self.accelerator.num_processes if micro.counted else 0.0
        self.accelerator.backward(loss * scale)
        zero = torch.zeros((), device=loss.device)
        values = [zero if value is None else value.detach() for value in sums]
        return torch.stack(values).double() * float(micro.counted)

    def _update(self) -> float:
        limit = self.settings.max_grad_norm or math.inf
        if self.accelerator.num_processes > 1:
            for weight in self.projections.parameters():  # the model's own are reduced on the way
                mine = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad = self.accelerator.reduce(mine, reduction="mean")
        weights = [*self.model.parameters(), *self.projections.parameters()]
        norm = self.accelerator.clip_grad_norm_(weights, limit)
        value = float(norm) if norm is not None else 0.0
        if not math.isfinite(value):
            raise TrainingError(
                f"The gradient's norm became {value} at step {self.state.step + 1} "
                f"(terms: {', '.join(self.job.objective.names)}). Lower "
                "training.learning_rate, or switch training.bf16 off."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value

    def _record(self, sums: torch.Tensor, counts: Sequence[float], norm: float) -> None:
        due = self.state.step % self.settings.logging_steps == 0
        if not due and self.state.step not in (1, self.total):
            self.progress.advance()
            return
        reduced: torch.Tensor = self.accelerator.reduce(sums, reduction="sum")
        objective = self.job.objective
        terms = {
            name: value / count
            for name, value, count in zip(objective.names, reduced.tolist(), counts, strict=True)
            if count > 0
        }
        loss = objective.weigh(terms)
        self.journal.write_step(
            self.state.step,
            epoch=self.state.step / self.plan.steps_per_epoch,
            loss=loss,
            terms=terms,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            grad_norm=norm,
        )
        self.progress.advance(figures={"loss": loss})

    def _evaluation_due(self) -> bool:
        if self.job.validate is None:
            return False
        every = self.settings.eval_steps or self.plan.steps_per_epoch
        return self.state.step % every == 0 or self.state.step == self.total

    def _checkpoint_due(self) -> bool:
        every = self.settings.save_steps
        return every > 0 and self.state.step % every == 0 and self.state.step < self.total

    def _evaluate(self) -> bool:
        """Validate, keep the best weights; true when patience has run out."""
        assert self.job.validate is not None
        measured: list[Any] = [None]
        if self.accelerator.is_main_process:
            plain = self.accelerator.unwrap_model(self.model)
            measured = [dict(self.job.validate(plain))]
        broadcast_object_list(measured)
        metrics: dict[str, float] = measured[0]
        value = metrics[self.job.select_by]
        improved = self._is_better(value)
        if improved:
            self.state.best_value, self.state.best_step = value, self.state.step
            self.state.best_metrics, self.state.stale = metrics, 0
            if self.accelerator.is_main_process:
                plain = self.accelerator.unwrap_model(self.model)
                save_best(plain, folder=self.checkpoints, state=self.state)
        else:
            self.state.stale += 1
        self.journal.write_validation(self.state.step, metrics=metrics, best=improved)
        self.progress.note(
            f"{self.job.name}: step {self.state.step}, "
            + ", ".join(f"{key} {number:.4f}" for key, number in metrics.items())
            + (" (best so far)" if improved else ""),
            level="step",
        )
        self._require_bound()
        save_checkpoint(self.accelerator, folder=self.checkpoints, state=self.state)
        return self._out_of_patience()

    def _require_bound(self) -> None:
        """Give up before the checkpoint is written, so that going on gives up here again."""
        every = self.settings.eval_steps or self.plan.steps_per_epoch
        number = math.ceil(self.state.step / every)
        bound, best = self.job.bounds.get(number), self.state.best_value
        if bound is None or best is None or self.state.step >= self.total:
            return
        worse = best > bound if self.job.select_by == "validation_loss" else best < bound
        if worse or math.isnan(best):
            raise TrialPruned(
                f"{self.job.name}: {self.job.select_by} {best:.4f} at evaluation {number}, "
                f"where half of the others had {bound:.4f}"
            )

    def _is_better(self, value: float) -> bool:
        best = self.state.best_value
        if best is None or math.isnan(best):  # nothing compares with NaN
            return True
        return value < best if self.job.select_by == "validation_loss" else value > best

    def _out_of_patience(self) -> bool:
        patience = self.settings.early_stopping_patience
        return patience is not None and self.state.stale >= patience

    def _finish(self) -> TrainingResult:
        self.accelerator.wait_for_everyone()
        plain = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self.state.best_step:
            load_best(plain, folder=self.checkpoints, state=self.state)
        self.accelerator.wait_for_everyone()  # the main process will remove what others read
        self.journal.end_tracker()
        self.accelerator.free_memory()
        plain.eval()
        return TrainingResult(
            steps=self.state.step,
            planned_steps=self.total,
            best_step=self.state.best_step or self.state.step,
            best_metrics=self.state.best_metrics,
        )
