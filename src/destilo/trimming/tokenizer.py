"""A tokenizer with fewer pieces: its JSON, rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from destilo.errors import DestiloError, ModelError
from destilo.trimming.counting import plain_tokenizer
from destilo.trimming.vocabulary import merge_pair, piece_ids, read_vocabulary


def trim_tokenizer(content: Mapping[str, Any], *, keep: Sequence[int]) -> dict[str, Any]:
    """Take pieces out of a ``tokenizer.json``; the others close ranks in their order.

    Args:
        content: Of the file; it is not changed. With all its pieces kept, and ids without
            gaps, the result equals it.
        keep: Old ids of the pieces to keep, in any order.

    Raises:
        ModelError: If a special piece is missing in ``keep``, or an id is no piece's.
    """
    vocabulary = read_vocabulary(content)
    names = {index: piece for piece, index in vocabulary.ids.items()}
    new = {old: number for number, old in enumerate(sorted(set(keep)))}
    strangers = [index for index in new if index not in names]
    if strangers:
        raise ModelError(f"There is no piece number {strangers[0]} in this tokenizer.")
    for index, kind in vocabulary.kinds.items():
        if kind == "special" and index not in new:
            raise ModelError(f"The special piece {names[index]} has to be kept.")
    trimmed = {
        **content,
        "added_tokens": [
            {**token, "id": new[token["id"]]} for token in content.get("added_tokens") or ()
        ],
        "post_processor": _processor(content.get("post_processor"), new),
        "model": _model(content["model"], new),
    }
    if content.get("padding"):
        pad = content["padding"]
        trimmed["padding"] = {**pad, "pad_id": new[pad["pad_id"]]}
    expected = {names[old]: number for old, number in new.items()}
    if plain_tokenizer(trimmed).get_vocab(with_added_tokens=True) != expected:
        raise DestiloError("This tokenizer numbers its added pieces in a way that trimming breaks.")
    return trimmed


def _model(model: Mapping[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    trimmed = dict(model)
    ids = piece_ids(model)
    if isinstance(model["vocab"], list):
        trimmed["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in new]
        if model.get("unk_id") is not None:
            trimmed["unk_id"] = new[model["unk_id"]]
        return trimmed
    order = sorted((old, piece) for piece, old in ids.items() if old in new)
    trimmed["vocab"] = {piece: new[old] for old, piece in order}
    if "merges" in model:
        left = trimmed["vocab"]
        pairs = [(merge, merge_pair(merge)) for merge in model["merges"]]
        trimmed["merges"] = [
            merge
            for merge, (one, two) in pairs
            if one in left and two in left and one + two in left
        ]
    return trimmed


def _processor(processor: Mapping[str, Any] | None, new: Mapping[int, int]) -> Any:
    """A post-processor with the new ids of what it puts around texts."""
    if not processor:
        return processor
    changed = dict(processor)
    if "processors" in processor:
        changed["processors"] = [_processor(part, new) for part in processor["processors"]]
    if "special_tokens" in processor:
        changed["special_tokens"] = {
            name: {**special, "ids": [new[old] for old in special["ids"]]}
            for name, special in processor["special_tokens"].items()
        }
    for name in ("sep", "cls"):
        if name in processor:
            piece, old = processor[name]
            changed[name] = [piece, new[old]]
    return changed
