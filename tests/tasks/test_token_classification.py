import json
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destilo.errors import DataError, RecipeError
from destilo.rows import TaggingRow
from destilo.tasks import TextTokenizer, TokenClassification
from destilo.tasks.base import IGNORED
from tests.factories import KINDS, SENTENCES, Kind, gold_heads, raw_tokenizer, text_tokenizer

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TASK = TokenClassification(LABELS)
POS = TokenClassification(("NOUN", "X", "DET"), scheme="raw")
every_kind = pytest.mark.parametrize("kind", KINDS)
words = st.one_of(
    st.sampled_from(" ".join(SENTENCES).split()),
    st.sampled_from(["\u200b", "\x07", "", " ", "😀", "n\u0303", "\ufeff", "a" * 300, "\ud800"]),
    st.text(max_size=6),
)
sentences = st.lists(
    st.lists(st.tuples(words, st.sampled_from(LABELS)), max_size=25), min_size=1, max_size=4
)


def tokenizers() -> list[TextTokenizer]:
    return [text_tokenizer(kind) for kind in KINDS]


def rows_from(tagged: list[list[tuple[str, str]]]) -> list[TaggingRow]:
    return [
        TaggingRow(str(n), tuple(w for w, _ in row), tuple(t for _, t in row))
        for n, row in enumerate(tagged)
    ]


@settings(max_examples=80, deadline=None)
@given(tagged=sentences, max_length=st.integers(3, 40))
def test_laws_of_encoding_on_hostile_words(
    tagged: list[list[tuple[str, str]]], max_length: int
) -> None:
    rows = rows_from(tagged)
    task = TokenClassification(LABELS, max_length=max_length)
    examples = task.encode(rows, tokenizers())
    covered = [(e.row, word) for e in examples for word in e.unit_spans[:, 0].tolist()]
    assert covered == [(n, word) for n, row in enumerate(rows) for word in range(len(row.tokens))]
    for example in examples:
        row = rows[example.row]
        first = int(example.unit_spans[0, 0])
        for tokenizer, encoding in zip(tokenizers(), example.encodings, strict=True):
            assert len(encoding) <= max_length
            seen = -1
            for unit, label in zip(encoding.units, encoding.labels["label"], strict=True):
                if unit >= 0 and unit != seen:
                    assert row.tags is not None
                    assert LABELS[label] == row.tags[first + unit]
                    seen = unit
                else:
                    assert label == IGNORED
            pieces = tokenizer.words(row.tokens)
            room = max_length - tokenizer.single.n_special
            window = [w[:room] for w in pieces[first : first + len(example.unit_spans)]]
            inside = encoding.units >= 0
            assert encoding.input_ids[inside].tolist() == list(chain.from_iterable(window))
            counts = np.bincount(encoding.units[inside], minlength=len(window))
            assert counts.tolist() == [len(word) for word in window]


@settings(max_examples=30, deadline=None)
@given(tagged=sentences)
def test_gold_logits_decode_to_gold_tags(tagged: list[list[tuple[str, str]]]) -> None:
    rows = rows_from(tagged)
    task = TokenClassification(LABELS, max_length=16)
    for tokenizer in tokenizers():
        examples = task.encode(rows, [tokenizer])
        predictions = task.decode(rows, examples, gold_heads(task, examples))
        for row, prediction in zip(rows, predictions, strict=True):
            assert row.tags is not None
            expected = [
                tag if pieces else "O"
                for tag, pieces in zip(row.tags, tokenizer.words(row.tokens), strict=True)
            ]
            assert prediction["tags"] == expected
            assert all(
                (share > 0.99) == bool(pieces)
                for share, pieces in zip(
                    prediction["scores"], tokenizer.words(row.tokens), strict=True
                )
            )
            json.dumps(prediction)


