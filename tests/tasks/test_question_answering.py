import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destilo.errors import DataError, RecipeError
from destilo.rows import Answer, QuestionRow, TextRow
from destilo.tasks import QuestionAnswering, TextTokenizer
from destilo.tasks.base import Encoding, Example, Prediction
from tests.factories import KINDS, SENTENCES, Kind, gold_heads, raw_tokenizer, text_tokenizer

TASK = QuestionAnswering()
every_kind = pytest.mark.parametrize("kind", KINDS)

# Letters of our sentences, and what breaks tokenizers: NFD, emoji, zero-width, controls, spaces.
HOSTILE = st.text(
    alphabet=st.sampled_from(
        [*"aeiolsrn dté¿.,«\n\t", *"😀👍🏽ñÁ\u0301\u200b\u200d\x00\x07\u00a0ﬁ中"]
    ),
    max_size=120,
)


def tokenizers() -> list[TextTokenizer]:
    return [text_tokenizer(kind) for kind in KINDS]


def ask(
    context: str,
    *answers: str,
    question: str = "¿Quién?",
    row_id: str = "q",
    unlabelled: bool = False,
) -> QuestionRow:
    gold = tuple(Answer(answer, context.index(answer)) for answer in answers)
    return QuestionRow("q", question, context, None if unlabelled else gold)


def window_text(example: Example, context: str) -> str:
    spans = example.unit_spans[1:]
    return context[spans[0, 0] : spans[-1, 1]] if len(spans) else ""


def by_row(examples: Sequence[Example]) -> dict[int, list[Example]]:
    found: dict[int, list[Example]] = {}
    for example in examples:
        found.setdefault(example.row, []).append(example)
    return found


@every_kind
def test_a_context_that_fits_is_encoded_as_the_tokenizer_does(kind: Kind) -> None:
    row = ask(SENTENCES[0], question=SENTENCES[1])
    (example,) = TASK.encode([row], [text_tokenizer(kind)])
    expected = raw_tokenizer(kind).encode(row.question, row.context)
    assert example.encodings[0].input_ids.tolist() == expected.ids


@every_kind
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_gold_answers_are_recovered(kind: Kind, form: Literal["NFC", "NFD"]) -> None:
    context = unicodedata.normalize(form, " ".join(SENTENCES))
    words = [unicodedata.normalize(form, word) for word in ("Ávila", "Benito", "siete", "cayó")]
    rows = [ask(context, word) for word in words]
    examples = TASK.encode(rows, [text_tokenizer(kind)])
    assert len(examples) == len(rows)
    predictions = TASK.decode(rows, examples, gold_heads(TASK, examples))
    assert [prediction["answer"] for prediction in predictions] == words
    for row, prediction in zip(rows, predictions, strict=True):
        assert row.context[prediction["start"] : prediction["end"]] == prediction["answer"]
    scores = TASK.score(rows, predictions, bootstrap_samples=10)
    assert {name: score.value for name, score in scores.items()} == dict.fromkeys(TASK.metrics, 1.0)


@settings(max_examples=80, deadline=None)
@given(contexts=st.lists(HOSTILE, min_size=1, max_size=3), data=st.data())
def test_laws_of_encoding_on_hostile_text(contexts: list[str], data: st.DataObject) -> None:
    task = QuestionAnswering(max_length=data.draw(st.integers(9, 60)), doc_stride=8)
    questions = [data.draw(HOSTILE) for _ in contexts]
    rows = []
    for number, context in enumerate(contexts):
        start = data.draw(st.integers(0, len(context)))
        text = context[start : data.draw(st.integers(start, len(context)))]
        rows.append(QuestionRow(str(number), questions[number], context, (Answer(text, start),)))
    examples = task.encode(rows, tokenizers())
    windows = by_row(examples)
    assert list(windows) == list(range(len(rows)))
    for number, row in enumerate(rows):
        own = windows[number]
        covered = {tuple(span) for example in own for span in example.unit_spans[1:].tolist()}
        assert "".join(row.context[a:b] for a, b in sorted(covered)) == "".join(row.context.split())
        for example in own:
            for encoding, tokenizer in zip(example.encodings, tokenizers(), strict=True):
                check_encoding(task, example, encoding, tokenizer, row)


