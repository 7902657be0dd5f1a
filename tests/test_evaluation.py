"""Measuring: batches change nothing, and a model follows itself to the letter."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from destilo.evaluation import evaluate_model, measure_fidelity, predict_heads
from destilo.rows import Answer, QuestionRow, Row, TaggingRow, TextRow
from destilo.tasks import Task
from destilo.tasks.base import Example, HeadArrays
from destilo.tasks.question_answering import QuestionAnswering
from destilo.tasks.text_classification import TextClassification
from destilo.tasks.token_classification import TokenClassification
from destilo.teacher.alignment import AlignmentMode
from tests.encoders import ARCHITECTURE_NAMES, LABELS, tiny_model
from tests.factories import SENTENCES, Kind, text_tokenizer

SETTINGS: dict[str, tuple[Task, list[Row]]] = {
    "tagging": (
        TokenClassification(LABELS, max_length=40),
        [
            TaggingRow(str(n), (*text.split(), "\u200b"), ("O",) * (len(text.split()) + 1))
            for n, text in enumerate(SENTENCES)
        ],
    ),
    "classes": (
        TextClassification(LABELS, max_length=40),
        [TextRow(str(n), text, label=LABELS[n % 3]) for n, text in enumerate(SENTENCES)],
    ),
    "questions": (
        QuestionAnswering(max_length=40, doc_stride=8, max_question_length=8),
        [
            QuestionRow(str(n), "¿Quién?", f"{text} \u200b", (Answer(text[:2], 0),))
            for n, text in enumerate(SENTENCES)
        ],
    ),
}


def heads_of(
    examples: Sequence[Example], task: Task, *, kind: Kind, side: int = 0, seed: int = 0
) -> list[HeadArrays]:
    tokenizer = text_tokenizer(kind)
    model = tiny_model(
        task=task.name, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id, seed=seed
    )
    heads, _ = predict_heads(
        model,
        [example.encodings[side] for example in examples],
        kinds=task.heads,
        pad_id=tokenizer.pad_id,
        batch_size=4,
    )
    return heads


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_batch_size_and_order_change_no_head(setting: str, model_type: str) -> None:
    task, rows = SETTINGS[setting]
    tokenizer = text_tokenizer("byte-level-bpe" if model_type == "roberta" else "wordpiece")
    model = tiny_model(
        model_type, task.name, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id
    )
    encodings = [example.encodings[0] for example in task.encode(rows, [tokenizer])]
    if model_type not in ("bert", "electra", "albert"):
        encodings = [replace(encoding, token_type_ids=None) for encoding in encodings]
    order = list(range(len(encodings)))
    random.Random(3).shuffle(order)

    def run(chosen: list[int], batch_size: int) -> tuple[dict[int, HeadArrays], float]:
        heads, loss = predict_heads(
            model,
            [encodings[index] for index in chosen],
            kinds=task.heads,
            pad_id=tokenizer.pad_id,
            batch_size=batch_size,
        )
        return dict(zip(chosen, heads, strict=True)), loss

    (alone, loss_alone), (mixed, loss_mixed) = run(sorted(order), 1), run(order, 5)
    assert loss_alone == pytest.approx(loss_mixed, rel=1e-5)
    for index in order:
        for name, head in alone[index].items():
            assert head.shape == mixed[index][name].shape
            np.testing.assert_allclose(head, mixed[index][name], atol=1e-5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_loss_is_the_mean_cross_entropy_with_the_gold_labels(setting: str) -> None:
    task, rows = SETTINGS[setting]
    tokenizer = text_tokenizer("wordpiece")
    model = tiny_model(task=task.name, vocab_size=tokenizer.vocab_size)
    encodings = [example.encodings[0] for example in task.encode(rows, [tokenizer])]
    heads, loss = predict_heads(
        model, encodings, kinds=task.heads, pad_id=tokenizer.pad_id, batch_size=3
    )
    losses = []
    for encoding, head in zip(encodings, heads, strict=True):
        for name, gold in encoding.labels.items():
            scores = head[name].reshape(-1, len(LABELS)) if task.labels else head[name][None]
            inside = slice(None) if task.labels else encoding.units >= 0
            for row, label in zip(scores, gold.reshape(-1), strict=True):
                if label >= 0:
                    chosen = row[inside].astype(np.float64)
                    losses.append(float(np.log(np.exp(chosen).sum()) - row[label]))
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_without_labels_there_is_no_loss() -> None:
    task = TokenClassification(LABELS)
    rows: list[Row] = [TaggingRow("1", ("La", "niña"))]
    tokenizer = text_tokenizer("wordpiece")
    _, loss = predict_heads(
        tiny_model(vocab_size=tokenizer.vocab_size),
        [example.encodings[0] for example in task.encode(rows, [tokenizer])],
        kinds=task.heads,
        pad_id=0,
        batch_size=2,
    )
    assert math.isnan(loss)


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_evaluation_scores_every_row(setting: str) -> None:
    task, rows = SETTINGS[setting]
    tokenizer = text_tokenizer("wordpiece")
    model = tiny_model(task=task.name, vocab_size=tokenizer.vocab_size)
    evaluated = evaluate_model(
        model,
        name="student",
        split="test",
        task=task,
        rows=rows,
        tokenizer=tokenizer,
        bootstrap_samples=20,
    )
    result = evaluated.result
    assert (result.model, result.split, result.n_rows) == ("student", "test", len(rows))
    assert set(result.scores) == set(task.metrics)
    assert result.main.n == len(rows)
    assert len(evaluated.predictions) == len(rows)
    assert type(result).model_validate_json(result.model_dump_json()) == result
    assert not model.training


@pytest.mark.parametrize("alignment", list(AlignmentMode))
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_model_follows_itself(setting: str, alignment: AlignmentMode) -> None:
    task, rows = SETTINGS[setting]
    examples = task.encode(rows, [text_tokenizer("wordpiece")])
    heads = heads_of(examples, task, kind="wordpiece")
    fidelity = measure_fidelity(
        heads, heads, task=task, examples=examples, teacher_encoding=0, alignment=alignment
    )
    assert fidelity.agreement == 1.0
    assert fidelity.mean_kl_nats == pytest.approx(0.0, abs=1e-6)
    assert fidelity.n_units > 0


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", ["wordpiece", "byte-level-bpe", "unigram"])
def test_fidelity_across_tokenizers(setting: str, kind: Kind) -> None:
    """Between 0 and 1, the same for any batch size, and worse than oneself."""
    task, rows = SETTINGS[setting]
    examples = task.encode(rows, [text_tokenizer("wordpiece"), text_tokenizer(kind)])
    student = heads_of(examples, task, kind="wordpiece")
    teacher = heads_of(examples, task, kind=kind, side=1, seed=1)
    results = [
        measure_fidelity(
            student,
            teacher,
            task=task,
            examples=examples,
            teacher_encoding=1,
            alignment=AlignmentMode.WORD,
            batch_size=size,
        )
        for size in (1, 3, 64)
    ]
    assert 0.0 <= results[0].agreement <= 1.0
    assert results[0].mean_kl_nats > 0
    for other in results[1:]:
        assert other.n_units == results[0].n_units
        assert other.agreement == results[0].agreement
        assert other.mean_kl_nats == pytest.approx(results[0].mean_kl_nats, rel=1e-5)


def test_agreement_and_divergence_by_hand() -> None:
    """Two rows; the second's highest class differs. KL(p || q) of (3/4, 1/4) and (1/4, 3/4)."""
    task = TextClassification(("a", "b"))
    rows: list[Row] = [TextRow("1", "La niña"), TextRow("2", "un olivo")]
    examples = task.encode(rows, [text_tokenizer("wordpiece")])
    p, q = np.log(np.array([[3, 1], [3, 1]]) / 4), np.log(np.array([[3, 1], [1, 3]]) / 4)
    teacher: list[HeadArrays] = [{"label": row.astype(np.float32)} for row in p]
    student: list[HeadArrays] = [{"label": row.astype(np.float32)} for row in q]
    fidelity = measure_fidelity(
        student,
        teacher,
        task=task,
        examples=examples,
        teacher_encoding=0,
        alignment=AlignmentMode.IDENTITY,
    )
    assert fidelity.agreement == 0.5
    # Row 2: 3/4 log 3 - 1/4 log 3 = log(3) / 2; the mean over two rows is half of it.
    assert fidelity.mean_kl_nats == pytest.approx(math.log(3) / 4, rel=1e-6)
    assert fidelity.n_units == 2


