"""What each term on layers adds to a training step, in time and in peak memory.

A step is the teacher's forward pass, the student's forward and backward pass and the objective,
on the same batch of synthetic sentences. All objectives take turns step by step, so that a busy
machine slows all alike; the figure is the median over steps of the ratio to logits only.

    python benchmarks/term_cost.py [--lengths 48 256] [--steps 15] [--threads 1] [--bf16]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.workload import heading, make_model

from destilo.models.capture import Capture
from destilo.models.heads import run_model
from destilo.models.layers import model_shape
from destilo.objective.base import Objective, Weighted
from destilo.objective.layers import make_layer_terms
from destilo.objective.logits import make_term
from destilo.tasks.base import Encoding, Example, HeadKind
from destilo.teacher.alignment import AlignmentMode, read_units
from destilo.teacher.source import LiveTeacher
from destilo.training.batches import collate

KINDS = {"label": HeadKind.UNIT}
MAP = [(1, 2), (2, 4), (3, 6)]
VARIANTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "logits only": [],
    "+ hidden-mse": [("hidden-mse", {})],
    "+ hidden-mse, projected": [("hidden-mse", {"projection": "each"})],
    "+ hidden-cosine": [("hidden-cosine", {})],
    "+ embedding-mse": [("embedding-mse", {})],
    "+ attention-mse": [("attention-mse", {})],
    "+ hidden-mse + attention-mse": [("hidden-mse", {}), ("attention-mse", {})],
    "+ attention-relations, last layer": [("attention-relations", {"pairs": [(3, 6)]})],
    "+ attention-relations, 3 layers": [("attention-relations", {})],
}


def make_step(name: str, *, length: int, batch_size: int, bf16: bool) -> Callable[[], float]:
    """One training step of a variant as a function that returns the seconds it took."""
    teacher, student = make_model(layers=6, seed=0).eval(), make_model(layers=3, seed=1).train()
    shapes = model_shape(student.config), model_shape(teacher.config)
    terms: list[Weighted] = [make_term("labels", weight=0.5)]
    terms.append(make_term("kl", weight=0.5, temperature=2.0))
    for term, options in VARIANTS[name]:
        settings = {"pairs": MAP} | options
        terms += make_layer_terms(
            term,
            widths=(shapes[0].width, shapes[1].width),
            heads=(shapes[0].heads, shapes[1].heads),
            **settings,
        )
    objective = Objective(terms, [1.0])
    wanted = objective.wanted()
    capture = Capture(student, wanted) if wanted else None
    theirs = Capture(teacher, objective.wanted(0)) if wanted else None
    live = LiveTeacher(teacher, ("label",), 0, AlignmentMode.IDENTITY, 0, bf16, theirs)
    micro = collate(
        _examples(batch_size, length),
        kinds=KINDS,
        pad_id=0,
        teachers=[live],
        device=torch.device("cpu"),
    )

    def step() -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            outputs = run_model(student, micro.student, ("label",), capture=capture)
        pair = micro.pairings[0].pair(outputs, live.outputs(micro.teachers[0]), KINDS)
        own = read_units(outputs, micro.units, KINDS)
        sums = objective.sums(own, micro.labels, [pair])
        loss = objective.loss(sums, [float(count) for count in objective.counts(micro.targets)])
        assert loss is not None
        torch.autograd.backward(loss)
        student.zero_grad(set_to_none=True)
        objective.projections.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    return step


def _examples(count: int, length: int) -> list[Example]:
    """Rows of random pieces, the longest of ``length`` and the shortest of nine tenths of it."""
    random = np.random.default_rng(13)
    examples = []
    for number in range(count):
        size = length - int(random.integers(0, max(1, length // 10)))
        units = np.concatenate([[-1], np.arange(size - 2), [-1]]).astype(np.int64)
        labels = np.where(units >= 0, random.integers(0, 9, size), -100)
        encoding = Encoding(
            random.integers(5, 16_000, size), units, np.zeros(size, np.int64), {"label": labels}
        )
        spans = np.arange(size - 2)[:, None] + np.array([0, 1])
        examples.append(Example(number, str(number), (encoding,), spans))
    return examples


def _peak(name: str, length: int, batch_size: int, bf16: bool, threads: int, answer: Any) -> None:
    torch.set_num_threads(threads)
    step = make_step(name, length=length, batch_size=batch_size, bf16=bf16)
    for _ in range(3):
        step()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    answer.put(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def peak_memory_mb(name: str, *, length: int, options: argparse.Namespace) -> float:
    """Peak resident memory in MB of a fresh process that makes three steps."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    arguments = (name, length, options.batch_size, options.bf16, options.threads, answer)
    process = context.Process(target=_peak, args=arguments)
    process.start()
    value = float(answer.get())
    process.join()
    return value


def measure(length: int, options: argparse.Namespace) -> None:
    """Print the table for one length."""
    steps = {
        name: make_step(name, length=length, batch_size=options.batch_size, bf16=options.bf16)
        for name in VARIANTS
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.steps + 2):
        for name, step in steps.items():
            spent = step()
            if number >= 2:  # the first two warm up
                seconds[name].append(spent)
    print(f"\nRows of {length} pieces\n")
    print("| objective | ms per step | against logits only | peak memory, MB |")
    print("| --- | ---: | ---: | ---: |")
    reference = seconds["logits only"]
    for name, spent in seconds.items():
        ratios = [mine / base for mine, base in zip(spent, reference, strict=True)]
        memory = peak_memory_mb(name, length=length, options=options)
        print(
            f"| {name} | {1000 * statistics.median(spent):.0f} | {_spread(ratios)} | {memory:.0f} |"
        )


def _spread(ratios: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{100 * (middle - 1):+.1f}% ({100 * (low - 1):+.1f} to {100 * (high - 1):+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[48, 256])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    what = "BERT of 384 dimensions, 12 heads: 6-layer teacher, 3-layer student"
    how = (
        f"batch {options.batch_size}, {'bf16' if options.bf16 else 'fp32'}, {options.steps} steps "
        "each, turn about; median and quartiles of the ratio"
    )
    print(heading("Cost of the terms on layers", threads=options.threads, settings=[what, how]))
    for length in options.lengths:
        measure(length, options)


if __name__ == "__main__":
    main()