@every_kind
def test_equal_tokenizers_give_equal_encodings(kind: Kind) -> None:
    row = TaggingRow("1", tuple(" ".join(SENTENCES).split()))
    tokenizer = text_tokenizer(kind)
    for example in TokenClassification(LABELS, max_length=20).encode([row], [tokenizer] * 2):
        mine, theirs = example.encodings
        assert np.array_equal(mine.input_ids, theirs.input_ids)
        assert np.array_equal(mine.units, theirs.units)
        assert mine.labels == theirs.labels == {}


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_words_are_encoded_as_pretokenized_input(kind: Kind) -> None:
    row = TaggingRow("1", tuple(SENTENCES[0].split()))
    (example,) = TASK.encode([row], [text_tokenizer(kind)])
    expected = raw_tokenizer(kind).encode(list(row.tokens), is_pretokenized=True)
    assert example.encodings[0].input_ids.tolist() == expected.ids
    units = [-1 if word is None else word for word in expected.word_ids]
    assert example.encodings[0].units.tolist() == units


def test_entities_are_read_across_windows_and_repaired() -> None:
    row = TaggingRow(
        "1",
        ("Inés", "Quiroga", "vive", "en", "Ávila", "Benito"),
        ("I-PER", "I-PER", "O", "O", "B-LOC", "I-PER"),
    )
    task = TokenClassification(LABELS, max_length=6)
    examples = task.encode([row], [text_tokenizer("wordpiece")])
    assert len(examples) > 2
    (prediction,) = task.decode([row], examples, gold_heads(task, examples))
    assert prediction["entities"] == [
        {"type": "PER", "start_word": 0, "end_word": 2, "text": "Inés Quiroga"},
        {"type": "LOC", "start_word": 4, "end_word": 5, "text": "Ávila"},
        {"type": "PER", "start_word": 5, "end_word": 6, "text": "Benito"},
    ]


def test_the_fallback_of_words_without_a_piece() -> None:
    assert TASK.fallback == "O"
    assert POS.fallback == "X"
    assert TokenClassification(("NOUN", "DET"), scheme="raw").fallback == "NOUN"
    row = TaggingRow("1", ("\u200b", "casa"), ("NOUN", "NOUN"))
    examples = POS.encode([row], [text_tokenizer("wordpiece")])
    (prediction,) = POS.decode([row], examples, gold_heads(POS, examples))
    assert prediction["tags"] == ["X", "NOUN"]
    assert prediction["scores"][0] == 0.0
    assert "entities" not in prediction


def test_a_sentence_without_words_has_no_example() -> None:
    rows = [TaggingRow("1", (), ()), TaggingRow("2", ("casa",), ("O",))]
    examples = TASK.encode(rows, tokenizers())
    assert [example.row for example in examples] == [1]
    predictions = TASK.decode(rows, examples, gold_heads(TASK, examples))
    assert [prediction["tags"] for prediction in predictions] == [[], ["O"]]


@pytest.mark.parametrize("task", [TASK, POS])
def test_scores_are_the_metrics_with_the_main_one_first(task: TokenClassification) -> None:
    tag = task.labels[1]
    rows = [TaggingRow("1", ("casa", "río"), (tag, tag)), TaggingRow("2", ("casa",))]
    predictions = [{"tags": [tag, tag]}, {"tags": [tag]}]
    scores = task.score(rows, predictions, bootstrap_samples=10)
    assert tuple(scores) == task.metrics
    assert task.metrics[0] == task.main_metric
    assert scores[task.main_metric].n == 1
    assert scores[task.main_metric].value == 1.0
    assert task.score(rows[1:], predictions[1:], bootstrap_samples=10) == {}


def test_bad_input_is_refused_with_its_place() -> None:
    row = TaggingRow("7", ("casa",), ("B-PRE",), where="ner.txt:12")
    with pytest.raises(DataError, match=r"ner\.txt:12: Unknown tag 'B-PRE'.*'B-PER'"):
        TASK.encode([row], tokenizers())
    with pytest.raises(DataError, match="Row 7: 1 words but 2 tags"):
        TASK.encode([TaggingRow("7", ("casa",), ("O", "O"))], tokenizers())
    with pytest.raises(RecipeError, match="Unknown tag scheme 'bio'"):
        TokenClassification(LABELS, scheme="bio")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(RecipeError, match="leave no room"):
        TokenClassification(LABELS, max_length=2).encode([row], tokenizers())
