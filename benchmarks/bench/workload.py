"""The work that is timed: token classification with a small BERT and its 3-layer student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForTokenClassification

from destilo.data.readers import read_split
from destilo.models.folder import text_tokenizer
from destilo.models.vocabulary import train_tokenizer
from destilo.profiling import describe_machine
from destilo.rows import TaggingRow
from destilo.tasks import make_task
from destilo.tasks.base import Encoding, Example

VOCABULARY, CLASSES, MAX_LENGTH = 16_000, 9, 128

# Pieces per sentence at these percentiles in the Spanish CoNLL-2002 training file (a 16k WordPiece
# vocabulary): a quarter are datelines and headings, the rest long sentences.
_PERCENTILES = (0, 5, 25, 50, 75, 90, 95, 99, 100)
_LENGTHS = (3, 3, 19, 45, 61, 73, 82, 120, MAX_LENGTH)


def make_model(*, layers: int, seed: int) -> BertForTokenClassification:
    """A BERT of 384 dimensions with random weights."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=1536,
        id2label={number: f"class-{number}" for number in range(CLASSES)},
        label2id={f"class-{number}": number for number in range(CLASSES)},
    )
    return BertForTokenClassification(config)


def synthetic_examples(count: int, *, seed: int = 13) -> list[Example]:
    """Sentences of random pieces, every piece a labelled word, lengths as in CoNLL-2002."""
    random = np.random.default_rng(seed)
    lengths = np.interp(random.uniform(0, 100, count), _PERCENTILES, _LENGTHS).astype(int)
    return [_example(number, int(length), random) for number, length in enumerate(lengths)]


def _example(number: int, length: int, random: np.random.Generator) -> Example:
    words = length - 2  # the marks at the ends
    labels = np.full(length, -100, dtype=np.int64)
    labels[1:-1] = random.integers(0, CLASSES, words)
    encoding = Encoding(
        input_ids=random.integers(5, VOCABULARY, length),
        units=np.concatenate([[-1], np.arange(words), [-1]]).astype(np.int64),
        token_type_ids=np.zeros(length, dtype=np.int64),
        labels={"label": labels},
    )
    spans = np.arange(words)[:, None] + np.array([0, 1])
    return Example(row=number, id=str(number), encodings=(encoding,), unit_spans=spans)


def conll_examples(path: Path, *, count: int, seed: int = 13) -> list[Example]:
    """Sentences of a CoNLL file (word first, tag last), encoded by a tokenizer trained on it."""
    split = read_split(
        "train",
        task="token-classification",
        format="conll",
        path=[path],
        columns={"tokens": 0, "tags": -1},
    )
    rows = [row for row in split.rows if isinstance(row, TaggingRow)]
    made = train_tokenizer(
        (" ".join(row.tokens) for row in rows), algorithm="wordpiece", vocab_size=VOCABULARY
    )
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    labels = sorted({tag for row in rows for tag in row.tags or ()})
    task = make_task("token-classification", labels=labels, max_length=MAX_LENGTH)
    tokenizer = text_tokenizer(made, BertConfig(vocab_size=len(made)))
    return task.encode([rows[index] for index in chosen], [tokenizer])


def heading(title: str, *, threads: int, settings: Sequence[str]) -> str:
    """Say what is measured, where, and with what."""
    machine = describe_machine(device="cpu", threads=threads)
    lines = [
        f"# {title}",
        "",
        f"{machine.processor}, {machine.cpu_count} CPUs, {threads} thread(s), {machine.platform}",
        f"python {machine.python}, torch {machine.torch}, transformers {transformers.__version__}",
        *settings,
        "",
    ]
    return "\n".join(lines)
