"""On real data beside the repository: the same ids as transformers' own encoding."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from destilo.rows import Answer, QuestionRow, TaggingRow, TextRow
from destilo.tasks import QuestionAnswering, TextTokenizer, make_task

SHARED = Path(__file__).parents[2] / ".." / "shared"
MODEL = SHARED / "models" / "es-mini"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MODEL.is_dir(), reason=f"no {MODEL}: the shared data are not here"),
]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.from_folder(MODEL)


def questions() -> list[QuestionRow]:
    content = json.loads((SHARED / "data/qa-es/train.json").read_text(encoding="utf-8"))
    return [
        QuestionRow(
            question["id"],
            question["question"],
            paragraph["context"],
            tuple(Answer(a["text"], a["answer_start"]) for a in question["answers"] if a["text"]),
        )
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def test_questions(tokenizer: TextTokenizer) -> None:
    from transformers import AutoTokenizer  # seconds to import

    reference = AutoTokenizer.from_pretrained(str(MODEL))
    task, rows = QuestionAnswering(), questions()
    examples = task.encode(rows, [tokenizer])
    windows = Counter(example.row for example in examples)
    assert len(windows) == len(rows)
    whole = [example for example in examples if windows[example.row] == 1]
    assert len(whole) > 6000
    for number, example in enumerate(whole):
        row, encoding = rows[example.row], example.encodings[0]
        assert row.answers
        assert encoding.offsets is not None
        answer = row.answers[0]
        gold = answer.start + len(answer.text) - len(answer.text.lstrip())
        stop = answer.start + len(answer.text.rstrip())
        start, end = int(encoding.labels["start"]), int(encoding.labels["end"])
        # The pieces of the label cover the answer, and no fewer do.
        assert encoding.offsets[start, 0] <= gold < encoding.offsets[start, 1]
        assert encoding.offsets[end, 0] < stop <= encoding.offsets[end, 1]
        if number % 5 == 0:
            expected = reference(row.question, row.context, return_token_type_ids=True)
            assert encoding.input_ids.tolist() == list(expected["input_ids"])
            assert encoding.token_type_ids is not None
            assert encoding.token_type_ids.tolist() == list(expected["token_type_ids"])


def test_sentences(tokenizer: TextTokenizer) -> None:
    from transformers import AutoTokenizer  # seconds to import

    reference = AutoTokenizer.from_pretrained(str(MODEL))
    text = (SHARED / "data/conll2002-es/dev.txt").read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    tokens = [tuple(line.split()[0] for line in block) for block in blocks]
    rows = [TaggingRow(str(number), words) for number, words in enumerate(tokens)]
    task = make_task("token-classification", labels=["O"])
    examples = task.encode(rows, [tokenizer])
    windows = Counter(example.row for example in examples)
    assert len(rows) == 1915
    for example in examples:
        if windows[example.row] > 1:
            continue
        expected = reference(list(tokens[example.row]), is_split_into_words=True)
        assert example.encodings[0].input_ids.tolist() == list(expected["input_ids"])
        units = [-1 if word is None else word for word in expected.word_ids()]
        assert example.encodings[0].units.tolist() == units


def test_pairs(tokenizer: TextTokenizer) -> None:
    from transformers import AutoTokenizer  # seconds to import

    reference = AutoTokenizer.from_pretrained(str(MODEL))
    lines = (SHARED / "data/parmex2022/dev.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [(row["sentence1"], row["sentence2"]) for row in map(json.loads, lines)]
    rows = [TextRow(str(number), *pair) for number, pair in enumerate(pairs)]
    task = make_task("text-classification", labels=["0", "1"], max_length=40)
    for pair, example in zip(pairs, task.encode(rows, [tokenizer]), strict=True):
        expected = reference(*pair, truncation="longest_first", max_length=40)
        assert example.encodings[0].input_ids.tolist() == list(expected["input_ids"])


def test_1190_questions_are_decoded_in_about_a_second(tokenizer: TextTokenizer) -> None:
    import time

    task, rows = QuestionAnswering(), questions()[:1190]
    examples = task.encode(rows, [tokenizer])
    random = np.random.default_rng(0)
    heads = [
        {name: random.normal(size=len(e.encodings[0])).astype(np.float32) for name in task.heads}
        for e in examples
    ]
    began = time.perf_counter()
    assert len(task.decode(rows, examples, heads)) == 1190
    assert time.perf_counter() - began < 5  # 0.6 s where this was written; a shared machine
