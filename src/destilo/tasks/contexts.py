"""The words of a context, and which word each piece of a tokenizer belongs to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from destilo.tasks.tokenization import Ints, TextTokenizer

MAX_WORD_LENGTH = 48
"""Longer words are cut into chunks, so that text without spaces can be cut into windows."""

_WORD = re.compile(rf"\S{{1,{MAX_WORD_LENGTH}}}")
_MARK = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe2f\u200d]")


@dataclass(frozen=True, slots=True)
class Pieces:
    """A context as one tokenizer reads it, in the order of its words.

    Attributes:
        ids: [pieces].
        offsets: [pieces, 2], character spans without the whitespace around them; marks that
            combine with a piece's last character belong to it.
        words: [pieces], the word that holds the piece's first character that is not a space.
        ends: [words + 1], the number of pieces before each word.
    """

    ids: Ints
    offsets: Ints
    words: Ints
    ends: Ints


def word_spans(context: str) -> Ints:
    """Find the words of a context: what stands between whitespace, in chunks where long.

    Returns:
        [words, 2], character spans.
    """
    spans = [found.span() for found in _WORD.finditer(context)]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def read_contexts(
    contexts: Sequence[str], spans: Sequence[Ints], tokenizer: TextTokenizer
) -> list[Pieces]:
    """Encode contexts and assign every piece to a word.

    Args:
        contexts: The texts.
        spans: Their words, from ``word_spans``.
        tokenizer: Reads each text as a whole.
    """
    return [
        _assign(ids, offsets, words, context)
        for context, words, (ids, offsets) in zip(
            contexts, spans, tokenizer.text(contexts), strict=True
        )
    ]


def _assign(ids: Ints, offsets: Ints, spans: Ints, context: str) -> Pieces:
    if not len(spans):  # whitespace may have pieces, but there is nothing to read
        nothing = np.zeros(0, dtype=np.int64)
        return Pieces(nothing, nothing.reshape(0, 2), nothing, np.zeros(1, dtype=np.int64))
    starts, ends = spans[:, 0], spans[:, 1]
    # Byte-level BPE and normalisers may step back by a character; words never do.
    words = np.minimum(np.searchsorted(ends, offsets[:, 0], side="right"), len(spans) - 1)
    words = np.maximum.accumulate(words) if len(words) else words
    first = np.clip(offsets[:, 0], starts[words], ends[words])
    # The last word that begins before the piece ends: whitespace after it is cut off.
    last = np.searchsorted(starts, offsets[:, 1], side="left") - 1
    last = np.maximum(np.minimum(offsets[:, 1], ends[np.maximum(last, 0)]), first)
    last = _with_marks(context, last)
    counts = np.bincount(words, minlength=len(spans))
    return Pieces(
        ids=ids,
        offsets=np.stack([first, last], axis=1),
        words=words,
        ends=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _with_marks(context: str, ends: Ints) -> Ints:
    """Move ends behind the combining marks that follow.

    Normalising to NFC makes one letter of two characters, and the tokenizers library reports
    the first one only: an answer would lose the accent of its last letter.
    """
    if not _MARK.search(context):
        return ends
    behind = list(range(len(context) + 1))
    for place in range(len(context) - 1, -1, -1):
        if unicodedata.category(context[place]) == "Mn" or context[place] == "\u200d":
            behind[place] = behind[place + 1]
    return np.array(behind, dtype=np.int64)[ends]
