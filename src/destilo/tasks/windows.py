"""How texts are cut so that every tokenizer reads the same words.

A window is a range of whole words. It is cut once, for all tokenizers together, so that it fits
in each of them; then each tokenizer encodes the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from destilo.errors import RecipeError
from destilo.tasks.tokenization import Ints


def cut_windows(
    ends: Sequence[Ints], *, rooms: Sequence[int], overlap: int = 0
) -> Iterator[tuple[int, int]]:
    """Cut the words of a text into windows that fit in every tokenizer.

    A word that has more pieces than there is room stands alone in its window.

    Args:
        ends: Per tokenizer [words + 1], the number of pieces before each word (first 0).
        rooms: Per tokenizer, how many pieces a window may hold.
        overlap: Pieces that a window shares with the one before, counted in the tokenizer that
            needs the most pieces for this text; at most half of its room is used.

    Yields:
        First word and the word after the last, one pair per window; one empty window for a
        text without words.
    """
    n_words = len(ends[0]) - 1
    longest = max(range(len(ends)), key=lambda t: int(ends[t][-1]))
    overlap = min(overlap, rooms[longest] // 2)
    start = 0
    while True:
        stop = min(
            int(np.searchsorted(end, end[start] + room, side="right")) - 1
            for end, room in zip(ends, rooms, strict=True)
        )
        stop = min(max(stop, start + 1), n_words)
        yield start, stop
        if stop == n_words:
            return
        # From here on, what is shared with this window is short enough ...
        shared = np.searchsorted(ends[longest], ends[longest][stop] - overlap, side="left")
        # ... and leaves room for at least one more word.
        behind = max(
            int(np.searchsorted(end, end[stop + 1] - room, side="left"))
            for end, room in zip(ends, rooms, strict=True)
        )
        start = min(max(int(shared), behind, start + 1), stop) if overlap else stop


def room_for(*, max_length: int, n_special: int, taken: int = 0) -> int:
    """How many pieces fit beside the special tokens and what is taken already.

    Raises:
        RecipeError: If there is room for none.
    """
    room = max_length - n_special - taken
    if room < 1:
        raise RecipeError(
            f"encoding.max_length is {max_length}, but {n_special} special tokens and {taken} "
            "pieces of the question leave no room for text. Raise encoding.max_length."
        )
    return room


def longest_first(first: int, second: int, *, room: int) -> tuple[int, int]:
    """How many pieces of two texts to keep: the longer one gives way first.

    The rule of the tokenizers library, to the piece.
    """
    if first + second <= room:
        return first, second
    short, long = min(first, second), max(first, second)
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = room // 2
        long = short + room % 2
    return (long, short) if first > second else (short, long)
