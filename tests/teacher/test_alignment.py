"""Teacher and student in the same units, whatever their tokenizers make of odd text."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from destilo.errors import AlignmentError
from destilo.models.outputs import Outputs
from destilo.objective.logits import make_term, masked_log_softmax
from destilo.rows import Answer, QuestionRow, Row, TaggingRow, TextRow
from destilo.tasks import Task
from destilo.tasks.base import Encoding, Example, HeadKind
from destilo.tasks.question_answering import QuestionAnswering
from destilo.tasks.text_classification import TextClassification
from destilo.tasks.token_classification import TokenClassification
from destilo.teacher.alignment import (
    AlignmentMode,
    UnitIndex,
    own_units,
    pair_batch,
    pool_to_units,
    read_units,
)
from tests.factories import KINDS, SENTENCES, Kind, text_tokenizer

torch.set_num_threads(1)

LABELS = ("O", "B-LOC", "B-PER")
ODD_WORDS = (
    *("La", "\u200b", "nin\u0303a", "de", "\u200b\u200d", "A\u0301vila", "😀", "👩‍🚀👨‍👩‍👧"),
    *("a\u00a0b", "x" * 150, "\ufeff", "汉字", "(IVA", "3.500.000", "\x01", "¿Quién?", "\u0301"),
)
ODD_TEXT = (
    "La nin\u0303a de A\u0301vila \u200b planto\u0301\u00a0un 😀 👩‍🚀 olivo \u200b\u200b junto "
    f" al\t{'x' * 150} r\u0131\u0301o\n\n汉字 \ufeff Adaja (IVA) en 1987. \x01 Fin \u200b"
)
TAGGING = TokenClassification(LABELS, max_length=48)
ANSWERING = QuestionAnswering(max_length=48, doc_stride=12, max_question_length=12)
PAIRS_OF_KINDS = [(one, other) for one in KINDS for other in KINDS]


def tagged() -> list[Row]:
    rows: list[Row] = [TaggingRow("odd", ODD_WORDS, ("O",) * len(ODD_WORDS))]
    rows += [
        TaggingRow(str(n), tuple(text.split()), ("O",) * len(text.split()))
        for n, text in enumerate(SENTENCES)
    ]
    return rows


def asked() -> list[Row]:
    rows: list[Row] = [
        QuestionRow("odd", "¿Dónde?", ODD_TEXT, (Answer("olivo", ODD_TEXT.index("olivo")),)),
        QuestionRow("blank", "¿Qué?", "\u200b \u200b", ()),
    ]
    rows += [QuestionRow(str(n), "¿Quién?", text, ()) for n, text in enumerate(SENTENCES)]
    return rows


def encoded(task: Task, rows: list[Row], *kinds: Kind) -> list[Example]:
    return task.encode(rows, [text_tokenizer(kind) for kind in kinds])


def random_outputs(
    task: Task,
    examples: list[Example],
    side: int,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.double,
) -> Outputs:
    """Logits as a model would give them: padded to the longest, padding included."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [len(example.encodings[side]) for example in examples]
    shape: tuple[int, ...] = (len(examples), max(lengths))
    heads = {}
    for name, kind in task.heads.items():
        full = {
            HeadKind.ROW: (shape[0], len(task.labels)),
            HeadKind.UNIT: (*shape, len(task.labels)),
            HeadKind.SPAN: shape,
        }[kind]
        heads[name] = 3 * torch.randn(full, generator=generator, dtype=torch.double)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    return Outputs({name: head.to(dtype) for name, head in heads.items()}, mask)


# -- one tokenizer -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_in_tagging_word_equals_identity_for_one_tokenizer(kind: Kind) -> None:
    examples = encoded(TAGGING, tagged(), kind, kind)
    mine, theirs = (random_outputs(TAGGING, examples, side, seed=side) for side in (0, 1))
    pairs = []
    for mode in AlignmentMode:
        pairing = pair_batch(examples, teacher=1, mode=mode, kinds=TAGGING.heads)
        pairs.append((pairing, pairing.pair(mine, theirs, TAGGING.heads)))
    (one, identity), (other, word) = pairs
    assert one.n_units == other.n_units
    assert torch.equal(identity.student["label"].logits, word.student["label"].logits)
    assert torch.equal(identity.teacher["label"].logits, word.teacher["label"].logits)


