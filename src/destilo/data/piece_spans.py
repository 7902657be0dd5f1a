"""What each piece of a text stands for: how many of its characters, and whether it begins a word.

Both are told from the text and not from the vocabulary, so that they mean the same in every one:
every character belongs to exactly one piece, and a word is a run of letters, digits and the marks
that attach to them; any other visible character, and every Chinese one, is a word of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SPACE, _LETTER, _SIGN = 0, 1, 2
_BMP = 1 << 16
# CJK ideographs in the blocks where every character is a word; kana and hangul are letters.
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
_JOINERS = {0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, ord("_")}


class PieceSpans(NamedTuple):
    """What pieces stand for.

    Attributes:
        begins_word: [pieces], whether the piece is the first of a word (or of its text).
        characters: [pieces], code points that it stands for, with the white space before it. Those
            of a text's pieces sum up to its length.
    """

    begins_word: NDArray[np.bool_]
    characters: NDArray[np.int64]


def piece_spans(
    texts: Sequence[str], ends: NDArray[np.int64], counts: NDArray[np.int64]
) -> PieceSpans:
    """Tell what the pieces of several texts stand for.

    Args:
        texts: As they were encoded.
        ends: [pieces], where each piece ends in its own text, all texts in one line.
        counts: [texts], pieces of each text.
    """
    if not len(ends):
        return PieceSpans(np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.int64))
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    stops = np.cumsum(lengths)
    starts = stops - lengths
    first = (np.cumsum(counts) - counts)[counts > 0]
    last = (np.cumsum(counts) - 1)[counts > 0]
    # A piece reaches from where the ones before it stop; what comes after the last one is its too.
    reached = np.maximum.accumulate(ends + np.repeat(starts, counts))
    reached[last] = stops[counts > 0]
    begin = np.empty_like(reached)
    begin[1:] = reached[:-1]
    begin[first] = starts[counts > 0]
    kinds = _kinds("".join(texts))
    word_start = _word_starts(kinds, starts)
    visible = _next_visible(kinds)[begin]
    blank = visible >= reached
    starts_word = ~blank & word_start[np.minimum(visible, len(kinds) - 1)]
    white = blank & (reached > begin)  # spaces alone, which go with the word after them
    starts_word |= white
    starts_word[1:] &= ~white[:-1]
    starts_word[first] = True
    return PieceSpans(starts_word, reached - begin)


def _word_starts(kinds: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[characters], true where a word begins."""
    after_letter = np.zeros(len(kinds), dtype=np.bool_)
    after_letter[1:] = kinds[:-1] == _LETTER
    after_letter[starts[starts < len(kinds)]] = False
    begins: NDArray[np.bool_] = (kinds == _SIGN) | ((kinds == _LETTER) & ~after_letter)
    return begins


def _next_visible(kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[characters + 1], the place of the first visible character from here on."""
    places = np.full(len(kinds) + 1, len(kinds), dtype=np.int64)
    visible = np.flatnonzero(kinds != _SPACE)
    places[visible] = visible
    return np.minimum.accumulate(places[::-1])[::-1]


def _kinds(text: str) -> NDArray[np.uint8]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kinds: NDArray[np.uint8] = _table()[np.minimum(codes, _BMP - 1)]
    beyond = np.flatnonzero(codes >= _BMP)
    if len(beyond):
        found, where = np.unique(codes[beyond], return_inverse=True)
        kinds[beyond] = np.array([_kind(int(code)) for code in found], dtype=np.uint8)[where]
    return kinds


@cache
def _table() -> NDArray[np.uint8]:
    return np.array([_kind(code) for code in range(_BMP)], dtype=np.uint8)


def _kind(code: int) -> int:
    if code in _JOINERS:
        return _LETTER
    if any(low <= code <= high for low, high in _IDEOGRAPHS):
        return _SIGN
    category = unicodedata.category(chr(code))
    if category[0] in "LMN":
        return _LETTER
    return _SPACE if category[0] == "Z" or category == "Cc" else _SIGN
