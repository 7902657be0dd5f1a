"""A tokenizer as tasks use it: pieces, character offsets and the layout of special tokens.

Only ``tokenizers`` and numpy, so that what trains, what is exported and what serves encode a
text in the same way. The layout ([CLS] A [SEP] B [SEP], <s> A </s></s> B </s>, ...) is not taken
from a model's name: a pair of probes goes through the tokenizer's own post-processor and shows it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from destilo.errors import ModelError

Ints = NDArray[np.int64]
PairLayout = Literal["bert", "roberta"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_REMEMBERED_WORDS = 1_000_000
_SPECIAL_NAMES = {
    "cls": ("cls_token", "bos_token"),
    "sep": ("sep_token", "eos_token"),
    "pad": ("pad_token",),
    "unk": ("unk_token",),
    "mask": ("mask_token",),
}


class Flat(NamedTuple):
    """Pieces of many texts in one line.

    Attributes:
        ids: [pieces], of all texts one after the other.
        ends: [pieces], where each piece ends in its own text, in code points.
        counts: [texts], pieces of each text.
    """

    ids: Ints
    ends: Ints
    counts: Ints


class Joined(NamedTuple):
    """Pieces of one or two texts between their special tokens.

    Attributes:
        input_ids: [length].
        token_type_ids: [length], or ``None`` where the model has no segments.
        first: Position of the first text's first piece.
        second: Position of the second text's first piece (``length`` without one).
    """

    input_ids: Ints
    token_type_ids: Ints | None
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The special tokens around one text or two, and the segment of each part.

    Attributes:
        parts: Ids before, between and after the texts; one more than there are texts.
        types: Segment of each special token, as ``parts``.
        text_types: Segment of each text.
    """

    parts: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...]
    text_types: tuple[int, ...]

    @property
    def n_special(self) -> int:
        """How many special tokens there are."""
        return sum(map(len, self.parts))


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """A ``tokenizers.Tokenizer`` with what a task has to know beside it.

    Two of them are equal when their ``digest`` is.

    Attributes:
        tokenizer: Without truncation or padding.
        cls_id: First token of every input; ``None`` where there is none.
        sep_id: Token at the end of a text.
        pad_id: Fills up batches; where a tokenizer has none, the separator (it is masked anyway).
        unk_id: Stands for what has no piece.
        mask_id: Masked-LM mask.
        uses_token_type_ids: Whether the model has segments; RoBERTa and DistilBERT have not.
        pair_layout: How a pair is laid out: one separator in the middle, or two.
        adds_prefix_space: Whether a word needs a space before it to read as in mid-sentence
            (byte-level BPE without a prefix space of its own).
        single: Layout of one text.
        pair: Layout of two texts.
        digest: SHA-256 of the tokenizer's JSON and of everything above.
    """

    tokenizer: Tokenizer
    cls_id: int | None
    sep_id: int | None
    pad_id: int
    unk_id: int | None
    mask_id: int | None
    uses_token_type_ids: bool
    pair_layout: PairLayout
    adds_prefix_space: bool
    single: Layout
    pair: Layout
    digest: str
    _words: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextTokenizer) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def vocab_size(self) -> int:
        """Pieces in the vocabulary, added tokens included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @staticmethod
    def from_folder(
        folder: str | Path, *, uses_token_type_ids: bool | None = None
    ) -> TextTokenizer:
        """Read a tokenizer from a model folder in Hugging Face layout.

        Args:
            folder: Holds ``tokenizer.json`` and, where they exist, ``tokenizer_config.json``,
                ``special_tokens_map.json`` and ``config.json``.
            uses_token_type_ids: Whether the model has segments. ``None``: the folder's
                ``config.json`` says so (``type_vocab_size`` above 1), or else the tokenizer's
                ``model_input_names``.

        Raises:
            ModelError: If there is no ``tokenizer.json``, or it cannot be read.
        """
        path = Path(folder)
        if not (path / "tokenizer.json").is_file():
            raise ModelError(
                f"{path} holds no tokenizer.json. Write one with "
                f"AutoTokenizer.from_pretrained('{path}').save_pretrained('{path}')."
            )
        try:
            tokenizer = Tokenizer.from_str((path / "tokenizer.json").read_text(encoding="utf-8"))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ModelError(f"{path / 'tokenizer.json'} cannot be read: {error}.") from error
        settings = _read_json(path / "tokenizer_config.json")
        named = {**_read_json(path / "special_tokens_map.json"), **settings}
        if uses_token_type_ids is None:
            uses_token_type_ids = _has_segments(_read_json(path / "config.json"), settings)
        special: dict[str, Any] = {
            role: _content(named, names) for role, names in _SPECIAL_NAMES.items()
        }
        return TextTokenizer.from_tokenizer(
            tokenizer, uses_token_type_ids=uses_token_type_ids, **special
        )

    @staticmethod
    def from_tokenizer(
        tokenizer: Tokenizer,
        *,
        cls: str | None = None,
        sep: str | None = None,
        pad: str | None = None,
        unk: str | None = None,
        mask: str | None = None,
        uses_token_type_ids: bool = False,
        pair_layout: PairLayout | None = None,
    ) -> TextTokenizer:
        """Wrap a tokenizer; the one that is passed in stays as it is.

        Args:
            tokenizer: With or without a post-processor, truncation and padding.
            cls: The special token at the start; ``None``: what the post-processor puts there.
            sep: The special token after a text; likewise.
            pad: The padding token.
            unk: The unknown token.
            mask: The mask token.
            uses_token_type_ids: Whether the model has segments.
            pair_layout: Only for a tokenizer whose post-processor adds no special tokens
                (``bert`` by default).

        Raises:
            ModelError: If there is neither a post-processor that adds special tokens nor
                ``cls`` and ``sep``, or a special token is not in the vocabulary.
        """
        own = Tokenizer.from_str(tokenizer.to_str())
        own.no_truncation()
        own.no_padding()
        tokens = {"cls": cls, "sep": sep, "pad": pad, "unk": unk, "mask": mask}
        ids = {role: _token_id(own, token, role) for role, token in tokens.items()}
        single, pair = _layouts(own, ids["cls"], ids["sep"], pair_layout or "bert")
        sep_id = ids["sep"] if ids["sep"] is not None else (pair.parts[-1] or (None,))[-1]
        cls_id = ids["cls"] if ids["cls"] is not None else (pair.parts[0] or (None,))[0]
        pad_id = next((i for i in (ids["pad"], sep_id, cls_id) if i is not None), 0)
        adds_prefix_space = _needs_space(own)
        flags: list[Any] = [cls_id, sep_id, pad_id, ids["unk"], ids["mask"], uses_token_type_ids]
        flags += [adds_prefix_space, single.parts, single.types, pair.parts, pair.types]
        content = json.dumps([json.loads(own.to_str()), flags], sort_keys=True)
        return TextTokenizer(
            tokenizer=own,
            cls_id=cls_id,
            sep_id=sep_id,
            pad_id=pad_id,
            unk_id=ids["unk"],
            mask_id=ids["mask"],
            uses_token_type_ids=uses_token_type_ids,
            pair_layout="roberta" if len(pair.parts[1]) == 2 else "bert",
            adds_prefix_space=adds_prefix_space,
            single=single,
            pair=pair,
            digest=hashlib.sha256(content.encode()).hexdigest(),
        )

    def words(self, words: Sequence[str]) -> list[list[int]]:
        """Encode each word on its own, as it would read in the middle of a sentence.

        Returns:
            Piece ids per word; an empty list where a word yields none (a zero-width
            character, say). Words are remembered; do not change the lists.
        """
        known = self._words
        new = [word for word in dict.fromkeys(words) if word not in known]
        if new:
            if len(known) + len(new) > _MAX_REMEMBERED_WORDS:
                known.clear()
                new = list(dict.fromkeys(words))
            space = " " if self.adds_prefix_space else ""
            pieces = self.pieces([space + word if word.strip() else "" for word in new])
            known.update((word, ids.tolist()) for word, ids in zip(new, pieces, strict=True))
        return [known[word] for word in words]

    def pieces(self, texts: Sequence[str]) -> list[Ints]:
        """Encode whole texts without special tokens, where no offsets are wanted."""
        encoded = self.tokenizer.encode_batch_fast(_readable(texts), add_special_tokens=False)
        return [np.array(one.ids, dtype=np.int64) for one in encoded]

    def text(self, texts: Sequence[str]) -> list[tuple[Ints, Ints]]:
        """Encode whole texts without special tokens.

        Returns:
            Per text its piece ids [length] and their spans [length, 2], in code points of the
            text as it was passed in.
        """
        encoded = self.tokenizer.encode_batch(_readable(texts), add_special_tokens=False)
        return [
            (
                np.array(one.ids, dtype=np.int64),
                np.array(one.offsets, dtype=np.int64).reshape(-1, 2),
            )
            for one in encoded
        ]

    def flat(self, texts: Sequence[str]) -> Flat:
        """Encode whole texts without special tokens into one line: the way for much text."""
        encoded = self.tokenizer.encode_batch(_readable(texts), add_special_tokens=False)
        counts = np.array([len(one) for one in encoded], dtype=np.int64)
        total = int(counts.sum())
        ids = np.fromiter(chain.from_iterable(one.ids for one in encoded), np.int64, total)
        spans = chain.from_iterable(one.offsets for one in encoded)
        return Flat(ids, np.fromiter((end for _, end in spans), np.int64, total), counts)

    def join(self, first: Ints, second: Ints | None = None) -> Joined:
        """Put special tokens around one text's pieces, or two texts'."""
        layout = self.single if second is None else self.pair
        texts = [first] if second is None else [first, second]
        ids: list[Ints] = [np.array(layout.parts[0], dtype=np.int64)]
        types: list[Ints] = [np.array(layout.types[0], dtype=np.int64)]
        starts: list[int] = []
        for number, pieces in enumerate(texts):
            starts.append(sum(map(len, ids)))
            ids += [pieces, np.array(layout.parts[number + 1], dtype=np.int64)]
            types.append(np.full(len(pieces), layout.text_types[number], dtype=np.int64))
            types.append(np.array(layout.types[number + 1], dtype=np.int64))
        joined = np.concatenate(ids)
        segments = np.concatenate(types) if self.uses_token_type_ids else None
        return Joined(joined, segments, starts[0], starts[1] if len(starts) > 1 else len(joined))


def _readable(texts: Iterable[str]) -> list[str]:
    """Replace lone surrogates, which the tokenizers library refuses; lengths stay as they are."""
    return [_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text) for text in texts]


def _layouts(
    tokenizer: Tokenizer, cls_id: int | None, sep_id: int | None, pair_layout: PairLayout
) -> tuple[Layout, Layout]:
    """See where the post-processor puts special tokens; without one, use cls and sep."""
    single, pair = tokenizer.encode("a"), tokenizer.encode("a", "b")
    if not any(pair.special_tokens_mask):
        if cls_id is None or sep_id is None:
            raise ModelError(
                "The tokenizer has no post-processor that adds special tokens, and its "
                "configuration names no cls_token and sep_token. Add them to "
                "tokenizer_config.json."
            )
        middle = (sep_id, sep_id) if pair_layout == "roberta" else (sep_id,)
        second = 0 if pair_layout == "roberta" else 1
        return (
            Layout(((cls_id,), (sep_id,)), ((0,), (0,)), (0,)),
            Layout(
                ((cls_id,), middle, (sep_id,)), ((0,), (0,) * len(middle), (second,)), (0, second)
            ),
        )
    return _observed(single, n_texts=1), _observed(pair, n_texts=2)


def _observed(encoding: Any, *, n_texts: int) -> Layout:
    """Read a layout off an encoded probe."""
    runs = [
        (special, list(run))
        for special, run in groupby(
            zip(encoding.special_tokens_mask, encoding.ids, encoding.type_ids, strict=True),
            key=lambda piece: bool(piece[0]),
        )
    ]
    parts: list[tuple[int, ...]] = [()]
    types: list[tuple[int, ...]] = [()]
    text_types: list[int] = []
    for special, run in runs:
        if special:
            parts[-1] = tuple(piece[1] for piece in run)
            types[-1] = tuple(piece[2] for piece in run)
        else:
            text_types.append(run[0][2])
            parts.append(())
            types.append(())
    if len(text_types) != n_texts:
        raise ModelError(
            f"The tokenizer's post-processor puts nothing between two texts, or cannot read "
            f"'a' and 'b' (it gave {encoding.tokens}). Such a tokenizer cannot be used."
        )
    return Layout(tuple(parts), tuple(types), tuple(text_types))


def _needs_space(tokenizer: Tokenizer) -> bool:
    """Whether a word on its own reads otherwise than after a space."""
    for word in ("de", "la", "a"):
        alone, spaced, twice = (
            tokenizer.encode(text, add_special_tokens=False).ids
            for text in (word, f" {word}", f"{word} {word}")
        )
        if alone != spaced and twice != alone + alone:
            return True
    return False


def _token_id(tokenizer: Tokenizer, token: str | None, role: str) -> int | None:
    if token is None:
        return None
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ModelError(
            f"The {role} token '{token}' is not in the tokenizer's vocabulary. Correct "
            "tokenizer_config.json, or save the tokenizer again."
        )
    return int(found)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}.") from error
    return content if isinstance(content, dict) else {}


def _content(named: dict[str, Any], names: Iterable[str]) -> str | None:
    """The first special token that is set, written as a string or as a dictionary."""
    for name in names:
        token = named.get(name)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            return token
    return None


def _has_segments(config: dict[str, Any], settings: dict[str, Any]) -> bool:
    if config:
        return int(config.get("type_vocab_size") or 0) > 1
    return "token_type_ids" in (settings.get("model_input_names") or ())
