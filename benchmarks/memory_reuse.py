"""What it saves to keep freed memory between the steps of a training on a CPU.

Each side is a process of its own, turn about: the processor time (user and system) of the same
steps, and the pages that the system had to hand out.

    python benchmarks/memory_reuse.py [--repeats 5] [--steps 12]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys

import torch
from transformers import BertConfig, BertForQuestionAnswering

from destilo.training.processes import keep_freed_memory


def work(steps: int) -> dict[str, float]:
    """Forward and backward of a small encoder, as many times."""
    torch.set_num_threads(1)
    torch.manual_seed(13)
    config = BertConfig(
        vocab_size=16_000,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=3,
        num_attention_heads=12,
    )
    model = BertForQuestionAnswering(config)
    ids = torch.randint(5, 16_000, (4, 300))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(input_ids=ids)
            loss = output.start_logits.float().pow(2).mean()
        loss.backward()
        model.zero_grad()

    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(steps):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "faults": after.ru_minflt - before.ru_minflt,
        "peak_mb": after.ru_maxrss / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--worker", choices=["kept", "returned"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        if options.worker == "kept":
            keep_freed_memory()
        print(json.dumps(work(options.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {"returned": [], "kept": []}
    for _ in range(options.repeats):
        for kind, results in found.items():
            command = [sys.executable, __file__, "--worker", kind, "--steps", str(options.steps)]
            results.append(json.loads(subprocess.check_output(command)))
    print("| freed memory is | CPU seconds | page faults | peak memory, MB |")
    print("| --- | ---: | ---: | ---: |")
    for kind, results in found.items():
        medians = {key: statistics.median(one[key] for one in results) for key in results[0]}
        print(
            f"| {kind} | {medians['seconds']:.2f} | {medians['faults']:,.0f} "
            f"| {medians['peak_mb']:,.0f} |"
        )
    ratios = [
        kept["seconds"] / returned["seconds"]
        for kept, returned in zip(found["kept"], found["returned"], strict=True)
    ]
    print(f"\nkept / returned: median {statistics.median(ratios):.3f} of {len(ratios)}")


if __name__ == "__main__":
    main()