def test_nothing_to_compare_is_said_as_such() -> None:
    """Tagging a window whose only word has no piece in one tokenizer."""
    task = TokenClassification(LABELS)
    rows: list[Row] = [TaggingRow("1", ("\u200b",), ("O",))]
    examples = task.encode(rows, [text_tokenizer("wordpiece"), text_tokenizer("byte-level-bpe")])
    heads = [
        heads_of(examples, task, kind=kind, side=side)
        for side, kind in enumerate[Kind](("wordpiece", "byte-level-bpe"))
    ]
    fidelity = measure_fidelity(
        heads[0],
        heads[1],
        task=task,
        examples=examples,
        teacher_encoding=1,
        alignment=AlignmentMode.WORD,
    )
    assert fidelity.n_units == 0
    assert math.isnan(fidelity.agreement)


def test_measuring_leaves_random_states_alone() -> None:
    task, rows = SETTINGS["tagging"]
    examples = task.encode(rows, [text_tokenizer("wordpiece")])
    model = tiny_model(vocab_size=text_tokenizer("wordpiece").vocab_size)
    before = torch.get_rng_state()
    predict_heads(
        model,
        [example.encodings[0] for example in examples],
        kinds=task.heads,
        pad_id=0,
        batch_size=4,
    )
    assert torch.equal(torch.get_rng_state(), before)
