"""What trimming a full-size multilingual vocabulary saves, with random weights.

    python benchmarks/trimmed_size.py --size 30000

Builds the shapes of the catalogue, trims them to that many pieces (spread evenly) and runs both
on the same pieces: parameters, megabytes, and the largest difference of a kept piece's logit.
"""

from __future__ import annotations

import argparse
import time

import torch
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from destilo.catalogue.models import model_entry
from destilo.trimming.model import trim_embeddings
from destilo.trimming.run import model_size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["dbert-base", "dbert-tiny"])
    parser.add_argument("--size", type=int, default=30_000, help="pieces that are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | pieces | parameters | of encoder | MB | seconds | difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in arguments.models:
        keys = dict(model_entry(name).config)
        torch.manual_seed(0)
        model = AutoModelForMaskedLM.from_config(
            AutoConfig.for_model(keys.pop("model_type"), **keys)
        ).eval()
        pieces = keys["vocab_size"]
        keep = sorted({number * pieces // arguments.size for number in range(arguments.size)})
        start = time.perf_counter()
        trimmed = trim_embeddings(model, keep=keep)
        seconds = time.perf_counter() - start
        before, after = model_size(model), model_size(trimmed)
        print(
            f"| {name} | {before.vocabulary:,} → {after.vocabulary:,} "
            f"| {before.parameters:,} → {after.parameters:,} "
            f"| {_encoder(model) / 1e6:.1f} M → {_encoder(trimmed) / 1e6:.1f} M "
            f"| {before.size_mb:.1f} → {after.size_mb:.1f} | {seconds:.1f} "
            f"| {_difference(model, trimmed, keep):.1e} |"
        )


def _encoder(model: PreTrainedModel) -> int:
    """Parameters without the head, but with the pooler that classifiers have."""
    base = model.base_model
    width = int(model.config.hidden_size)
    return sum(one.numel() for one in base.parameters()) + width * (width + 1)


def _difference(model: PreTrainedModel, trimmed: PreTrainedModel, keep: list[int]) -> float:
    new = torch.randint(0, len(keep), (2, 64), generator=torch.Generator().manual_seed(1))
    rows = torch.tensor(keep)
    with torch.inference_mode():
        whole = model(input_ids=rows[new], output_hidden_states=True)
        part = trimmed(input_ids=new, output_hidden_states=True)
    assert torch.equal(whole.hidden_states[-1], part.hidden_states[-1])
    return float((whole.logits[..., rows] - part.logits).abs().max())


if __name__ == "__main__":
    main()
