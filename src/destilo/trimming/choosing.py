"""Which pieces are kept: the most frequent ones, up to a share of all occurrences or to a number.

Each corpus has an order of its own: a piece *enters* at the share that the more frequent ones
already cover. A piece's rank over several corpora is its earliest entry, so that whatever number
is kept, every corpus is covered to the same share, and a small language is not drowned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from destilo.errors import InputError, ModelError
from destilo.trimming.counting import PieceCounts
from destilo.trimming.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Target:
    """How much is kept; exactly one of the first two.

    Attributes:
        coverage: Share of the piece occurrences of every corpus, in (0, 1].
        size: Number of pieces, all kinds together.
        characters: Keep single characters even where no corpus uses them.
    """

    coverage: float | None = None
    size: int | None = None
    characters: bool = True

    def __post_init__(self) -> None:
        if (self.coverage is None) == (self.size is None):
            raise InputError("Say either a coverage (--coverage 0.9999) or a size (--size 30000).")
        if self.coverage is not None and not 0.0 < self.coverage <= 1.0:
            raise InputError(
                f"A coverage is a share above 0 and up to 1, such as 0.9999; not {self.coverage}."
            )
        if self.size is not None and self.size < 1:
            raise InputError(f"A size is a number of pieces, such as 30000; not {self.size}.")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is kept.

    Attributes:
        kept: Ids in ascending order; the position is the new id.
        for_merges: How many of them are there only because BPE joins kept ones out of them.
    """

    kept: tuple[int, ...]
    for_merges: int = 0


def choose_pieces(
    vocabulary: Vocabulary, counts: Sequence[PieceCounts], *, target: Target
) -> Choice:
    """Choose the pieces to keep.

    Special pieces, bytes and (unless told otherwise) single characters always stay. With a size,
    a vocabulary that is small enough stays whole; pieces that no corpus uses never fill it up.

    Args:
        vocabulary: Of the tokenizer that counted.
        counts: Of one corpus each.
        target: A share or a number.

    Raises:
        InputError: If the size has no room for what always stays, or nothing was counted.
    """
    if not counts or any(not one.n_pieces for one in counts):
        empty = ", ".join(one.name for one in counts if not one.n_pieces) or "corpus"
        raise InputError(f"There is no text in {empty}: nothing to count.")
    check_target(vocabulary, target)
    ids = sorted(vocabulary.ids.values())
    kept = set(vocabulary.always_kept(characters=target.characters))
    if target.size is not None and target.size >= len(ids):
        return Choice(tuple(ids))
    entry = _entries(vocabulary.size, sorted(kept), counts)
    chosen = [index for index in np.lexsort((np.arange(len(entry)), entry)) if index not in kept]
    pieces = {index: piece for piece, index in vocabulary.ids.items()}
    limit = target.coverage if target.coverage is not None else np.inf
    room = target.size if target.size is not None else len(ids)
    wanted = set(kept)
    for index in map(int, chosen):
        if not entry[index] < limit or len(kept) >= room:
            break
        needed = vocabulary.needed_by(pieces[index]) - kept
        if len(kept) + len(needed) <= room:
            kept |= needed
            wanted.add(index)
    return Choice(tuple(sorted(kept)), for_merges=len(kept - wanted))


def check_target(vocabulary: Vocabulary, target: Target) -> None:
    """Refuse a size that has no room for what always stays, before anything is counted.

    Raises:
        InputError: With the size that is needed.
    """
    needed = len(vocabulary.always_kept(characters=target.characters))
    if target.size is None or target.size >= needed:
        return
    hint = (
        ", or drop single characters that the texts do not use (--characters used)"
        if target.characters
        else ""
    )
    raise InputError(
        f"A size of {target.size:,} has no room for the {needed:,} pieces that always stay "
        f"(special ones, bytes{', single characters' if target.characters else ''}). "
        f"Raise --size{hint}."
    )


def with_needed(vocabulary: Vocabulary, keep: Iterable[int]) -> tuple[int, ...]:
    """Add what pieces cannot do without: special pieces, bytes and the parts that BPE joins.

    Raises:
        ModelError: If an id is no piece's.
    """
    names = {index: piece for piece, index in vocabulary.ids.items()}
    kept = set(vocabulary.always_kept(characters=False))
    for index in keep:
        if index not in names:
            raise ModelError(f"There is no piece number {index} in this tokenizer.")
        kept |= vocabulary.needed_by(names[index])
    return tuple(sorted(kept))


def _entries(size: int, kept: Sequence[int], counts: Sequence[PieceCounts]) -> NDArray[np.float64]:
    """The share that is covered without a piece when its turn comes; infinity if it is unused."""
    earliest = np.full(size, np.inf)
    for one in counts:
        occurrences = one.occurrences.copy()
        covered = occurrences[list(kept)].sum()
        occurrences[list(kept)] = 0
        order = np.lexsort((np.arange(size), -occurrences))
        order = order[occurrences[order] > 0]
        before = covered + np.cumsum(occurrences[order]) - occurrences[order]
        earliest[order] = np.minimum(earliest[order], before / one.n_pieces)
    return earliest
