"""Packed text on disk, block by block; memory does not grow with the store.

A store is a folder. Each side of it (``train``, ``held_out``) is three files that only ever grow
while they are written, and never change afterwards:

- ``SIDE.pieces``: the pieces of all blocks in one line, without special ones around (uint16 where
  the vocabulary permits, else uint32);
- ``SIDE.marks``: a byte a piece: the top bit where it begins a word, below it the characters that
  it stands for (127 stands for 127 and more);
- ``SIDE.blocks``: a record a block: where its pieces start, how many they are, and how many
  characters they stand for, exactly.

``store.json`` comes last and says what they hold: without it a store is not finished.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from destilo.errors import DataError, InputError
from destilo.runs import read_json

STORE = "store.json"
FORMAT = 1
WORD_BIT = 0x80
MOST_CHARACTERS = 0x7F
RECORD = np.dtype([("start", "<i8"), ("length", "<u4"), ("characters", "<u4")])

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """One block as a model reads it.

    Attributes:
        input_ids: [length], with the special pieces around.
        begins_word: [length], whether a piece begins a word; true at special pieces, so that no
            word reaches over one.
        characters: [length], characters of text that a piece stands for; 0 at special pieces.
        n_characters: All that the block stands for. The sum of ``characters``, or more where a
            piece stands for over 127.
    """

    input_ids: Ints
    begins_word: NDArray[np.bool_]
    characters: Ints
    n_characters: int

    def __len__(self) -> int:
        return len(self.input_ids)


class Blocks:
    """The blocks of one side of a store, read from disk one by one.

    Reading uses the file's own offset nowhere, so that threads and forked processes share it.

    Args:
        folder: Of a finished store.
        side: ``train`` or ``held_out``.
    """

    def __init__(self, folder: Path, side: str) -> None:
        meta = _meta(folder)
        self.folder, self.side = folder, side
        self.digest: str = meta["fingerprint"]
        """What the store depends on: content of files, tokenizer and settings."""
        self._prefix, self._suffix = (np.array(meta[end], np.int64) for end in ("before", "after"))
        self._n_blocks = int(meta["sides"][side]["blocks"])
        self._pieces = _Column(folder / f"{side}.pieces", np.dtype(meta["dtype"]))
        self._marks = _Column(folder / f"{side}.marks", np.dtype(np.uint8))
        self._records = _Column(folder / f"{side}.blocks", RECORD)
        n_pieces = int(meta["sides"][side]["pieces"])
        for column, wanted in (
            (self._pieces, n_pieces),
            (self._marks, n_pieces),
            (self._records, self._n_blocks),
        ):
            column.require(wanted)

    @property
    def n_special(self) -> int:
        """Special pieces around each block."""
        return len(self._prefix) + len(self._suffix)

    def __len__(self) -> int:
        return self._n_blocks

    def __iter__(self) -> Iterator[Block]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int | np.integer[Any]) -> Block:
        place = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= place < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        record = self._records.read(place, 1)[0]
        start, length = int(record["start"]), int(record["length"])
        before = len(self._prefix)
        inside = slice(before, before + length)
        pieces = self._pieces.read(start, length).astype(np.int64)
        marks = self._marks.read(start, length)
        begins = np.ones(length + self.n_special, dtype=np.bool_)
        begins[inside] = marks >= WORD_BIT
        begins[before] = True  # a word may have begun in the block before
        characters = np.zeros(length + self.n_special, dtype=np.int64)
        characters[inside] = marks & MOST_CHARACTERS
        return Block(
            np.concatenate((self._prefix, pieces, self._suffix)),
            begins,
            characters,
            int(record["characters"]),
        )

    def lengths(self, indices: Sequence[int] | Ints | None = None) -> Ints:
        """[indices], the length of each block with its special pieces, from their records alone.

        Args:
            indices: Which blocks; ``None``: all of them (8 bytes a block in memory).
        """
        if indices is None:
            found = self._records.read(0, len(self))["length"].astype(np.int64)
        else:
            read = self._records.read
            found = np.array([read(int(i), 1)["length"][0] for i in indices], dtype=np.int64)
        return found + self.n_special

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "side": self.side}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # reopens the files in another process


@dataclass(frozen=True, slots=True)
class SideFacts:
    """What one side of a store holds.

    Attributes:
        documents: Documents, also those that are left out for being short.
        too_short: Documents (or slices) left out because they have too few pieces.
        blocks: Blocks.
        pieces: Pieces without the special ones around.
        characters: Characters that the pieces stand for.
        unknown_pieces: Of them, the unknown piece.
        unknown_characters: What it stands for.
    """

    documents: int = 0
    too_short: int = 0
    blocks: int = 0
    pieces: int = 0
    characters: int = 0
    unknown_pieces: int = 0
    unknown_characters: int = 0


@dataclass(frozen=True)
class Packed:
    """A finished store.

    Attributes:
        folder: Where it lies.
        train: What is trained on.
        held_out: What is measured on; empty where nothing was to be held out.
        facts: By side.
        left_out: Documents that stand on neither side.
    """

    folder: Path
    train: Blocks
    held_out: Blocks
    facts: dict[str, SideFacts]
    left_out: int


def open_store(folder: Path) -> Packed:
    """Open a finished store.

    Raises:
        DataError: It is not finished, or not what was written.
    """
    meta = _meta(folder)
    return Packed(
        folder,
        Blocks(folder, "train"),
        Blocks(folder, "held_out"),
        {side: SideFacts(**facts) for side, facts in meta["sides"].items()},
        int(meta["left_out"]),
    )


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = read_json(folder / STORE)
        if meta["format"] != FORMAT:
            raise DataError(f"{folder} was written by another version of destilo; pack it again.")
    except (InputError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder} holds no finished store of packed text; pack it again.") from (
            error
        )
    assert isinstance(meta, dict)
    return meta


class _Column:
    """A file of equal items, read by place."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._path, self._dtype = path, dtype
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}. Pack it again.") from error
        weakref.finalize(self, os.close, self._file)

    def require(self, n_items: int) -> None:
        size = os.fstat(self._file).st_size
        if size != n_items * self._dtype.itemsize:
            raise DataError(
                f"{self._path} has {size} bytes and not {n_items * self._dtype.itemsize}: it is "
                f"damaged. Delete {self._path.parent} and pack it again."
            )

    def read(self, start: int, n_items: int) -> NDArray[Any]:
        # Not mapped: what is read once would count as this process's memory until it is evicted.
        size = self._dtype.itemsize
        data = os.pread(self._file, n_items * size, start * size)
        if len(data) < n_items * size:
            raise DataError(f"{self._path} has become shorter while it is read.")
        return np.frombuffer(data, dtype=self._dtype)