@pytest.mark.parametrize("kind", KINDS)
def test_in_questions_a_word_is_the_logsumexp_of_its_pieces(kind: Kind) -> None:
    examples = encoded(ANSWERING, asked(), kind, kind)
    outputs = random_outputs(ANSWERING, examples, 0)
    pairing = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=ANSWERING.heads)
    units = read_units(outputs, pairing.student, ANSWERING.heads)["start"]
    assert units.mask is not None
    for row, example in enumerate(examples):
        own = torch.from_numpy(example.encodings[0].units)
        for unit in range(units.logits.shape[1]):
            here = outputs.heads["start"][row, : len(own)][own == unit]
            assert bool(units.mask[row, unit]) == (len(here) > 0)
            if len(here):
                assert torch.allclose(units.logits[row, unit], here.logsumexp(0))
            else:
                assert units.logits[row, unit] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_probability_of_a_word_is_that_of_its_pieces_together(kind: Kind) -> None:
    examples = encoded(ANSWERING, asked(), kind, kind)
    outputs = random_outputs(ANSWERING, examples, 0)
    pairing = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=ANSWERING.heads)
    words = masked_log_softmax(read_units(outputs, pairing.student, ANSWERING.heads)["end"]).exp()
    own = own_units([example.encodings[0] for example in examples])
    pieces = masked_log_softmax(read_units(outputs, own, ANSWERING.heads)["end"]).exp()
    for row, example in enumerate(examples):
        units = torch.from_numpy(example.encodings[0].units)
        inside = units >= 0
        together = torch.zeros(words.shape[1], dtype=torch.double)
        together.index_add_(0, units[inside], pieces[row, : len(units)][inside])
        assert torch.allclose(together, words[row])


def test_identity_in_questions_keeps_positions_and_leaves_the_question_out() -> None:
    examples = encoded(ANSWERING, asked(), "wordpiece")
    outputs = random_outputs(ANSWERING, examples, 0)
    pairing = pair_batch(examples, teacher=0, mode=AlignmentMode.IDENTITY, kinds=ANSWERING.heads)
    units = read_units(outputs, pairing.student, ANSWERING.heads)["start"]
    assert torch.equal(units.logits, outputs.heads["start"])
    assert units.mask is not None
    for row, example in enumerate(examples):
        expected = np.flatnonzero(example.encodings[0].units >= 0)
        assert np.array_equal(np.flatnonzero(units.mask[row].numpy()), expected)


def test_whole_rows_are_their_own_units() -> None:
    task = TextClassification(("a", "b"), max_length=32)
    rows: list[Row] = [TextRow(str(n), text, label="a") for n, text in enumerate(SENTENCES)]
    examples = encoded(task, rows, "wordpiece", "byte-level-bpe")
    pairing = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=task.heads)
    assert pairing.n_units == {"label": len(rows)}
    mine, theirs = (random_outputs(task, examples, side, seed=side) for side in (0, 1))
    pair = pairing.pair(mine, theirs, task.heads)
    assert torch.equal(pair.student["label"].logits, mine.heads["label"])
    assert torch.equal(pair.teacher["label"].logits, theirs.heads["label"])


# -- two tokenizers ------------------------------------------------------------------------


def units_of(encoding: Encoding) -> set[int]:
    return set(encoding.units[encoding.units >= 0].tolist())


@pytest.mark.parametrize(("one", "other"), PAIRS_OF_KINDS)
def test_tagging_pairs_the_first_pieces_of_the_words_that_both_have(one: Kind, other: Kind) -> None:
    examples = encoded(TAGGING, tagged(), one, other)
    pairing = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=TAGGING.heads)
    expected = [
        (
            row,
            int(np.flatnonzero(mine.units == unit)[0]),
            int(np.flatnonzero(theirs.units == unit)[0]),
        )
        for row, (mine, theirs) in enumerate(example.encodings for example in examples)
        for unit in sorted(units_of(mine) & units_of(theirs))
    ]
    student, teacher = pairing.student, pairing.teacher
    found = zip(
        student.rows.tolist(), student.positions.tolist(), teacher.positions.tolist(), strict=True
    )
    assert list(found) == expected
    assert torch.equal(student.rows, teacher.rows)
    assert pairing.n_units == {"label": len(expected)}