def check_encoding(
    task: QuestionAnswering,
    example: Example,
    encoding: Encoding,
    tokenizer: TextTokenizer,
    row: QuestionRow,
) -> None:
    assert len(encoding) <= task.max_length
    assert encoding.input_ids[0] == tokenizer.cls_id
    assert encoding.units[0] == 0
    assert (encoding.token_type_ids is not None) is tokenizer.uses_token_type_ids
    assert encoding.offsets is not None
    inside = encoding.units > 0
    assert (encoding.offsets[~inside] == 0).all()
    assert (np.diff(encoding.units[inside]) >= 0).all()
    spans, pieces = example.unit_spans[encoding.units[inside]], encoding.offsets[inside]
    assert ((pieces[:, 0] >= spans[:, 0]) & (pieces[:, 0] <= spans[:, 1])).all()
    assert (pieces[:, 1] >= pieces[:, 0]).all()
    assert (pieces[:, 1] <= len(row.context)).all()
    start, end = int(encoding.labels["start"]), int(encoding.labels["end"])
    assert 0 <= start <= end < len(encoding)
    if not start:
        assert not end
        return
    assert row.answers
    gold = row.answers[0].text
    found = row.context[encoding.offsets[start, 0] : encoding.offsets[end, 1]]
    # A label covers whole pieces; characters that have no piece (zero-width) may be missing.
    visible = "".join(char for char in gold.strip() if char.isalpha() and char.isascii())
    assert visible in "".join(char for char in found if char.isalpha() and char.isascii())


@every_kind
def test_equal_tokenizers_give_equal_encodings(kind: Kind) -> None:
    tokenizer = text_tokenizer(kind)
    rows = [ask(" ".join(SENTENCES), "Benito", question=SENTENCES[1])]
    task = replace(TASK, max_length=64, doc_stride=10)
    for example in task.encode(rows, [tokenizer, tokenizer]):
        mine, theirs = example.encodings
        for name in ("input_ids", "units", "token_type_ids", "offsets"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name))
        assert mine.labels == theirs.labels


def test_joint_windows_are_those_of_the_tokenizer_that_needs_most() -> None:
    row = ask(" ".join(SENTENCES * 3), "Benito")
    task = replace(TASK, max_length=96, doc_stride=24)
    together = task.encode([row], tokenizers())
    for example in together:
        assert all(len(encoding) <= 96 for encoding in example.encodings)
        assert max(len(encoding) for encoding in example.encodings) > 70 or example is together[-1]
        assert all(
            set(e.units[e.units > 0]) <= set(range(1, len(example.unit_spans)))
            for e in example.encodings
        )
    assert [example.row for example in together] == [0] * len(together)


def test_an_answer_is_labelled_in_each_window_that_holds_it_whole() -> None:
    context = " ".join(SENTENCES)
    row = ask(context, "sardinas")
    task = replace(TASK, max_length=64, doc_stride=20)
    examples = task.encode([row], [text_tokenizer("wordpiece")])
    assert len(examples) > 3
    for example in examples:
        assert bool(example.encodings[0].labels["start"]) == (
            "sardinas" in window_text(example, context)
        )


def test_the_first_gold_answer_that_is_in_the_window_counts() -> None:
    context = " ".join(SENTENCES)
    row = ask(context, "Cuéllar", "Ávila", "niña")
    task = replace(TASK, max_length=64, doc_stride=0)
    first = task.encode([row], [text_tokenizer("wordpiece")])[0].encodings[0]
    assert first.offsets is not None
    start = int(first.labels["start"])
    assert context[first.offsets[start, 0] :].startswith("Ávila")


@pytest.mark.parametrize("answers", [(), (Answer("", 0),), (Answer("", -1),), (Answer(" ", 2),)])
def test_no_answer_is_the_first_position(answers: tuple[Answer, ...]) -> None:
    row = QuestionRow("q", "¿Quién?", "La niña de Ávila", answers)
    encoding = TASK.encode([row], [text_tokenizer("unigram")])[0].encodings[0]
    assert (int(encoding.labels["start"]), int(encoding.labels["end"])) == (0, 0)


