"""What a tokenizer's pieces are, and what each of them needs to come about.

Why a text that uses none of the dropped pieces reads as before, whatever else is dropped:

- WordPiece takes the longest piece at each place; taking others away leaves it the longest.
- Unigram takes the segmentation with the highest score; scores do not change, so it stays the
  highest. What an unknown character costs hangs on the lowest score of all, which is why the
  piece that has it is kept.
- Byte-level BPE joins the pair of lowest rank; every join within a piece that is left is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

from destilo.errors import ModelError, suggest

Kind: TypeAlias = Literal["special", "byte", "character", "word start", "within a word"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ALGORITHMS = ("WordPiece", "Unigram", "BPE")

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_WORD_MARKS = ("▁", "Ġ")


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of one tokenizer.

    Attributes:
        algorithm: One of ``ALGORITHMS``.
        ids: Piece to id, added ones included.
        kinds: Id to what it is.
        unk_id: Of the piece for what has none.
        anchor: A piece without which the score of unknown characters would change (Unigram).
        ranks: BPE's pairs in their order.
    """

    algorithm: str
    ids: Mapping[str, int]
    kinds: Mapping[int, Kind]
    unk_id: int | None
    anchor: int | None = None
    ranks: Mapping[tuple[str, str], int] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """One more than the highest id."""
        return max(self.ids.values(), default=-1) + 1

    def always_kept(self, *, characters: bool) -> frozenset[int]:
        """The pieces that no choice may drop.

        Args:
            characters: Single characters are among them.
        """
        kinds = ("special", "byte", "character") if characters else ("special", "byte")
        kept = {index for index, kind in self.kinds.items() if kind in kinds}
        return frozenset(kept if self.anchor is None else kept | {self.anchor})

    def needed_by(self, piece: str) -> frozenset[int]:
        """The pieces out of which BPE joins a piece, itself included; else itself alone.

        Within a longer word a piece is joined as it is alone, since no pair across its borders
        was ever joined.
        """
        parts, needed = list(piece), {piece}
        if self.algorithm != "BPE" or self.kinds[self.ids[piece]] == "special":
            return frozenset({self.ids[piece]})
        made = set(parts)
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            ranks = [self.ranks.get(pair, len(self.ranks)) for pair in pairs]
            place = ranks.index(min(ranks))
            if pairs[place] not in self.ranks:
                break
            parts[place : place + 2] = ["".join(pairs[place])]
            made.add(parts[place])
        if parts == [piece]:
            needed |= made
        return frozenset(self.ids[one] for one in needed if one in self.ids)


def read_vocabulary(content: Mapping[str, Any]) -> Vocabulary:
    """Read the pieces of a ``tokenizer.json``.

    Raises:
        ModelError: If the algorithm is none of ``ALGORITHMS``, or BPE marks ends of words.
    """
    model = content["model"]
    algorithm = model.get("type") or _guess(model)
    if algorithm not in ALGORITHMS:
        raise ModelError(suggest(algorithm, ALGORITHMS, kind="tokenizer algorithm"))
    if model.get("end_of_word_suffix") or (
        algorithm == "BPE" and model.get("continuing_subword_prefix")
    ):
        raise ModelError(
            "A BPE tokenizer that marks the parts of words by a prefix or a suffix cannot be "
            "trimmed; WordPiece, Unigram and byte-level BPE can."
        )
    pieces = piece_ids(model)
    ids = pieces | {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
    unk = ids.get(model.get("unk_token")) if algorithm != "Unigram" else model.get("unk_id")
    special = {token["id"] for token in content.get("added_tokens") or ()}
    special |= {ids[one] for one in template_tokens(content.get("post_processor")) if one in ids}
    special |= {unk} - {None}
    prefix = str(model.get("continuing_subword_prefix") or "")
    byte_level = any(part.get("type") == "ByteLevel" for part in _parts(content))
    kinds = {
        index: "special" if index in special else _kind(piece, prefix, byte_level=byte_level)
        for piece, index in ids.items()
    }
    anchor, ranks = None, {}
    if algorithm == "Unigram":
        anchor = min(range(len(model["vocab"])), key=lambda index: model["vocab"][index][1])
    elif algorithm == "BPE":
        ranks = {merge_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    return Vocabulary(algorithm, ids, kinds, unk, anchor, ranks)


def _guess(model: Mapping[str, Any]) -> str:
    """The algorithm of an old file that does not name it."""
    if "merges" in model:
        return "BPE"
    return "Unigram" if isinstance(model.get("vocab"), list) else "WordPiece"


def piece_ids(model: Mapping[str, Any]) -> dict[str, int]:
    """Piece to id of a ``tokenizer.json``'s model, without added ones."""
    vocab = model["vocab"]
    if isinstance(vocab, list):  # Unigram: pieces with their scores, in order
        return {piece: index for index, (piece, _) in enumerate(vocab)}
    return dict(vocab)


def merge_pair(merge: str | list[str]) -> tuple[str, str]:
    """A pair of BPE, which old files write as one string with a space."""
    one, two = merge.split(" ") if isinstance(merge, str) else merge
    return one, two


def template_tokens(processor: Mapping[str, Any] | None) -> Iterator[str]:
    """The pieces that a post-processor puts around texts."""
    if not processor:
        return
    for part in processor.get("processors", ()):
        yield from template_tokens(part)
    for special in processor.get("special_tokens", {}).values():
        yield from special["tokens"]
    for name in ("sep", "cls"):
        if name in processor:
            yield processor[name][0]


def _parts(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for section in ("pre_tokenizer", "decoder"):
        part = content.get(section) or {}
        yield part
        yield from part.get("pretokenizers", ())
        yield from part.get("decoders", ())


def _kind(piece: str, prefix: str, *, byte_level: bool) -> Kind:
    within = bool(prefix) and piece.startswith(prefix) and piece != prefix
    plain = piece.removeprefix(prefix) if within else piece
    if _BYTE.fullmatch(piece) or (byte_level and len(piece) == 1):
        return "byte"
    if len(plain) == 1:
        return "character"
    starts = not within if prefix else piece.startswith(_WORD_MARKS)
    return "word start" if starts else "within a word"
