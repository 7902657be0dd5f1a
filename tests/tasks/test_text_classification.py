import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from destilo.errors import DataError, RecipeError
from destilo.rows import TextRow
from destilo.tasks import (
    QuestionAnswering,
    TextClassification,
    TokenClassification,
    make_task,
    task_from_settings,
)
from destilo.tasks.base import HeadKind, Task
from tests.factories import KINDS, SENTENCES, Kind, gold_heads, raw_tokenizer, text_tokenizer

TASK = TextClassification(("no", "sí"), max_length=24)
ROWS = [
    TextRow("1", SENTENCES[0], None, "sí"),
    TextRow("2", SENTENCES[1], SENTENCES[2], "no"),
    TextRow("3", "", "", "no"),
    TextRow("4", " ".join(SENTENCES), "fin", "sí"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_and_pairs_are_encoded_and_cut_as_the_tokenizer_does(kind: Kind) -> None:
    raw = Tokenizer.from_str(raw_tokenizer(kind).to_str())
    raw.enable_truncation(TASK.max_length, strategy="longest_first")
    examples = TASK.encode(ROWS, [text_tokenizer(kind)])
    for row, example in zip(ROWS, examples, strict=True):
        encoding = example.encodings[0]
        pair = (row.text,) if row.text_pair is None else (row.text, row.text_pair)
        expected = raw.encode(*pair)
        assert encoding.input_ids.tolist() == expected.ids
        if encoding.token_type_ids is not None:
            assert encoding.token_type_ids.tolist() == expected.type_ids
        assert (encoding.units == -1).all()
        assert example.unit_spans.shape == (0, 2)
        assert encoding.labels["label"].shape == ()
        assert TASK.labels[encoding.labels["label"]] == row.label


def test_gold_logits_decode_to_gold_labels() -> None:
    examples = TASK.encode(ROWS, [text_tokenizer(kind) for kind in KINDS])
    assert [len(example.encodings) for example in examples] == [3] * len(ROWS)
    predictions = TASK.decode(ROWS, examples, gold_heads(TASK, examples))
    assert [prediction["label"] for prediction in predictions] == [row.label for row in ROWS]
    for prediction in predictions:
        assert sum(prediction["scores"].values()) == pytest.approx(1)
        assert prediction["score"] == max(prediction["scores"].values())
    json.dumps(predictions)
    scores = TASK.score(ROWS, predictions, bootstrap_samples=20)
    assert tuple(scores) == TASK.metrics
    assert scores["accuracy"].value == scores["macro_f1"].value == 1


def test_unlabelled_rows_are_encoded_and_not_scored() -> None:
    row = TextRow("1", "hola")
    (example,) = TASK.encode([row], [text_tokenizer("unigram")])
    assert example.encodings[0].labels == {}
    predictions = TASK.decode([row], [example], [{"label": np.zeros(2, np.float32)}])
    assert TASK.score([row], predictions, bootstrap_samples=20) == {}


def test_an_unknown_label_is_refused_with_its_place() -> None:
    row = TextRow("1", "hola", None, "si", where="a.csv:9")
    with pytest.raises(DataError, match=r"a\.csv:9: Unknown label 'si'"):
        TASK.encode([row], [text_tokenizer("unigram")])


@pytest.mark.parametrize(
    "task",
    [
        TASK,
        TokenClassification(("DET", "NOUN"), scheme="raw", language="tl"),
        QuestionAnswering(no_answer=True, no_answer_threshold=-1.25, doc_stride=64),
    ],
)
def test_settings_make_the_same_task_again(task: Task) -> None:
    assert task_from_settings(json.loads(json.dumps(task.settings()))) == task
    assert task.main_metric == task.metrics[0]
    assert all(isinstance(kind, HeadKind) for kind in task.heads.values())


def test_tasks_are_made_by_name_and_wrong_ones_refused() -> None:
    assert make_task("text-classification", labels=["no", "sí"], max_length=24) == TASK
    with pytest.raises(RecipeError, match=r"Unknown task 'text-clasification'\. Did you mean"):
        make_task("text-clasification", labels=["a"])
    with pytest.raises(RecipeError, match=r"Unknown setting .* 'doc_strid'\. Did you mean"):
        make_task("question-answering", doc_strid=3)
    with pytest.raises(RecipeError, match="has no labels"):
        make_task("question-answering", labels=["a"])
    with pytest.raises(RecipeError, match="needs labels"):
        make_task("text-classification")
    with pytest.raises(RecipeError, match="more than once"):
        make_task("token-classification", labels=["a", "b", "a"])
    with pytest.raises(RecipeError, match="'task' is missing"):
        task_from_settings({"max_length": 3})
