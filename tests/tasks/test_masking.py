import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.data.piece_spans import piece_spans
from destilo.errors import InputError, ModelError
from destilo.tasks import TextTokenizer
from destilo.tasks.bits import bits_per_character
from destilo.tasks.masking import Masked, MaskPieces, MaskSettings, mask_block
from tests.factories import KINDS, SENTENCES, Kind, raw_tokenizer, text_tokenizer

N_BLOCKS = 400
LENGTH = 130


def random_block(seed: int, *, length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
    """Pieces 5 to 99 between specials, one word after another of one to four pieces."""
    random = np.random.default_rng(seed)
    ids = np.concatenate(([2], random.integers(5, 100, length - 2), [3]))
    begins = np.concatenate(([True], random.random(length - 2) < 0.4, [True]))
    begins[1] = True
    return ids, begins


WRITTEN_POSITIONS = [9, 14, 23, 26, 36, 37]
WRITTEN_PIECES = [4, 4, 4, 4, 4, 4]
PIECES = MaskPieces(4, np.arange(100) < 5, np.arange(5, 100))


def mask(
    seed: int, *, settings: MaskSettings | None = None, example: int = 0, epoch: int = 0
) -> Masked:
    ids, begins = random_block(seed)
    return mask_block(
        ids,
        begins,
        pieces=PIECES,
        settings=settings or MaskSettings(),
        example=example,
        epoch=epoch,
    )


def share(count: float, total: float, expected: float) -> None:
    """Within five standard deviations of a binomial draw."""
    assert count / total == pytest.approx(
        expected, abs=5 * math.sqrt(expected * (1 - expected) / total)
    )


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_shares_are_those_of_the_settings(whole_words: bool) -> None:
    settings = MaskSettings(whole_words=whole_words)
    chosen = hidden = kept = 0
    for n in range(N_BLOCKS):
        ids, _ = random_block(n)
        masked = mask(n, settings=settings, example=n)
        chosen += len(masked.positions)
        now = masked.input_ids[masked.positions]
        hidden += int((now == PIECES.mask_id).sum())
        kept += int((now == ids[masked.positions]).sum())
    total = N_BLOCKS * (LENGTH - 2)
    if whole_words:  # words are drawn, so their pieces scatter more
        assert chosen / total == pytest.approx(0.15, abs=0.01)
        assert hidden / chosen == pytest.approx(0.8, abs=0.03)
        return
    share(chosen, total, 0.15)
    share(hidden, chosen, 0.8)
    share(kept, chosen, 0.1 + 0.1 / 95)  # one draw in 95 gives the piece itself


def test_every_place_and_every_piece_has_its_turn() -> None:
    places, drawn = np.zeros(LENGTH), np.zeros(100)
    settings = MaskSettings(hidden=0.0, replaced=1.0)
    for n in range(2000):
        masked = mask(0, settings=settings, example=n)
        places[masked.positions] += 1
        np.add.at(drawn, masked.input_ids[masked.positions], 1)
    assert places[0] == places[-1] == 0
    expected = 2000 * 0.15
    assert np.abs(places[1:-1] - expected).max() < 5 * math.sqrt(expected)
    assert (drawn[:5] == 0).all()
    expected = drawn.sum() / 95
    assert np.abs(drawn[5:] - expected).max() < 5 * math.sqrt(expected)


@given(st.integers(0, 1000), st.integers(0, 2**40), st.integers(0, 50), st.booleans())
def test_what_is_not_chosen_stays(block: int, example: int, epoch: int, whole_words: bool) -> None:
    ids, begins = random_block(block)
    before = ids.copy()
    masked = mask(
        block, settings=MaskSettings(whole_words=whole_words), example=example, epoch=epoch
    )
    assert (ids == before).all()
    rest = np.setdiff1d(np.arange(LENGTH), masked.positions)
    assert (masked.input_ids[rest] == ids[rest]).all()
    assert (masked.labels == ids[masked.positions]).all()
    assert not PIECES.special[masked.labels].any()
    assert (np.diff(masked.positions) > 0).all()
    if not whole_words:
        n = (LENGTH - 2) * 0.15
        assert math.floor(n) <= len(masked.positions) <= math.ceil(n)
        return
    word = np.cumsum(begins)
    chosen = np.isin(np.arange(LENGTH), masked.positions)
    hidden = masked.input_ids == PIECES.mask_id
    for number in np.unique(word[chosen]):
        assert chosen[word == number].all()
        assert len(set(hidden[word == number])) == 1  # a word is hidden as one


def same(one: Masked, other: Masked) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_same_three_numbers_give_the_same_mask_and_others_another(whole_words: bool) -> None:
    settings = MaskSettings(whole_words=whole_words)
    first = mask(0, settings=settings, example=5, epoch=1)
    mask(1, settings=settings, example=6, epoch=1)  # what is asked in between does not matter
    assert same(first, mask(0, settings=settings, example=5, epoch=1))
    other_seed = MaskSettings(whole_words=whole_words, seed=14)
    assert not same(first, mask(0, settings=settings, example=5, epoch=2))
    assert not same(first, mask(0, settings=settings, example=6, epoch=1))
    assert not same(first, mask(0, settings=settings, example=1, epoch=5))
    assert not same(first, mask(0, settings=other_seed, example=5, epoch=1))


def test_masks_are_the_same_on_every_machine() -> None:
    # Written down once: whoever changes these changes what every trained model has seen.
    ids = np.arange(5, 45)
    masked = mask_block(
        ids, np.ones(40, dtype=bool), pieces=PIECES, settings=MaskSettings(), example=3, epoch=2
    )
    assert masked.positions.tolist() == WRITTEN_POSITIONS
    assert masked.input_ids[masked.positions].tolist() == WRITTEN_PIECES


def test_epochs_cover_all_pieces_in_time() -> None:
    seen: set[int] = set()
    for epoch in range(80):
        seen.update(mask(0, epoch=epoch).positions.tolist())
    assert len(seen) == LENGTH - 2  # each is missed 80 times with probability 0.85^80 = 2e-6


def test_words_with_a_special_piece_inside_are_left_alone() -> None:
    ids = np.array([2, 10, 1, 11, 12, 13, 3])  # the second piece of the first word is unknown
    begins = np.array([True, True, False, True, True, False, True])
    settings = MaskSettings(rate=1.0, hidden=1.0, replaced=0.0, whole_words=True)
    masked = mask_block(ids, begins, pieces=PIECES, settings=settings, example=0, epoch=0)
    assert masked.positions.tolist() == [3, 4, 5]
    pieces = MaskSettings(rate=1.0, hidden=1.0, replaced=0.0)
    masked = mask_block(ids, begins, pieces=PIECES, settings=pieces, example=0, epoch=0)
    assert masked.positions.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize("ids", [[], [2, 3], [2, 7, 3]])
@pytest.mark.parametrize("whole_words", [False, True])
def test_short_blocks_hold_the_rate_on_average(ids: list[int], whole_words: bool) -> None:
    settings = MaskSettings(whole_words=whole_words)
    array, begins = np.array(ids, dtype=np.int64), np.ones(len(ids), dtype=bool)
    chosen = [
        len(mask_block(array, begins, pieces=PIECES, settings=settings, example=n, epoch=0)[1])
        for n in range(2000)
    ]
    if 7 in ids:
        share(sum(chosen), 2000, 0.15)
    else:
        assert sum(chosen) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_special_piece_is_chosen_or_put_in(kind: Kind) -> None:
    tokenizer = text_tokenizer(kind)
    pieces = MaskPieces.of(tokenizer)
    texts = [*SENTENCES, "\u4e16 漢 🐸 [MASK]<mask>[SEP]</s>"]
    flat = tokenizer.flat(texts)
    begins = piece_spans(texts, flat.ends, flat.counts).begins_word
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.unk_id}
    special |= {tokenizer.mask_id}
    assert special <= set(np.flatnonzero(pieces.special).tolist())
    assert len(pieces.ordinary) == tokenizer.vocab_size - 5
    settings = MaskSettings(rate=1.0, hidden=0.0, replaced=1.0)
    masked = mask_block(flat.ids, begins, pieces=pieces, settings=settings, example=0, epoch=0)
    assert not special & set(masked.labels.tolist())
    assert not special & set(masked.input_ids[masked.positions].tolist())


