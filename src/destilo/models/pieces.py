"""Training of pieces that comes out the same every time.

The trainers of ``tokenizers`` walk over hash tables whose order changes from run to run. Byte-level
BPE does not mind. WordPiece numbers the pieces within words in that order, which decides between
equally frequent pairs; Unigram orders by it the characters that are no piece of their own. A
training that is resumed, or that several processes share, needs one vocabulary.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import AddedToken, Tokenizer, models, trainers

PREFIX = "##"
"""Marks a WordPiece piece within a word."""

_FIRST_STAND_IN = 0xF0000  # Supplementary Private Use: room for 131,072 symbols
_LADDER = 1e-4  # Unigram's step between the scores of characters without a score of their own


def train_wordpiece(
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    vocab_size: int,
    special: Sequence[str],
    unk: str,
) -> None:
    """Give a tokenizer a trained WordPiece model in place.

    Every character stands in for itself once at the start of a word and once within, as a symbol
    of its own; plain BPE, which sorts its symbols, then finds the merges.

    Args:
        tokenizer: With its normaliser and pre-tokeniser.
        texts: Training texts.
        vocab_size: Pieces, special ones included.
        special: Special pieces, which come first.
        unk: The one of them for what has no piece.
    """
    words = Counter(
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(
            tokenizer.normalizer.normalize_str(text)
        )
    )
    symbols = sorted({(bool(place), char) for word in words for place, char in enumerate(word)})
    stand_in = {symbol: chr(_FIRST_STAND_IN + n) for n, symbol in enumerate(symbols)}
    meant = {chr(_FIRST_STAND_IN + n): symbol for n, symbol in enumerate(symbols)}

    def spelt_out() -> Iterator[str]:
        for word, count in sorted(words.items()):
            spelt = "".join(stand_in[bool(place), char] for place, char in enumerate(word))
            yield from (spelt for _ in range(count))

    plain = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(special), show_progress=False
    )
    plain.train_from_iterator(spelt_out(), trainer)
    numbers = plain.get_vocab()
    pieces = dict.fromkeys(special)  # an ordered set
    for piece in sorted(numbers, key=numbers.__getitem__)[len(special) :]:
        inside, _ = meant[piece[0]]
        pieces["".join([PREFIX * inside, *(meant[char][1] for char in piece)])] = None
    tokenizer.model = models.WordPiece(
        {piece: number for number, piece in enumerate(pieces)},
        unk_token=unk,
        continuing_subword_prefix=PREFIX,
    )
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in special])


def settle_unigram(tokenizer: Tokenizer, *, special: Sequence[str]) -> None:
    """Bring a trained Unigram model's pieces and scores into one order in place."""
    content = json.loads(tokenizer.to_str())["model"]
    scores: dict[str, float] = dict(content["vocab"])
    scores = {piece: score for piece, score in scores.items() if piece not in special}
    lowest = min(scores.values(), default=0.0)
    single = sorted(piece for piece in scores if len(piece) == 1)
    ladder = [piece for piece in single if scores[piece] <= lowest + _LADDER * len(single)]
    scores |= zip(ladder, sorted(scores[piece] for piece in ladder), strict=True)
    # Sums over a hash table differ in the last digits.
    settled = [(piece, round(score, 6)) for piece, score in scores.items()]
    settled.sort(key=lambda pair: (-pair[1], pair[0]))
    unk = content["unk_id"]
    tokenizer.model = models.Unigram(
        [*((piece, 0.0) for piece in special), *settled], unk_id=unk, byte_fallback=False
    )
