"""Inferences per second of the models of Speedy Gonzales at full size, beside its Table 1.

Every model is built from the catalogue's configuration with random weights (speed does not depend
on what a model knows) and timed turn about with BETO cased, one row of 512 pieces at a time, so
that their ratio holds on a machine that does other things. A slow model takes fewer passes, as
many as --seconds allows but three at least; n is said. Two models are in memory at a time.

    OMP_NUM_THREADS=1 python benchmarks/inferences.py [--models albeto-tiny bertin] [--seconds 30]
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence

import torch
from bench.workload import heading
from transformers import PreTrainedModel

from destilo.catalogue import published
from destilo.catalogue.models import model_entry
from destilo.models.student import model_from_config
from destilo.profiling import profile_models
from destilo.records import ProfileResult

LABELS = ("0", "1", "2")
WARMUP = 10
FEWEST = 3


def main() -> None:
    models = tuple(dict.fromkeys(row.model for row in published.inference_rates()))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=models, default=models, metavar="MODEL")
    parser.add_argument("--repetitions", type=int, default=100, help="passes at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="for a model and BETO")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = f"one row of {options.length} pieces, fp32, {options.device}, three classes"
    settings = [f"{shape}; each model turn about with BETO cased"]
    print(heading("The models of Speedy Gonzales", threads=options.threads, settings=settings))
    print_header()
    reference = build(published.REFERENCE)
    for name in options.models:
        model = build(name)
        print_row(name, measure(reference, model, options), length=options.length)
        del model
        gc.collect()
    print(
        "\np50 and p95 of every sample, none dropped; *kept*: the samples that the paper's filter "
        "leaves (modified z-score up to 0.75), whose mean its inferences/s come from."
    )


def build(name: str) -> PreTrainedModel:
    config = model_entry(name).config
    torch.manual_seed(13)
    return model_from_config(
        config,
        "text-classification",
        labels=LABELS,
        vocab_size=config["vocab_size"],
        pad_id=1 if config["model_type"] == "roberta" else 0,
    ).eval()


def measure(
    reference: PreTrainedModel, model: PreTrainedModel, options: argparse.Namespace
) -> Sequence[ProfileResult]:
    """BETO and the model, as often as there is time for."""
    pair = {"reference": reference, "model": model}
    shape = {
        "batch_size": 1,
        "sequence_length": options.length,
        "threads": options.threads,
        "device": options.device,
    }
    once = profile_models(pair, **shape, samples=1, warmup=0)
    turn = sum(one.latency_p50_ms for one in once) / 1000
    turns = int(options.seconds / turn) - 1
    # A slow model has few passes: most of them are timed, and the one above was its warm-up.
    warmup = min(WARMUP, max(0, turns // 6))
    samples = min(options.repetitions, max(FEWEST, turns - warmup))
    return profile_models(pair, **shape, samples=samples, warmup=warmup, protocol="speedy-gonzales")


def print_header() -> None:
    columns = [
        "model",
        "n",
        "p50, ms",
        "p95, ms",
        "inferences/s",
        "of BETO",
        "by the paper's protocol",
        "kept",
        "of BETO",
        "the paper's: of BETO, CPU",
        "GPU",
        "by MACs",
    ]
    print("| " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * (len(columns) - 1))


def print_row(name: str, pair: Sequence[ProfileResult], *, length: int) -> None:
    reference, own = pair
    printed = {row.model: row for row in published.inference_rates()}
    there, base = printed[name], printed[published.REFERENCE]
    assert own.paper_inferences_per_s is not None
    assert reference.paper_inferences_per_s is not None
    cells = [
        model_entry(name).title,
        f"{own.n_samples}",
        f"{own.latency_p50_ms:,.0f}",
        f"{own.latency_p95_ms:,.0f}",
        f"{own.throughput_per_s:.3g}",
        f"{reference.latency_p50_ms / own.latency_p50_ms:.3g}",
        f"{own.paper_inferences_per_s:.3g}",
        f"{own.n_kept}",
        f"{own.paper_inferences_per_s / reference.paper_inferences_per_s:.3g}",
        f"{there.cpu_per_s / base.cpu_per_s:.3g}" if length == 512 else "–",
        f"{there.gpu_per_s / base.gpu_per_s:.3g}" if length == 512 else "–",
        f"{reference.macs / own.macs:.3g}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
