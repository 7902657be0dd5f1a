"""What is cached is what a live teacher says, whoever reads it; what is damaged is never used."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from destilo.errors import ModelError
from destilo.models.outputs import Pair
from destilo.tasks import Task
from destilo.tasks.base import Example
from destilo.tasks.text_classification import TextClassification
from destilo.teacher.alignment import AlignmentMode, pair_batch
from destilo.teacher.cache import TeacherCache, example_key, missing, open_cache
from destilo.teacher.filling import fill_cache
from destilo.teacher.source import CachedTeacher, LiveTeacher
from destilo.teacher.store import HALF_PRECISION_ERROR, HALF_PRECISION_STEP
from destilo.training.batches import collate
from tests.encoders import tiny_model
from tests.factories import KINDS, SENTENCES, Kind, text_tokenizer
from tests.teacher.test_alignment import (
    ANSWERING,
    LABELS,
    TAGGING,
    asked,
    encoded,
    random_outputs,
    tagged,
)

torch.set_num_threads(1)

CLASSES = TextClassification(LABELS, max_length=32)
TASKS: dict[str, Task] = {"tags": TAGGING, "answers": ANSWERING, "classes": CLASSES}


def rows_of(name: str) -> list[object]:
    from destilo.rows import TextRow

    if name == "classes":
        return [TextRow(str(n), text) for n, text in enumerate(SENTENCES)]
    return list(tagged() if name == "tags" else asked())


def made(name: str, student: Kind, teacher: Kind) -> list[Example]:
    return encoded(TASKS[name], rows_of(name), student, teacher)  # type: ignore[arg-type]


def live(name: str, kind: Kind, *, seed: int = 0) -> LiveTeacher:
    tokenizer = text_tokenizer(kind)
    task = TASKS[name]
    model = tiny_model("bert", task.name, vocab_size=500, pad_id=tokenizer.pad_id, seed=seed)
    return LiveTeacher(model.eval(), tuple(task.heads), 1, AlignmentMode.WORD, tokenizer.pad_id)


def filled(
    folder: Path, name: str, examples: Sequence[Example], teacher: LiveTeacher, **options: object
) -> TeacherCache:
    return fill_cache(
        folder,
        examples,
        teacher=teacher,
        kinds=TASKS[name].heads,
        facts={"of": name},
        **{"precision": "fp32", "batch_size": 1} | options,  # type: ignore[arg-type]
    )


def pairs(name: str, examples: list[Example], *teachers: LiveTeacher | CachedTeacher) -> list[Pair]:
    kinds = TASKS[name].heads
    micro = collate(examples, kinds=kinds, pad_id=0, teachers=teachers, device=torch.device("cpu"))
    student = random_outputs(TASKS[name], examples, 0, seed=3)
    return [
        pairing.pair(student, teacher.outputs(inputs), kinds)
        for teacher, inputs, pairing in zip(teachers, micro.teachers, micro.pairings, strict=True)
    ]


@pytest.mark.parametrize("teacher", KINDS)
@pytest.mark.parametrize("student", KINDS)
@pytest.mark.parametrize("name", TASKS)
def test_cached_equals_live_for_every_task_and_pair_of_tokenizers(
    name: str, student: Kind, teacher: Kind, tmp_path: Path
) -> None:
    examples = made(name, student, teacher)
    source = live(name, teacher)
    cached = CachedTeacher(filled(tmp_path, name, examples, source), 1)
    for example in examples:  # one at a time: padding changes a matrix product's last bit
        one, other = pairs(name, [example], source, cached)
        for head in TASKS[name].heads:
            mine, theirs = one.teacher[head], other.teacher[head]
            assert torch.equal(mine.logits.float(), theirs.logits), (example.id, head)
            assert (mine.mask is None) == (theirs.mask is None)
            if mine.mask is not None and theirs.mask is not None:
                assert torch.equal(mine.mask, theirs.mask)


@pytest.mark.parametrize("name", TASKS)
def test_half_precision_is_off_by_the_stated_share_at_most(name: str, tmp_path: Path) -> None:
    examples = made(name, "unigram", "wordpiece")
    source = live(name, "wordpiece")
    exact = filled(tmp_path / "fp32", name, examples, source)
    half = filled(tmp_path / "fp16", name, examples, source, precision="fp16")
    for key in (example_key(example.encodings[1]) for example in examples):
        for head, values in exact.row(key).logits.items():
            error = np.abs(half.row(key).logits[head].astype(np.float64) - values)
            bound = np.maximum(HALF_PRECISION_ERROR * np.abs(values), HALF_PRECISION_STEP)
            assert bool((error <= bound).all())


@pytest.mark.parametrize(("value", "message"), [(1e6, "half precision"), (np.nan, "finite")])
def test_logits_that_cannot_be_kept_are_refused(value: float, message: str, tmp_path: Path) -> None:
    source = live("classes", "wordpiece")
    torch.nn.init.constant_(source.model.classifier.bias, value)  # type: ignore[arg-type, union-attr]  # a tensor
    examples = made("classes", "unigram", "wordpiece")
    with pytest.raises(ModelError, match=message):
        filled(tmp_path, "classes", examples, source, precision="fp16")


def test_any_order_and_batch_size_reads_the_same(tmp_path: Path) -> None:
    examples = made("answers", "byte-level-bpe", "wordpiece")
    cache = filled(tmp_path, "answers", examples, live("answers", "wordpiece"), rows_per_shard=3)
    cached = CachedTeacher(cache, 1)
    shuffled = random.Random(1).sample(examples, len(examples))
    by_id: dict[tuple[str, int], torch.Tensor] = {}
    for size in (1, 4, len(shuffled)):
        for start in range(0, len(shuffled), size):
            batch = shuffled[start : start + size]
            (pair,) = pairs("answers", batch, cached)
            head = pair.teacher["start"]
            assert head.mask is not None
            for row, example in enumerate(batch):
                values = head.logits[row][head.mask[row]]
                key = (example.id, int(example.unit_spans[-1][1]))
                assert torch.equal(by_id.setdefault(key, values), values)


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    examples = made("tags", "unigram", "wordpiece")
    source = live("tags", "wordpiece")
    first = filled(tmp_path, "tags", examples[:4], source)
    assert len(first) == 4
    assert len(missing(first, examples, encoding=1)) == len(examples) - 4
    other = live("tags", "wordpiece", seed=9)  # would say something else
    both = filled(tmp_path, "tags", examples, other)
    for number, example in enumerate(examples):
        values = torch.from_numpy(both.row(example_key(example.encodings[1])).logits["label"])
        (pair,) = pairs("tags", [example], source if number < 4 else other, CachedTeacher(both, 1))[
            :1
        ]
        expected = pair.teacher["label"].logits  # of the words that both sides have
        assert len(expected) <= len(values)
        assert all(bool((values - row).abs().sum(-1).min() < 1e-4) for row in expected)
    before = sorted(tmp_path.glob("*.safetensors"))
    filled(tmp_path, "tags", examples, source)
    assert sorted(tmp_path.glob("*.safetensors")) == before


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "listing", "listed", "named"])
def test_a_damaged_shard_is_never_used_and_made_again(damage: str, tmp_path: Path) -> None:
    examples = made("tags", "unigram", "wordpiece")
    source = live("tags", "wordpiece")
    whole = filled(tmp_path, "tags", examples, source, rows_per_shard=4)
    keys = [example_key(example.encodings[1]) for example in examples]
    expected = {key: whole.row(key).logits["label"].copy() for key in keys}
    shard = sorted(tmp_path.glob("*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    if damage == "cut":
        shard.write_bytes(content[:-7])
    elif damage == "flip":
        content[-3] ^= 1
        shard.write_bytes(content)
    elif damage == "gone":
        shard.unlink()
    else:
        listing = tmp_path / "cache.json"
        text = listing.read_text(encoding="utf-8")
        changed = {
            "listing": text[: len(text) // 2],
            "listed": text.replace('"examples": 4', '"examples": 5', 1),
            "named": text.replace('"of": "tags"', '"of": "taps"'),
        }[damage]
        assert changed != text
        listing.write_text(changed, encoding="utf-8")
    opened = open_cache(tmp_path, kinds=TAGGING.heads)
    assert len(opened) < len(whole)
    again = filled(tmp_path, "tags", examples, source, rows_per_shard=4)
    assert not open_cache(tmp_path, kinds=TAGGING.heads).damaged
    for key in keys:
        assert np.array_equal(again.row(key).logits["label"], expected[key])


def test_a_killed_filling_keeps_its_shards_and_goes_on(tmp_path: Path) -> None:
    examples = made("tags", "unigram", "wordpiece")
    source = live("tags", "wordpiece")
    calls = 0

    class Dying(torch.nn.Module):
        def forward(self, **inputs: torch.Tensor) -> object:
            nonlocal calls
            calls += 1
            if calls == 6:
                raise KeyboardInterrupt
            return source.model(**inputs)

    broken = LiveTeacher(Dying(), ("label",), 1, AlignmentMode.WORD, 0)
    broken.model.register_parameter("here", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path, "tags", examples, broken, rows_per_shard=2)
    kept = open_cache(tmp_path, kinds=TAGGING.heads)
    assert len(kept) == 4  # two shards of two; the fifth row was in none
    assert len(filled(tmp_path, "tags", examples, source)) == len(examples)


def test_a_reader_goes_on_while_a_writer_adds(tmp_path: Path) -> None:
    examples = made("tags", "unigram", "wordpiece")
    source = live("tags", "wordpiece")
    reader = filled(tmp_path, "tags", examples[:3], source)
    held_before = [reader.row(example_key(one.encodings[1])) for one in examples[:3]]
    copies = [row.logits["label"].copy() for row in held_before]
    filled(tmp_path, "tags", examples, source)
    assert len(reader) == 3  # what was listed when it was opened
    for row, copy in zip(held_before, copies, strict=True):
        assert np.array_equal(row.logits["label"], copy)


def test_the_key_of_an_example_is_its_content() -> None:
    examples = made("answers", "unigram", "wordpiece")
    keys = [example_key(example.encodings[1]) for example in examples]
    assert len(set(keys)) == len({tuple(example.encodings[1].input_ids) for example in examples})
    again = made("answers", "byte-level-bpe", "wordpiece")  # another student, where windows agree
    shared = {example_key(example.encodings[1]) for example in again} & set(keys)
    assert shared
    encoding = examples[0].encodings[1]
    other = np.array(encoding.units)
    other[-1] = other[-2]
    assert example_key(type(encoding)(encoding.input_ids, other)) != keys[0]


def test_pairing_by_given_encodings_is_that_by_number() -> None:
    examples = made("tags", "unigram", "wordpiece")
    theirs = [example.encodings[1] for example in examples]
    kinds = TAGGING.heads
    one = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=kinds)
    other = pair_batch(examples, teacher=theirs, mode=AlignmentMode.WORD, kinds=kinds)
    assert one.n_units == other.n_units
    assert torch.equal(one.teacher.positions, other.teacher.positions)