def test_unlabelled_rows_have_no_labels_and_are_not_scored() -> None:
    row = ask(SENTENCES[0], unlabelled=True)
    examples = TASK.encode([row], tokenizers())
    assert all(not encoding.labels for encoding in examples[0].encodings)
    zeros = [dict.fromkeys(TASK.heads, np.zeros(len(examples[0].encodings[0]), np.float32))]
    predictions = TASK.decode([row], examples, zeros)
    assert TASK.score([row], predictions, bootstrap_samples=10) == {}


def test_a_word_of_100_000_characters() -> None:
    context = "casa " * 10 + "a" * 100_000 + " final"
    row = ask(context, "final")
    task = replace(TASK, max_length=128, doc_stride=32)
    examples = task.encode([row], tokenizers())
    assert len(examples) > 3
    assert all(len(e) <= 128 for example in examples for e in example.encodings)
    prediction = task.decode([row], examples, gold_heads(task, examples))[0]
    assert prediction["answer"] == "final"


def test_a_context_of_100_000_characters() -> None:
    context = " ".join(SENTENCES * 200)[:100_000] + " Quiteria"
    row = ask(context, "Quiteria")
    examples = TASK.encode([row], tokenizers())
    prediction = TASK.decode([row], examples, gold_heads(TASK, examples))[0]
    assert (prediction["answer"], prediction["end"]) == ("Quiteria", len(context))


@pytest.mark.parametrize("context", ["", "  \n", "\u3000"])
def test_a_context_without_words_has_no_answer(context: str) -> None:
    row = QuestionRow("q", "¿Quién?", context, ())
    examples = TASK.encode([row], tokenizers())
    assert [len(example.unit_spans) for example in examples] == [1]
    heads = gold_heads(TASK, examples)
    assert TASK.decode([row], examples, heads)[0]["answer"] == ""


def test_a_question_longer_than_the_window_leaves_half_of_it() -> None:
    row = ask(" ".join(SENTENCES), "Benito", question=" ".join(SENTENCES * 4))
    for max_length, most in ((200, 64), (32, 14)):
        task = replace(TASK, max_length=max_length)
        for example in task.encode([row], tokenizers()):
            for encoding in example.encodings:
                assert (encoding.units == -1).sum() <= most + 4
                assert (encoding.units > 0).any()
    with pytest.raises(RecipeError, match="max_length"):
        replace(TASK, max_length=3).encode([row], tokenizers())


def brute_force(
    encoding: Encoding, start: np.ndarray, end: np.ndarray, context: str, max_words: int
) -> tuple[str, float]:
    """The best span by trying all pairs."""
    assert encoding.offsets is not None
    best = ("", -np.inf)
    for first in np.flatnonzero(encoding.units > 0):
        for last in range(first, len(encoding)):
            unit = encoding.units[last]
            if unit < 1 or unit - encoding.units[first] >= max_words:
                continue
            text = context[encoding.offsets[first, 0] : encoding.offsets[last, 1]].strip()
            score = float(start[first]) + float(end[last])
            if text and score > best[1]:
                best = (text, score)
    return best


@every_kind
@pytest.mark.parametrize("max_words", [1, 3, 30])
def test_the_best_span_is_the_best_of_all(kind: Kind, max_words: int) -> None:
    random = np.random.default_rng(3)
    rows = [ask(" ".join(SENTENCES[n : n + 2]) + " 😀 fin ") for n in range(6)]
    task = replace(TASK, max_answer_length=max_words)
    examples = task.encode(rows, [text_tokenizer(kind)])
    heads = [
        {name: random.normal(size=len(e.encodings[0])).astype(np.float32) for name in TASK.heads}
        for e in examples
    ]
    for row, example, head, prediction in zip(
        rows, examples, heads, task.decode(rows, examples, heads), strict=True
    ):
        text, score = brute_force(
            example.encodings[0], head["start"], head["end"], row.context, max_words
        )
        assert prediction["answer"] == text
        assert prediction["score"] == pytest.approx(score)
        spans = [(entry["start"], entry["end"]) for entry in prediction["n_best"]]
        assert len(set(spans)) == len(spans) == task.n_best
        scores = [entry["score"] for entry in prediction["n_best"]]
        assert scores == sorted(scores, reverse=True)
        assert sum(e["probability"] for e in prediction["n_best"]) == pytest.approx(1, abs=1e-5)
        null = float(head["start"][0] + head["end"][0])
        assert prediction["no_answer_score"] == pytest.approx(null - score, abs=1e-5)
        json.dumps(prediction)


