"""Steps per second of destilo's training loop against a bare PyTorch loop.

Both train the same student under the same teacher on the same batches in the same order, and end
with the same weights, which is checked. The bare loop gets its batches padded beforehand;
destilo's pads, pairs units, counts, logs and tests for finite losses within its time. The two take
turns step by step, so that a busy machine slows both, and the ratio is the median over steps.

    python benchmarks/loop.py [--steps 40] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from bench.bare import BareTraining, Batch, prepare
from bench.workload import heading, make_model, synthetic_examples

from destilo.data.batching import BatchPlan
from destilo.objective.base import Objective
from destilo.objective.logits import make_term
from destilo.progress import Silent
from destilo.recipe.schema import TrainingSpec
from destilo.tasks.base import Example, HeadKind
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.source import LiveTeacher
from destilo.training.loop import TrainingJob, train

LEARNING_RATE, WARMUP_STEPS, TARGET = 5e-5, 3, 0.95


class TurnAbout(Silent):
    """Told of every step of destilo's loop, it times it and makes the same step by hand."""

    def __init__(self, bare: BareTraining, batches: Sequence[Batch], *, seed: int) -> None:
        self.bare, self.batches = bare, iter(batches)
        self.destilo_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.last = 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # as destilo's loop does, so that dropout is the same
            self.bare_state = torch.get_rng_state()

    def begin(self, name: str, total: int, *, done: int = 0) -> None:  # noqa: ARG002 (protocol)
        self.last = time.perf_counter()

    def advance(
        self,
        amount: int = 1,  # noqa: ARG002 (protocol)
        *,
        figures: Mapping[str, float] | None = None,  # noqa: ARG002 (protocol)
    ) -> None:
        self.destilo_seconds.append(time.perf_counter() - self.last)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.bare_state)
            start = time.perf_counter()
            self.bare.step(next(self.batches))
            self.bare_seconds.append(time.perf_counter() - start)
            self.bare_state = torch.get_rng_state()
        self.last = time.perf_counter()


def run_both(examples: Sequence[Example], settings: TrainingSpec) -> tuple[TurnAbout, float]:
    """Train twice; return the times and the largest difference between the final weights."""
    teacher = make_model(layers=6, seed=0)
    lengths = np.array([len(example.encodings[0]) for example in examples])
    plan = BatchPlan(lengths, settings.per_device_train_batch_size, settings.seed)
    batches = [prepare([examples[index] for index in batch]) for batch in plan.epoch(0)]
    by_hand, student = make_model(layers=3, seed=1), make_model(layers=3, seed=1)
    clock = TurnAbout(
        BareTraining(by_hand, teacher, learning_rate=LEARNING_RATE), batches, seed=settings.seed
    )
    terms = [make_term("labels", weight=0.5), make_term("kl", weight=0.5, temperature=2.0)]
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(
            name="student",
            model=student,
            examples=examples,
            kinds={"label": HeadKind.UNIT},
            pad_id=0,
            objective=Objective(terms, [1.0]),
            settings=settings,
            folder=Path(folder),
            identity="benchmark",
            teachers=[LiveTeacher(teacher, ("label",), 0, AlignmentMode.IDENTITY, 0)],
        )
        train(job, clock)
    pairs = zip(student.parameters(), by_hand.parameters(), strict=True)
    return clock, max(float((a - b).detach().abs().max()) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help=f"the first {WARMUP_STEPS} warm up")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    settings = TrainingSpec(
        max_steps=options.steps,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=options.batch_size,
        lr_scheduler_type="constant",
        warmup_steps=0.0,
        threads=options.threads,
    )
    examples = synthetic_examples(options.steps * options.batch_size)
    clock, difference = run_both(examples, settings)
    seconds = {
        "bare PyTorch": clock.bare_seconds[WARMUP_STEPS:],
        "destilo": clock.destilo_seconds[WARMUP_STEPS:],
    }

    how = (
        f"batch {options.batch_size}, CoNLL-2002 lengths in buckets; "
        f"{len(seconds['destilo'])} steps each, turn about"
    )
    what = "BERT of 384 dimensions: 6-layer teacher, 3-layer student; 0.5 labels + 0.5 KL"
    title = "Training loop: steps per second"
    print(heading(title, threads=options.threads, settings=[what, how]))
    print("| loop | steps/s | median step, ms |")
    print("| --- | ---: | ---: |")
    for name, spent in seconds.items():
        rate = len(spent) / sum(spent)
        print(f"| {name} | {rate:.3f} | {1000 * statistics.median(spent):.1f} |")
    ratios = [b / d for b, d in zip(*seconds.values(), strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"\ndestilo / bare: median over steps {middle:.3f} (quartiles {low:.3f} to {high:.3f}); "
        f"wanted: at least {TARGET}"
    )
    print(f"largest difference between the two final weights: {difference:.1e}")


if __name__ == "__main__":
    main()