def test_a_word_without_a_piece_on_one_side_is_left_out_on_both() -> None:
    """WordPiece drops zero-width characters, byte-level BPE spells them out."""
    examples = encoded(TAGGING, tagged()[:1], "wordpiece", "byte-level-bpe")
    sides = [set[int](), set[int]()]
    for example in examples:
        for side, encoding in zip(sides, example.encodings, strict=True):
            side |= {int(example.unit_spans[unit, 0]) for unit in units_of(encoding)}
    assert 1 in sides[1] - sides[0]  # "\u200b"
    pairing = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=TAGGING.heads)
    assert pairing.n_units["label"] == len(sides[0] & sides[1]) < len(sides[0] | sides[1])


@pytest.mark.parametrize(("one", "other"), PAIRS_OF_KINDS)
def test_questions_share_one_column_a_word_and_renormalise(one: Kind, other: Kind) -> None:
    examples = encoded(ANSWERING, asked(), one, other)
    pairing = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=ANSWERING.heads)
    outputs = [random_outputs(ANSWERING, examples, side, seed=side) for side in (0, 1)]
    pair = pairing.pair(outputs[0], outputs[1], ANSWERING.heads)
    assert pairing.n_units == {"start": len(examples), "end": len(examples)}
    for name in ("start", "end"):
        mine, theirs = pair.student[name], pair.teacher[name]
        assert mine.mask is not None
        assert theirs.mask is not None
        assert torch.equal(mine.mask, theirs.mask)
        assert mine.logits.shape == theirs.logits.shape
        for row, example in enumerate(examples):
            common = units_of(example.encodings[0]) & units_of(example.encodings[1])
            assert 0 in common  # "no answer" has a place in every window
            assert set(np.flatnonzero(mine.mask[row].numpy()).tolist()) == common
        for side in (mine, theirs):
            share = masked_log_softmax(side).exp()
            assert torch.allclose(share.sum(-1), torch.ones(len(examples), dtype=torch.double))
            assert (share[~mine.mask] == 0).all()


def test_a_word_that_one_side_lacks_changes_nothing_on_the_other() -> None:
    examples = encoded(ANSWERING, asked()[:1], "wordpiece", "byte-level-bpe")
    pairing = pair_batch(examples, teacher=1, mode=AlignmentMode.WORD, kinds=ANSWERING.heads)
    student, teacher = (random_outputs(ANSWERING, examples, side, seed=side) for side in (0, 1))
    lacking = torch.zeros_like(teacher.heads["start"], dtype=torch.bool)
    for row, example in enumerate(examples):
        only = units_of(example.encodings[1]) - units_of(example.encodings[0])
        units = example.encodings[1].units
        lacking[row, : len(units)] = torch.from_numpy(np.isin(units, sorted(only)))
    assert lacking.any()
    louder = Outputs(
        {name: head + 50.0 * lacking for name, head in teacher.heads.items()},
        teacher.attention_mask,
    )
    kl = make_term("kl").term
    losses = [
        kl.total(pairing.pair(student, one, ANSWERING.heads))  # type: ignore[call-arg,arg-type]  # a teacher term
        for one in (teacher, louder)
    ]
    assert torch.equal(*losses)


@pytest.mark.parametrize(("one", "other"), PAIRS_OF_KINDS)
@pytest.mark.parametrize("task", [TAGGING, ANSWERING], ids=["tagging", "questions"])
def test_batch_order_and_padding_change_no_sum(one: Kind, other: Kind, task: Task) -> None:
    """Each window alone, with its own columns and no padding, or all in one batch."""
    examples = encoded(task, tagged() if task is TAGGING else asked(), one, other)
    outputs = [random_outputs(task, examples, side, seed=side) for side in (0, 1)]
    kl = make_term("kl", temperature=2.0).term

    def total(chosen: list[int]) -> tuple[Tensor, dict[str, int]]:
        batch = [examples[index] for index in chosen]
        sides = []
        for side in (0, 1):
            longest = max(len(example.encodings[side]) for example in batch)
            heads = {name: head[chosen][:, :longest] for name, head in outputs[side].heads.items()}
            sides.append(Outputs(heads, outputs[side].attention_mask[chosen][:, :longest]))
        pairing = pair_batch(batch, teacher=1, mode=AlignmentMode.WORD, kinds=task.heads)
        loss: Tensor = kl.total(pairing.pair(sides[0], sides[1], task.heads))  # type: ignore[call-arg,arg-type]  # a teacher term
        return loss, dict(pairing.n_units)

    everything = list(range(len(examples)))
    whole, units = total(everything)
    back, units_back = total(everything[::-1])
    alone = [total([index]) for index in everything]
    assert torch.allclose(whole, back)
    assert torch.allclose(whole, torch.stack([loss for loss, _ in alone]).sum())
    assert units == units_back
    assert units == {name: sum(count[name] for _, count in alone) for name in units}


