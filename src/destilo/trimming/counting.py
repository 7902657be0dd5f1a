"""How often a text uses each piece, and how it reads with the pieces that are left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from destilo.errors import DestiloError

_LINES_AT_A_TIME = 512
_CHARACTERS_AT_A_TIME = 1 << 18


@dataclass(frozen=True)
class PieceCounts:
    """What one corpus holds.

    Attributes:
        name: Of the corpus.
        occurrences: [ids], of each piece.
        n_lines: That hold text.
        n_words: Parted by white space.
        n_characters: Code points, without line ends.
    """

    name: str
    occurrences: NDArray[np.int64]
    n_lines: int
    n_words: int
    n_characters: int

    @property
    def n_pieces(self) -> int:
        """All occurrences together."""
        return int(self.occurrences.sum())


@dataclass(frozen=True)
class Reading:
    """How a text reads with a vocabulary and with what is left of it.

    Attributes:
        name: Of the corpus.
        n_lines: That hold text.
        n_words: Parted by white space.
        n_pieces: Before and after.
        n_unknown: Before and after.
        n_covered: Occurrences (before) of pieces that are kept.
        n_lines_covered: Lines without any dropped piece; each was found to read as before.
    """

    name: str
    n_lines: int
    n_words: int
    n_pieces: tuple[int, int]
    n_unknown: tuple[int, int]
    n_covered: int
    n_lines_covered: int


def plain_tokenizer(content: Mapping[str, Any]) -> Tokenizer:
    """A tokenizer from the content of its JSON file, without truncation or padding."""
    tokenizer = Tokenizer.from_str(json.dumps(dict(content), ensure_ascii=False))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_pieces(
    tokenizer: Tokenizer, lines: Iterable[str], *, size: int, name: str = "corpus"
) -> PieceCounts:
    """Count the pieces of a stream of lines; the memory it takes does not grow with the text.

    Args:
        tokenizer: Special pieces are not added.
        lines: Read once.
        size: One more than the highest id.
        name: Of the corpus.
    """
    occurrences = np.zeros(size, dtype=np.int64)
    n_lines = n_words = n_characters = 0
    for batch in _batches(lines):
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        occurrences += _tally((encoding.ids for encoding in encodings), size)
        n_lines += len(batch)
        n_words += sum(len(line.split()) for line in batch)
        n_characters += sum(map(len, batch))
    return PieceCounts(name, occurrences, n_lines, n_words, n_characters)


def read_again(
    before: Tokenizer,
    after: Tokenizer,
    lines: Iterable[str],
    *,
    kept: Sequence[int],
    unk_id: int | None,
    name: str = "held-out",
) -> Reading:
    """Read lines with both tokenizers, and make sure of what trimming promises.

    A word that no piece fits is left out of the promise: it may fit once a longer piece is gone.

    Args:
        before: The whole tokenizer.
        after: The trimmed one.
        lines: Read once.
        kept: Old ids in the order of the new ones.
        unk_id: Of the whole tokenizer.
        name: Of the corpus.

    Raises:
        DestiloError: If a line without any dropped piece reads otherwise: a bug.
    """
    new = np.full(before.get_vocab_size(with_added_tokens=True) + max(kept) + 1, -1)
    new[list(kept)] = np.arange(len(kept))
    unknown = (-1 if unk_id is None else unk_id, -1 if unk_id is None else int(new[unk_id]))
    lines_all = words = covered = same = 0
    pieces, unks = [0, 0], [0, 0]
    for batch in _batches(lines):
        encoded = [
            tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            for tokenizer in (before, after)
        ]
        lines_all += len(batch)
        for line, *both in zip(batch, *encoded, strict=True):
            words += len(line.split())
            ids = [np.asarray(encoding.ids, dtype=np.int64) for encoding in both]
            for side in (0, 1):
                pieces[side] += len(ids[side])
                unks[side] += int((ids[side] == unknown[side]).sum())
            expected = new[ids[0]]
            covered += int((expected >= 0).sum())
            if (expected < 0).any():
                continue
            if np.array_equal(expected, ids[1]):
                same += 1
            elif unknown[0] not in ids[0]:
                raise DestiloError(f"{name}: a line without dropped pieces reads otherwise: {line}")
    return Reading(
        name, lines_all, words, (pieces[0], pieces[1]), (unks[0], unks[1]), covered, same
    )


def _tally(ids: Iterable[Sequence[int]], size: int) -> NDArray[np.int64]:
    flat = np.fromiter(chain.from_iterable(ids), dtype=np.int64)
    return np.bincount(flat, minlength=size)


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    length = 0
    for line in lines:
        batch.append(line)
        length += len(line)
        if len(batch) >= _LINES_AT_A_TIME or length >= _CHARACTERS_AT_A_TIME:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch
