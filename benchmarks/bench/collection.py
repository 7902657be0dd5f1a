"""A sweep of seconds: tiny models from nothing on the embedded data."""

from __future__ import annotations

from typing import Any

_WIDE = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
_TOKENIZER = {"algorithm": "wordpiece", "vocab_size": 400}


def tiny_sweep(n: int, *, max_steps: int = 2, whole: bool = False) -> dict[str, Any]:
    """A sweep whose students make ``n`` trials each.

    Args:
        n: Learning rates that are tried.
        max_steps: Of every training.
        whole: With a second candidate, a second student, two seeds, and students without
            distillation.
    """
    split = {"format": "synthetic", "size": 40}
    teachers = {"wide": {"config": _WIDE, "tokenizer": _TOKENIZER}}
    students = {"one-layer": {"from": "layers", "layers": 1}}
    if whole:
        teachers["narrow"] = {"config": _WIDE | {"hidden_size": 16}, "tokenizer": _TOKENIZER}
        students["two-layers"] = {"from": "layers", "layers": 2}
    return {
        "base": {
            "task": "question-answering",
            "data": {"train": split, "validation": split, "test": split, "leak_check": "off"},
            "encoding": {"max_length": 224},
            "training": {
                "max_steps": max_steps,
                "save_steps": 5,
                "threads": 1,
                "per_device_train_batch_size": 4,
            },
            "profile": {"samples": 5, "warmup": 1},
        },
        "datasets": {"questions": {}},
        "teachers": teachers,
        "students": students,
        "distil": {
            "grid": {"learning_rate": [1e-5 * (1 + number) for number in range(n)]},
            "without_distillation": whole,
        },
        "seeds": [13, 14] if whole else [13],
    }
