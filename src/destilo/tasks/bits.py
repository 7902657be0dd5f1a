"""Bits per character: how well text is guessed, on a scale that vocabularies share.

Cross-entropy per piece cannot be compared between vocabularies: one with longer pieces guesses more
text at a time. Per *character* it can: the same text has the same characters, however it is cut.

For a masked model two things must be the same as well: which characters are hidden, and what is
seen around them. So choose whole words (where single pieces are hidden, the rest of a word gives it
away, and the more so the shorter the pieces are), the same rate, blocks of about the same text, and
held-out text with few unknown pieces: these are never guessed and count neither as characters nor
as nats. Several pieces of one word are guessed each without the others, so the number is not the
length of a code for the text; compare it with its like only.
"""

from __future__ import annotations

import math


def bits_per_character(nats: float, *, characters: int) -> float:
    """Turn a summed cross-entropy into bits per character.

    Args:
        nats: Negative log-likelihood, summed over all masked pieces, natural logarithm.
        characters: Characters that these pieces stand for, summed likewise (code points, with the
            white space before a word).

    Returns:
        ``nats / (characters · ln 2)``. 0 is a perfect guess. An even guess among V pieces of c
        characters each gives ``log2(V) / c``.

    Raises:
        ValueError: If there is no character.
    """
    if characters <= 0:
        raise ValueError("Bits per character need at least one character that was guessed.")
    return nats / (characters * math.log(2))