# -- pooling -------------------------------------------------------------------------------


def index_of(spans: list[list[int]], columns: int) -> UnitIndex:
    positions = torch.tensor(spans)
    keep = torch.stack([(positions == unit).any(-1) for unit in range(columns)], dim=-1)
    nothing = torch.zeros(0, dtype=torch.long)
    return UnitIndex(nothing, nothing, positions, columns, keep)


SPANS = index_of([[0, -1, 1, 1, 2, 4], [0, -1, 1, -1, -1, -1]], 5)


def test_the_gradient_of_pooling_is_right() -> None:
    logits = 4 * torch.randn(2, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool_to_units(x, SPANS), logits)


def test_positions_outside_get_no_gradient() -> None:
    logits = torch.randn(2, 6, requires_grad=True)
    (slope,) = torch.autograd.grad(pool_to_units(logits, SPANS).sum(), logits)
    assert (slope[SPANS.spans < 0] == 0).all()
    # One unit of gradient a word, shared by its pieces; columns without a piece have none.
    assert torch.allclose(slope.sum(-1), SPANS.keep.sum(-1).float())


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_pooling_neither_overflows_nor_underflows(scale: float) -> None:
    logits = scale * torch.tensor([[1.0, 9.0, -1.0, -1.001, -1.0, 1.0]] * 2)
    pooled = pool_to_units(logits, SPANS)
    expected = logits[0, 2:4].double().logsumexp(0).float()
    assert torch.isfinite(pooled).all()
    assert torch.allclose(pooled[0, 1], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_pooled_in_full(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 6).to(dtype)
    pooled = pool_to_units(logits, SPANS)
    assert pooled.dtype == torch.float32
    assert torch.allclose(pooled, pool_to_units(logits.float(), SPANS))


# -- what is refused -----------------------------------------------------------------------


def test_identity_is_refused_for_different_pieces_with_the_id() -> None:
    examples = encoded(TAGGING, tagged(), "wordpiece", "unigram")
    with pytest.raises(AlignmentError, match=r"Example 'odd'.*'alignment: word'"):
        pair_batch(examples, teacher=1, mode=AlignmentMode.IDENTITY, kinds=TAGGING.heads)


def test_identity_is_refused_for_the_same_pieces_in_other_words() -> None:
    """As with two tokenizers of one vocabulary that cut words differently."""
    (example,) = encoded(TAGGING, tagged()[1:2], "wordpiece", "wordpiece")
    mine = example.encodings[0]
    theirs = replace(mine, units=np.minimum(mine.units, 3))
    with pytest.raises(AlignmentError, match="Example '0'"):
        pair_batch(
            [replace(example, encodings=(mine, theirs))],
            teacher=1,
            mode=AlignmentMode.IDENTITY,
            kinds=TAGGING.heads,
        )


def test_a_word_beyond_the_window_is_refused_with_the_id() -> None:
    (example,) = encoded(TAGGING, tagged()[1:2], "wordpiece", "unigram")
    mine, theirs = example.encodings
    longer = replace(theirs, units=np.where(theirs.units >= 0, theirs.units + 2, -1))
    with pytest.raises(AlignmentError, match=r"Example '0': the teacher's encoding"):
        pair_batch(
            [replace(example, encodings=(mine, longer))],
            teacher=1,
            mode=AlignmentMode.WORD,
            kinds=TAGGING.heads,
        )


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_another_text_is_refused_with_the_id(side: str) -> None:
    """Question answering knows the characters of each piece, and so notices."""
    rows = [
        QuestionRow("one", "¿Quién?", "Ana vive en Jaca desde hace tres años largos", ()),
        QuestionRow("two", "¿Quién?", "En Extremadura hay muchísimas dehesas de encinas", ()),
    ]
    first, second = encoded(ANSWERING, list(rows), "wordpiece", "unigram")
    mixed = (
        (second.encodings[0], first.encodings[1])
        if side == "student"
        else (first.encodings[0], second.encodings[1])
    )
    with pytest.raises(AlignmentError, match=rf"Example 'one'.*the {side}'s"):
        pair_batch(
            [replace(first, encodings=mixed)],
            teacher=1,
            mode=AlignmentMode.WORD,
            kinds=ANSWERING.heads,
        )
