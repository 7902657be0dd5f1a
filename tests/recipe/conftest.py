"""A recipe that needs no file, as a mapping, and small model folders made of JSON alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

MakeModel: TypeAlias = Callable[..., str]


@pytest.fixture
def minimal() -> dict[str, Any]:
    return {
        "task": "question-answering",
        "data": {
            "train": {"format": "synthetic"},
            "validation": {"format": "synthetic", "split": "validation"},
        },
        "teacher": {
            "config": {
                "model_type": "bert",
                "hidden_size": 32,
                "num_hidden_layers": 4,
                "num_attention_heads": 2,
                "intermediate_size": 64,
            },
            "tokenizer": {"algorithm": "wordpiece", "vocab_size": 500},
            "finetune": {},
        },
        "student": {"from": "layers", "layers": 2},
        "objective": [{"term": "labels"}, {"term": "kl", "temperature": 2}],
    }


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model folder without weights; keys given override its configuration."""

    def make(name: str = "model", *, tokenizer: str | None = "{}", **keys: Any) -> str:
        folder = tmp_path / name
        folder.mkdir()
        config = {
            "model_type": "bert",
            "architectures": ["BertForQuestionAnswering"],
            "num_hidden_layers": 6,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 512,
        } | keys
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if tokenizer is not None:
            (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        return str(folder)

    return make