def test_a_vocabulary_without_a_mask_is_refused() -> None:
    tokenizer = TextTokenizer.from_tokenizer(raw_tokenizer("wordpiece"), cls="[CLS]", sep="[SEP]")
    with pytest.raises(ModelError, match="has no mask piece"):
        MaskPieces.of(tokenizer)


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"masking\.rate: 1\.5 must lie between 0 and 1"):
        MaskSettings(rate=1.5)
    with pytest.raises(InputError, match="more than 1 together"):
        MaskSettings(hidden=0.9, replaced=0.2)


def test_bits_per_character_by_hand() -> None:
    # Two pieces guessed with probabilities 1/8 and 1/2: 3 + 1 bits, for 5 + 3 characters.
    nats = -math.log(1 / 8) - math.log(1 / 2)
    assert bits_per_character(nats, characters=8) == pytest.approx(0.5)
    assert bits_per_character(0.0, characters=3) == 0.0
    with pytest.raises(ValueError, match="at least one character"):
        bits_per_character(1.0, characters=0)


def test_bits_per_character_do_not_depend_on_how_text_is_cut() -> None:
    # "abcd" as one of 16^2 pieces of four characters, or as two of 16 of two: both even guesses.
    one = bits_per_character(math.log(256), characters=4)
    two = bits_per_character(2 * math.log(16), characters=4)
    assert one == pytest.approx(two) == pytest.approx(2.0)
