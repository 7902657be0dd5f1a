"""Which pieces a masked language model has to guess, decided by seed, example and epoch alone.

The choice is a hash of these three and of the place in the block: the same on every machine, in
every batch, in a resumed training, and whoever asks. Another epoch hides other pieces.

Exactly the share ``rate`` is chosen, rounded up or down by chance so that it holds on average in
short blocks too. With ``whole_words`` words are chosen instead, each as likely as any other, and
hidden, replaced or left as one; so the characters to guess do not depend on the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from destilo.errors import InputError, ModelError
from destilo.tasks.chance import chance_key, chance_words, uniform
from destilo.tasks.tokenization import TextTokenizer

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """How pieces are chosen and what stands in their place.

    Attributes:
        rate: Share of the pieces (or words) to guess.
        hidden: Share of them that the mask stands for.
        replaced: Share of them that another piece stands for, drawn evenly from the vocabulary; the
            rest stays as it is.
        whole_words: Choose words, all of their pieces.
        seed: Another one chooses others.
    """

    rate: float = 0.15
    hidden: float = 0.8
    replaced: float = 0.1
    whole_words: bool = False
    seed: int = 13

    def __post_init__(self) -> None:
        for share in fields(self)[:3]:
            value = getattr(self, share.name)
            if not 0 <= value <= 1:
                raise InputError(f"masking.{share.name}: {value} must lie between 0 and 1.")
        if self.hidden + self.replaced > 1 + 1e-9:
            raise InputError(
                f"masking: hidden {self.hidden} and replaced {self.replaced} are more than 1 "
                "together."
            )


@dataclass(frozen=True, eq=False)
class MaskPieces:
    """What masking has to know of a vocabulary.

    Attributes:
        mask_id: The mask.
        special: [vocabulary], true at pieces that are never chosen: special ones and the unknown
            piece, of which nobody could say what it stood for.
        ordinary: The others, ascending.
    """

    mask_id: int
    special: NDArray[np.bool_]
    ordinary: Ints

    @staticmethod
    def of(tokenizer: TextTokenizer) -> MaskPieces:
        """Read it off a tokenizer.

        Raises:
            ModelError: It has no mask.
        """
        if tokenizer.mask_id is None:
            raise ModelError(
                "The tokenizer has no mask piece, so no masked language model can be trained with "
                "it. Name one as `mask_token` in tokenizer_config.json."
            )
        vocabulary = tokenizer.tokenizer.get_vocab(with_added_tokens=True)
        taken = np.array(sorted(vocabulary.values()), dtype=np.int64)
        special = np.ones(int(taken[-1]) + 1, dtype=np.bool_)
        special[taken] = False
        added = tokenizer.tokenizer.get_added_tokens_decoder()
        special[[number for number, token in added.items() if token.special]] = True
        named = (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.unk_id)
        around = [piece for part in tokenizer.single.parts for piece in part]
        for piece in (*named, *around, tokenizer.mask_id):
            if piece is not None:
                special[piece] = True
        return MaskPieces(tokenizer.mask_id, special, np.flatnonzero(~special))


class Masked(NamedTuple):
    """A block with pieces to guess.

    Attributes:
        input_ids: [length], as the model reads it.
        positions: [chosen], where there is something to guess, ascending.
        labels: [chosen], the pieces that stood there.
    """

    input_ids: Ints
    positions: Ints
    labels: Ints


def mask_block(
    input_ids: Ints,
    begins_word: NDArray[np.bool_],
    *,
    pieces: MaskPieces,
    settings: MaskSettings,
    example: int,
    epoch: int,
) -> Masked:
    """Choose the pieces of a block to guess and put something else in their place.

    Args:
        input_ids: [length], with special pieces; left as it is.
        begins_word: [length], whether a piece begins a word; true at special pieces.
        pieces: Of the vocabulary.
        settings: How to choose.
        example: The block's number.
        epoch: The epoch's number; a fixed one gives fixed masks, as in evaluation.
    """
    key = chance_key(settings.seed, example, epoch)
    ordinary = ~pieces.special[input_ids]
    if settings.whole_words:
        begins = begins_word.copy()
        begins[:1] = True
        starts, word = np.flatnonzero(begins), np.cumsum(begins) - 1
        # A word with a special piece inside, such as the unknown one, cannot be hidden whole.
        able = np.flatnonzero(np.logical_and.reduceat(ordinary, starts))
    else:
        word = np.arange(len(input_ids))
        able = np.flatnonzero(ordinary)
    chosen = able[_draw(key, able, settings.rate)]
    lot = np.full(int(word[-1]) + 1 if len(word) else 0, -1.0)
    lot[chosen] = uniform(chance_words(key, chosen, stream=1))
    lots = lot[word]
    positions = np.flatnonzero(lots >= 0)
    lots = lots[positions]
    masked = input_ids.copy()
    masked[positions[lots < settings.hidden]] = pieces.mask_id
    other = positions[(lots >= settings.hidden) & (lots < settings.hidden + settings.replaced)]
    drawn = chance_words(key, other, stream=2) % np.uint64(len(pieces.ordinary))
    masked[other] = pieces.ordinary[drawn.astype(np.int64)]
    return Masked(masked, positions, input_ids[positions])


def _draw(key: int, able: Ints, rate: float) -> Ints:
    """Places in ``able`` of those that are chosen: the ones with the smallest hashes."""
    rounding = float(uniform(chance_words(key, np.zeros(1, dtype=np.int64), stream=3))[0])
    wanted = int(rate * len(able) + rounding)
    return np.argsort(chance_words(key, able, stream=0), kind="stable")[:wanted]
