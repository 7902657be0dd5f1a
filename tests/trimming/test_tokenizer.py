"""Fewer pieces: what uses none of the dropped ones reads as before, in all three algorithms."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from destilo.errors import InputError, ModelError
from destilo.trimming.choosing import Target, choose_pieces, with_needed
from destilo.trimming.counting import PieceCounts, count_pieces, plain_tokenizer, read_again
from destilo.trimming.tokenizer import trim_tokenizer
from destilo.trimming.vocabulary import Vocabulary, read_vocabulary
from tests.factories import KINDS, SENTENCES, Kind, raw_tokenizer

ODD = (
    "aaaa aaaaaaa",
    "汉字 café",
    "xx [MASK] yy",
    "ñandú 😀 Ωμέγα",
    "de la de la",
    "»«",
    "a" * 150,
)


@cache
def content_of(kind: Kind) -> Any:
    return json.loads(raw_tokenizer(kind).to_str())


def some_pieces(vocabulary: Vocabulary, *, share: float, seed: int) -> list[int]:
    """What always stays, and a random share of the rest with what BPE needs for it."""
    rng = random.Random(seed)
    kept = set(vocabulary.always_kept(characters=True))
    for piece in sorted(vocabulary.ids):
        if rng.random() < share:
            kept |= vocabulary.needed_by(piece)
    return sorted(kept)


def assert_law(content: Any, kept: Sequence[int], texts: Sequence[str]) -> int:
    """Text without dropped pieces reads as before; say how many texts that were."""
    before, after = plain_tokenizer(content), plain_tokenizer(trim_tokenizer(content, keep=kept))
    new = {old: number for number, old in enumerate(kept)}
    same = 0
    for text in texts:
        ids = before.encode(text).ids
        if set(ids) <= set(kept):
            encoding = after.encode(text)
            assert encoding.ids == [new[old] for old in ids]
            assert encoding.tokens == before.encode(text).tokens
            assert encoding.offsets == before.encode(text).offsets
            same += 1
    return same


WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


@pytest.mark.parametrize("kind", KINDS)
@given(share=st.floats(0, 1), seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=40, deadline=None)
def test_text_without_dropped_pieces_reads_as_before(
    kind: Kind, share: float, seed: int, data: st.DataObject
) -> None:
    kept = some_pieces(read_vocabulary(content_of(kind)), share=share, seed=seed)
    alphabet = sorted(set("".join(SENTENCES)) | set("aeiousñ 漢"))
    more = data.draw(st.lists(st.text(alphabet=alphabet, max_size=30), max_size=5))
    assert_law(content_of(kind), kept, [*WORDS, *ODD, *more])


@pytest.mark.parametrize("kind", KINDS)
def test_the_corpus_itself_reads_as_before(kind: Kind) -> None:
    """With what it uses, and only with that; so the law above is not an empty one."""
    content = content_of(kind)
    vocabulary = read_vocabulary(content)
    counts = count_pieces(plain_tokenizer(content), SENTENCES[:4], size=vocabulary.size)
    kept = choose_pieces(vocabulary, [counts], target=Target(coverage=1.0)).kept
    assert len(kept) < len(vocabulary.ids)
    assert assert_law(content, kept, SENTENCES[:4]) == 4


letters = st.text(alphabet="abc", min_size=1, max_size=4)


@given(
    scores=st.dictionaries(letters, st.floats(-20, -0.125, width=16), min_size=3, max_size=25),
    singles=st.sets(st.sampled_from("abc")),
    seed=st.integers(0, 10**6),
    texts=st.lists(st.text(alphabet="abcx", max_size=9), min_size=5, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_unigram_with_any_scores(
    scores: dict[str, float], singles: set[str], seed: int, texts: list[str]
) -> None:
    """Also where characters have no piece of their own, whose cost hangs on the lowest score."""
    scores = {one: score for one, score in scores.items() if len(one) > 1 or one in singles}
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), *scores.items()], unk_id=0))
    content = json.loads(tokenizer.to_str())
    assert_law(content, some_pieces(read_vocabulary(content), share=0.5, seed=seed), texts)


def test_unigram_keeps_what_an_unknown_character_costs() -> None:
    """x has no piece: xa b b b (-151), or an unknown x (10 below the lowest score) and abbb."""
    scores = [("<unk>", 0.0), ("xa", -1.0), ("b", -50.0), ("abbb", -1.0), ("zzz", -1000.0)]
    content = json.loads(Tokenizer(models.Unigram(scores, unk_id=0)).to_str())
    vocabulary = read_vocabulary(content)
    assert plain_tokenizer(content).encode("xabbb").tokens == ["xa", "b", "b", "b"]
    kept = with_needed(vocabulary, [1, 2, 3])
    assert vocabulary.ids["zzz"] in kept
    assert assert_law(content, kept, ["xabbb"]) == 1


@given(
    pieces=st.sets(letters, max_size=20),
    inner=st.sets(letters, max_size=20),
    seed=st.integers(0, 10**6),
    texts=st.lists(st.text(alphabet="abcx ", max_size=12), min_size=5, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_wordpiece_with_any_pieces_over_an_alphabet(
    pieces: set[str], inner: set[str], seed: int, texts: list[str]
) -> None:
    names = ["[UNK]", *"abc", "##a", "##b", "##c", *pieces, *(f"##{one}" for one in inner)]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    content = json.loads(tokenizer.to_str())
    assert_law(content, some_pieces(read_vocabulary(content), share=0.5, seed=seed), texts)


@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=25),
    seed=st.integers(0, 10**6),
    ignore=st.booleans(),
    texts=st.lists(st.text(alphabet="abc", max_size=14), min_size=5, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_bpe_with_any_merges(
    steps: list[tuple[int, int]], seed: int, ignore: bool, texts: list[str]
) -> None:
    """Also where one piece comes about in several ways, and where whole words are looked up."""
    pieces, merges = list("abc"), []
    for one, two in steps:
        pair = (pieces[one % len(pieces)], pieces[two % len(pieces)])
        if pair not in merges and len("".join(pair)) < 9:
            merges.append(pair)
            pieces.append("".join(pair))
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    model = models.BPE(vocab, merges, ignore_merges=ignore)
    content = json.loads(Tokenizer(model).to_str())
    assert_law(content, some_pieces(read_vocabulary(content), share=0.3, seed=seed), texts)


@pytest.mark.parametrize("kind", KINDS)
def test_with_everything_kept_nothing_changes(kind: Kind) -> None:
    content = content_of(kind)
    assert trim_tokenizer(content, keep=sorted(read_vocabulary(content).ids.values())) == content


@pytest.mark.parametrize("kind", KINDS)
def test_kept_pieces_keep_their_order_and_trimming_again_changes_nothing(kind: Kind) -> None:
    content = content_of(kind)
    kept = some_pieces(read_vocabulary(content), share=0.4, seed=1)
    once = trim_tokenizer(content, keep=kept)
    names = {index: piece for piece, index in read_vocabulary(content).ids.items()}
    left = read_vocabulary(once).ids
    assert [left[names[old]] for old in kept] == list(range(len(kept)))
    assert trim_tokenizer(once, keep=range(len(kept))) == once


@pytest.mark.parametrize("kind", KINDS)
def test_added_pieces_stay_and_are_found(kind: Kind) -> None:
    tokenizer = Tokenizer.from_str(raw_tokenizer(kind).to_str())
    tokenizer.add_tokens(["wolframio", "[ENT]"])
    content = json.loads(tokenizer.to_str())
    vocabulary = read_vocabulary(content)
    kept = sorted(vocabulary.always_kept(characters=True))
    trimmed = plain_tokenizer(trim_tokenizer(content, keep=kept))
    assert "wolframio" in trimmed.encode("el wolframio").tokens
    assert trimmed.token_to_id("[ENT]") == len(kept) - 1
    assert_law(content, kept, ["[ENT]", "wolframio a b"])


def test_a_special_piece_cannot_go() -> None:
    content = content_of("wordpiece")
    with pytest.raises(ModelError, match=r"\[CLS\] has to be kept"):
        trim_tokenizer(content, keep=[0, 1, 3, 4])
    with pytest.raises(ModelError, match="no piece number 9999"):
        trim_tokenizer(content, keep=[0, 1, 2, 3, 4, 9999])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_piece_needs_comes_with_it(kind: Kind) -> None:
    vocabulary = read_vocabulary(content_of(kind))
    plain = [one for one, index in vocabulary.ids.items() if vocabulary.kinds[index] != "special"]
    longest = max(plain, key=lambda piece: (len(piece), piece))
    kept = with_needed(vocabulary, [vocabulary.ids[longest]])
    assert vocabulary.always_kept(characters=False) < set(kept)
    assert with_needed(vocabulary, kept) == kept
    trimmed = plain_tokenizer(trim_tokenizer(content_of(kind), keep=kept))
    spelt = raw_tokenizer(kind).decode([vocabulary.ids[longest]])
    before = raw_tokenizer(kind).encode(spelt, add_special_tokens=False).tokens
    if set(before) <= set(trimmed.get_vocab()):
        assert trimmed.encode(spelt, add_special_tokens=False).tokens == before
    with pytest.raises(ModelError, match="no piece number"):
        with_needed(vocabulary, [10**6])


def test_other_algorithms_are_refused() -> None:
    level = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    with pytest.raises(ModelError, match="Available: WordPiece, Unigram, BPE"):
        read_vocabulary(json.loads(level.to_str()))
    suffix = Tokenizer(models.BPE({"a": 0}, [], end_of_word_suffix="</w>"))
    with pytest.raises(ModelError, match="prefix or a suffix"):
        read_vocabulary(json.loads(suffix.to_str()))


def test_counting_and_choosing_need_no_torch() -> None:
    parts = ("corpus", "counting", "choosing", "report", "tokenizer", "vocabulary")
    code = (
        f"import sys, {', '.join(f'destilo.trimming.{part}' for part in parts)}\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- choosing -----------------------------------------------------------------------------


def counted(kind: Kind, *texts: Sequence[str]) -> tuple[Vocabulary, list[PieceCounts]]:
    vocabulary = read_vocabulary(content_of(kind))
    tokenizer = plain_tokenizer(content_of(kind))
    return vocabulary, [
        count_pieces(tokenizer, lines, size=vocabulary.size, name=str(number))
        for number, lines in enumerate(texts)
    ]


def covered(one: PieceCounts, kept: Sequence[int]) -> float:
    return float(one.occurrences[list(kept)].sum()) / one.n_pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
def test_every_corpus_is_covered_as_asked(kind: Kind, share: float) -> None:
    vocabulary, counts = counted(kind, SENTENCES[:2], SENTENCES[2:] * 50)
    kept = choose_pieces(vocabulary, counts, target=Target(coverage=share)).kept
    assert all(covered(one, kept) >= share for one in counts)
    assert vocabulary.always_kept(characters=True) <= set(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_is_met_and_holds_all_that_merges_need(kind: Kind) -> None:
    vocabulary, counts = counted(kind, SENTENCES)
    least = len(vocabulary.always_kept(characters=True))
    used = len(choose_pieces(vocabulary, counts, target=Target(coverage=1.0)).kept)
    for size in range(least, used + 1):
        choice = choose_pieces(vocabulary, counts, target=Target(size=size))
        slack = 3 if kind == "byte-level-bpe" else 0  # a chain may not fit into the last places
        assert size - slack <= len(choice.kept) <= size
        assert all(
            vocabulary.needed_by(piece) <= set(choice.kept)
            for piece, index in vocabulary.ids.items()
            if index in choice.kept
        )
    everything = tuple(sorted(vocabulary.ids.values()))
    assert choose_pieces(vocabulary, counts, target=Target(size=10**6)).kept == everything


@pytest.mark.parametrize("kind", KINDS)
def test_trimming_to_a_size_twice_changes_nothing(kind: Kind) -> None:
    vocabulary, counts = counted(kind, SENTENCES)
    target = Target(size=len(vocabulary.always_kept(characters=True)) + 20)
    kept = choose_pieces(vocabulary, counts, target=target).kept
    again = read_vocabulary(trim_tokenizer(content_of(kind), keep=kept))
    other = [PieceCounts("x", np.ones(again.size, dtype=np.int64), 1, 1, 1)]
    assert choose_pieces(again, other, target=target).kept == tuple(range(len(kept)))


def test_characters_that_no_text_uses_can_go() -> None:
    vocabulary, counts = counted("wordpiece", ["El río Adaja"])
    some = choose_pieces(vocabulary, counts, target=Target(coverage=1.0, characters=False)).kept
    every = choose_pieces(vocabulary, counts, target=Target(coverage=1.0)).kept
    assert set(some) < set(every)
    assert_law(content_of("wordpiece"), some, ["El río Adaja"])


def test_targets_that_cannot_be_met_are_refused() -> None:
    vocabulary, counts = counted("wordpiece", SENTENCES)
    with pytest.raises(InputError, match="no room for the"):
        choose_pieces(vocabulary, counts, target=Target(size=9))
    with pytest.raises(InputError, match="no text in 0"):
        choose_pieces(*counted("wordpiece", []), target=Target(size=100))
    for wrong in (
        {},
        {"coverage": 1.5},
        {"coverage": 0.0},
        {"size": 0},
        {"size": 9, "coverage": 1},
    ):
        with pytest.raises(InputError):
            Target(**wrong)


# -- counting ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_counts_add_up_over_parts_of_a_text(kind: Kind) -> None:
    _, (first, second, both) = counted(kind, SENTENCES[:3], SENTENCES[3:], SENTENCES)
    assert np.array_equal(first.occurrences + second.occurrences, both.occurrences)
    assert both.n_words == sum(len(sentence.split()) for sentence in SENTENCES)
    tokenizer = plain_tokenizer(content_of(kind))
    ids = [tokenizer.encode(one, add_special_tokens=False).ids for one in SENTENCES]
    assert both.n_pieces == sum(map(len, ids))


@pytest.mark.parametrize("kind", KINDS)
def test_reading_again_with_everything_is_the_same(kind: Kind) -> None:
    content = content_of(kind)
    vocabulary, tokenizer = read_vocabulary(content), plain_tokenizer(content)
    kept = sorted(vocabulary.ids.values())
    lines = [*SENTENCES, *ODD]
    reading = read_again(tokenizer, tokenizer, lines, kept=kept, unk_id=vocabulary.unk_id)
    assert reading.n_lines_covered == reading.n_lines == len(lines)
    assert reading.n_covered == reading.n_pieces[0] == reading.n_pieces[1]
    assert reading.n_unknown[0] == reading.n_unknown[1]
