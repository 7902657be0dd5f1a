"""SpanishTinyRoBERTa's teacher and student at full size: parameters, MACs, latency, their ratios.

Random weights: speed does not depend on what a model knows. The paper reports 354M against 51M
parameters and 1,683 ms against 392 ms a query on its GPU, end to end: 4.2 times.

    python benchmarks/paper_pair.py [--threads 1 2] [--samples 10] [--device cpu]
"""

from __future__ import annotations

import argparse

import torch
from bench.workload import heading

from destilo.models.student import model_from_config
from destilo.profiling import profile_models
from destilo.recipe.load import load_recipe

VOCABULARY, PAD_ID = 50_262, 1
TEACHER = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--length", type=int, default=384)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    student = load_recipe("spanish-tinyroberta").student.config
    assert isinstance(student, dict)
    models = {}
    for name, settings in (("teacher", {**student, **TEACHER}), ("student", student)):
        torch.manual_seed(13)
        models[name] = model_from_config(
            settings, "question-answering", labels=(), vocab_size=VOCABULARY, pad_id=PAD_ID
        )
    for threads in options.threads:
        results = profile_models(
            models,
            batch_size=1,
            sequence_length=options.length,
            threads=threads,
            samples=options.samples,
            warmup=2,
            device=options.device,
        )
        how = [f"one query of {options.length} pieces, fp32, {options.device}, turn about"]
        print(heading("RoBERTa-large against 6 layers of 512", threads=threads, settings=how))
        print("| model | parameters | MACs | size, MB | p50, ms | p95, ms |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for one in results:
            print(
                f"| {one.model} | {one.parameters:,} | {one.macs:,} | {one.size_mb:.0f} | "
                f"{one.latency_p50_ms:.0f} | {one.latency_p95_ms:.0f} |"
            )
        large, small = results
        print(
            f"\nteacher / student: parameters {large.parameters / small.parameters:.1f}x, "
            f"MACs {large.macs / small.macs:.1f}x, "
            f"latency {large.latency_p50_ms / small.latency_p50_ms:.1f}x (paper: 4.2x)\n"
        )


if __name__ == "__main__":
    main()