def _confident(
    task: QuestionAnswering, rows: list[QuestionRow], null: Sequence[float]
) -> list[Prediction]:
    """Predictions of a model that always finds 'Benito', with these scores for no answer."""
    labelled = [ask(row.context, "Benito") for row in rows]
    examples = task.encode(labelled, [text_tokenizer("wordpiece")])
    heads = gold_heads(task, examples, logit=5.0)
    for head, score in zip(heads, null, strict=True):
        head["start"][0] = score
    return task.decode(rows, examples, heads)


def test_no_answer_has_its_place_among_the_best() -> None:
    task = replace(TASK, no_answer=True)
    rows = [ask(SENTENCES[2], "Benito")] * 3
    for prediction in _confident(task, rows, [20.0, 8.0, -9.0]):
        scores = [entry["score"] for entry in prediction["n_best"]]
        assert scores == sorted(scores, reverse=True)
        assert [entry["answer"] for entry in prediction["n_best"]].count("") == 1


def test_the_threshold_decides_on_no_answer_and_is_tuned() -> None:
    context = SENTENCES[2]
    rows = [ask(context, "Benito"), ask(context, "Benito"), ask(context), ask(context, "Benito")]
    null = [8.0, 11.0, 13.0, 15.0]  # the span scores 10: differences -2, 1, 3, 5
    always = _confident(TASK, rows, null)
    assert [p["answer"] for p in always] == ["Benito"] * 4
    assert [p["no_answer_score"] for p in always] == pytest.approx([-2, 1, 3, 5])
    optional = _confident(replace(TASK, no_answer=True), rows, null)
    assert [p["answer"] for p in optional] == ["Benito", "", "", ""]
    assert [p["start"] for p in optional][1:] == [None] * 3
    # Above 1: rows 1, 2 and 3 right. Above 5, never: 1, 2 and 4. Of equals the lowest.
    for predictions in (always, optional):
        tuned = TASK.tune_no_answer_threshold(rows, predictions)
        assert tuned.no_answer
        assert tuned.no_answer_threshold == pytest.approx(1)
    final = _confident(tuned, rows, null)
    assert [p["answer"] for p in final] == ["Benito", "Benito", "", ""]
    assert tuned.score(rows, final, bootstrap_samples=0)["f1"].value == pytest.approx(3 / 4)


def test_tuning_where_no_row_has_an_answer_and_where_none_is_labelled() -> None:
    rows = [ask(SENTENCES[2]), ask(SENTENCES[2])]
    predictions = _confident(TASK, rows, [0.0, 4.0])
    tuned = TASK.tune_no_answer_threshold(rows, predictions)
    assert [p["answer"] for p in _confident(tuned, rows, [0.0, 4.0])] == ["", ""]
    unlabelled = [ask(SENTENCES[2], unlabelled=True)] * 2
    assert TASK.tune_no_answer_threshold(unlabelled, predictions).no_answer_threshold == 0.0


def test_the_best_of_several_windows_is_taken() -> None:
    context = " ".join(SENTENCES)
    row = ask(context, "sierra")
    task = replace(TASK, max_length=48, doc_stride=16)
    examples = task.encode([row], [text_tokenizer("wordpiece")])
    heads = gold_heads(task, examples)
    prediction = task.decode([row], examples, heads)[0]
    assert prediction["answer"] == "sierra"
    # Windows without the answer say "no answer", but the row's score is the lowest of them.
    assert prediction["no_answer_score"] == pytest.approx(-40)


def test_rows_of_another_task_are_refused() -> None:
    with pytest.raises(DataError, match=r"b\.csv:3: question-answering needs QuestionRow"):
        TASK.encode([TextRow("1", "hola", where="b.csv:3")], tokenizers())
