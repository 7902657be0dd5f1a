"""What length buckets gain over padding to the maximum, and over random batches.

The same sentences go through the same training step in three ways: padded to the maximum length,
in random batches padded to their longest sentence, and in destilo's length buckets. The three take
turns, a step each. Without a file, lengths are drawn as they are in the Spanish CoNLL-2002.

    python benchmarks/length_buckets.py [--conll FILE] [--rows 480] [--threads 1]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from bench.bare import BareTraining, Batch, prepare
from bench.workload import (
    MAX_LENGTH,
    conll_examples,
    heading,
    make_model,
    synthetic_examples,
)

from destilo.data.batching import BatchPlan
from destilo.tasks.base import Example

WARMUP_STEPS = 2


def batches_by_way(examples: list[Example], *, batch_size: int) -> dict[str, list[Batch]]:
    """One epoch of the same sentences, batched in three ways."""
    lengths = np.array([len(example.encodings[0]) for example in examples])

    def epoch(*, group_by_length: bool, length: int | None = None) -> list[Batch]:
        plan = BatchPlan(lengths, batch_size, seed=13, group_by_length=group_by_length)
        return [
            prepare([examples[index] for index in batch], length=length) for batch in plan.epoch(0)
        ]

    return {
        f"padded to {MAX_LENGTH}": epoch(group_by_length=False, length=MAX_LENGTH),
        "random batches": epoch(group_by_length=False),
        "length buckets": epoch(group_by_length=True),
    }


def time_ways(ways: dict[str, list[Batch]]) -> dict[str, float]:
    """Seconds of one epoch each, the ways taking turns step by step."""
    teacher = make_model(layers=6, seed=0)
    trainings = {
        way: BareTraining(make_model(layers=3, seed=1), teacher, learning_rate=5e-5) for way in ways
    }
    for way, batches in ways.items():
        for batch in batches[:WARMUP_STEPS]:
            trainings[way].step(batch)
    seconds = dict.fromkeys(ways, 0.0)
    for turn in zip(*ways.values(), strict=True):
        for way, batch in zip(ways, turn, strict=True):
            start = time.perf_counter()
            trainings[way].step(batch)
            seconds[way] += time.perf_counter() - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--conll", type=Path, help="a file with a word and its tag a line")
    parser.add_argument("--rows", type=int, default=480, help="sentences in the epoch")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    if options.conll:
        examples = conll_examples(options.conll, count=options.rows)
    else:
        examples = synthetic_examples(options.rows)
    ways = batches_by_way(examples, batch_size=options.batch_size)
    seconds = time_ways(ways)

    lengths = [len(example.encodings[0]) for example in examples]
    what = "BERT of 384 dimensions: 6-layer teacher, 3-layer student; 0.5 labels + 0.5 KL"
    source = options.conll.name if options.conll else "CoNLL-2002 lengths"
    how = (
        f"{len(examples)} windows of {source}, mean "
        f"{np.mean(lengths):.1f} pieces (at most {MAX_LENGTH}); batch {options.batch_size}; "
        "the three take turns, a step each"
    )
    print(heading("Length buckets", threads=options.threads, settings=[what, how]))
    slowest = next(iter(seconds.values()))
    print("| batches | padding | rows/s | faster by |")
    print("| --- | ---: | ---: | ---: |")
    for way, spent in seconds.items():
        sizes = [batch.labels.numel() for batch in ways[way]]
        padding = np.average([batch.padding_share for batch in ways[way]], weights=sizes)
        rate = len(examples) / spent
        print(f"| {way} | {100 * padding:.1f}% | {rate:.1f} | {slowest / spent:.2f}x |")


if __name__ == "__main__":
    main()
