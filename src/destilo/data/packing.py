"""Documents to blocks of pieces on disk, once for all trainings that read the same text.

**What a block is.** Up to ``max_length`` pieces, special ones included. Documents are kept apart: a
block holds pieces of one. A document that is longer is cut where a word begins, and where the rest
would be shorter than a quarter of a block, the last two blocks share what is left evenly. Nothing
is lost, but for documents with fewer than ``shortest`` pieces, which are counted. With
``across_documents`` blocks are filled to the brim instead, with a separator between documents.

**Where it lies.** In a folder named by a fingerprint of the content of the files, the tokenizer and
the settings, so that it is done once. Files only grow, and ``progress.json`` says how far they are
valid: after a kill, packing cuts them there, goes on behind the last document, and ends with the
same bytes as if it had never stopped.

Memory is that of a few thousand documents, whatever the size of the corpus.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from destilo.data.blocks import (
    FORMAT,
    MOST_CHARACTERS,
    RECORD,
    STORE,
    WORD_BIT,
    Packed,
    SideFacts,
    open_store,
)
from destilo.data.corpus import (
    HELD_OUT,
    TRAIN,
    CorpusSource,
    Division,
    Document,
    Place,
    corpus_facts,
    read_documents,
)
from destilo.data.piece_spans import piece_spans
from destilo.data.tally import Tally
from destilo.errors import DataError, InputError
from destilo.progress import Progress, Silent
from destilo.runs import digest, reported_io, write_json
from destilo.tasks.tokenization import TextTokenizer

SIDES = (TRAIN, HELD_OUT)
_PROGRESS = "progress.json"
_BATCH_CHARACTERS = 1 << 19
_BATCH_DOCUMENTS = 4096
_COMMIT_PIECES = 1 << 20
_TELL_SECONDS = 30.0

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackSettings:
    """How documents become blocks.

    Attributes:
        max_length: Pieces of a block at most, special ones included.
        across_documents: Fill blocks with several documents, a separator between them.
        shortest: Documents with fewer pieces are left out (not with ``across_documents``).
        division: What is trained on and what is held out.
    """

    max_length: int = 512
    across_documents: bool = False
    shortest: int = 1
    division: Division = field(default_factory=Division)


def pack(
    source: CorpusSource,
    tokenizer: TextTokenizer,
    *,
    root: Path,
    settings: PackSettings | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Pack a corpus, or open what was packed before; go on where packing was interrupted.

    Args:
        source: Where the text lies.
        tokenizer: Makes the pieces.
        root: The store is a folder of it, named by the fingerprint.
        settings: How documents become blocks.
        progress: Who is told how it goes: bytes of the files, with tokens per second.

    Raises:
        DataError: The text cannot be read, or gives no block to train on.
        InputError: Another process packs the same, or the place cannot be written.
    """
    settings, progress = settings or PackSettings(), progress or Silent()
    room = settings.max_length - tokenizer.single.n_special
    if room < 2:
        raise DataError(
            f"max_length: {settings.max_length} pieces leave no room for text between "
            f"{tokenizer.single.n_special} special ones. Raise it."
        )
    corpus = corpus_facts(source)
    facts = {
        "format": FORMAT,
        "corpus": corpus,
        "tokenizer": tokenizer.digest,
        "settings": asdict(settings),
    }
    if source.hub is not None and not source.hub.revision and "files" not in corpus:
        progress.note(
            f"{source.name}: nobody knows whether {source.hub} changes; what was packed once is "
            "kept. Set `revision` to a commit.",
            level="warning",
        )
    folder = root / digest(facts)
    with reported_io(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            if (folder / STORE).exists():
                progress.note(f"{source.name}: packed before, in {folder}", level="skip")
            else:
                _Packing(folder, source, tokenizer, settings, progress).run()
    return open_store(folder)


class _Packing:
    """One store in the making."""

    def __init__(
        self,
        folder: Path,
        source: CorpusSource,
        tokenizer: TextTokenizer,
        settings: PackSettings,
        progress: Progress,
    ) -> None:
        self.folder, self.source, self.tokenizer = folder, source, tokenizer
        self.settings, self.progress, self.tally = settings, progress, Tally()
        self.place, self.left_out = Place(), 0
        highest = max(tokenizer.tokenizer.get_vocab(with_added_tokens=True).values())
        self.dtype = np.dtype(np.uint16 if highest < 1 << 16 else np.uint32)
        capacity = settings.max_length - tokenizer.single.n_special
        separator = None
        if settings.across_documents:
            separator = tokenizer.sep_id if tokenizer.sep_id is not None else tokenizer.pad_id
        self.sides = {
            side: _Side(folder / side, self.dtype, capacity, settings.shortest, separator)
            for side in SIDES
        }

    def run(self) -> None:
        self._resume()
        self._tell = _Telling(self.progress, self.source, place=self.place, pieces=self._pieces())
        try:
            self._pack()
        finally:
            self.progress.end()
            for side in self.sides.values():
                side.close()

    def _pack(self) -> None:
        for batch in self._batches():
            self._add(batch)
            self.place = batch[-1].place
            if sum(side.waiting for side in self.sides.values()) >= _COMMIT_PIECES:
                self._commit()
            self._tell.step(self.place, pieces=self._pieces())
        for side in self.sides.values():
            side.finish()
        self._commit()
        for note in self.tally.notes():
            self.progress.note(f"{self.source.name}: {note}")
        self._finish()

    def _pieces(self) -> int:
        return sum(side.facts.pieces + side.waiting for side in self.sides.values())

    def _batches(self) -> Iterator[list[Document]]:
        """Documents that are tokenised together; it makes no difference to what comes out."""
        batch: list[Document] = []
        size = 0
        for document in read_documents(self.source, start=self.place, tally=self.tally):
            batch.append(document)
            size += len(document.text)
            if size >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _add(self, batch: list[Document]) -> None:
        division = self.settings.division
        placed = [(one, division.side(one.key)) for one in batch]
        self.left_out += sum(side is None and one.slice == 0 for one, side in placed)
        kept = [(one, self.sides[side]) for one, side in placed if side is not None]
        texts = [one.text for one, _ in kept]
        flat = self.tokenizer.flat(texts)
        spans = piece_spans(texts, flat.ends, flat.counts)
        unknown = flat.ids == (-1 if self.tokenizer.unk_id is None else self.tokenizer.unk_id)
        ids = flat.ids.astype(self.dtype)
        start = 0
        for (document, side), count in zip(kept, flat.counts.tolist(), strict=True):
            mine = slice(start, start + count)
            side.add(
                _Pieces(ids[mine], spans.begins_word[mine], spans.characters[mine]),
                continues=document.slice > 0,
                unknown=unknown[mine],
            )
            start += count

    def _resume(self) -> None:
        state: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            state = json.loads((self.folder / _PROGRESS).read_text(encoding="utf-8"))
        if state:
            self.place, self.left_out = Place(**state["place"]), state["left_out"]
            self.progress.note(
                f"{self.source.name}: packing goes on behind {self._documents(state)} documents"
            )
        for name, side in self.sides.items():
            side.open(state.get("sides", {}).get(name))

    @staticmethod
    def _documents(state: dict[str, Any]) -> int:
        counted = [int(side["facts"]["documents"]) for side in state["sides"].values()]
        return int(state["left_out"]) + sum(counted)

    def _commit(self) -> None:
        """Make what is packed so far survive a kill."""
        sides = {name: side.write() for name, side in self.sides.items()}
        write_json(
            self.folder / _PROGRESS,
            {
                "place": asdict(self.place),
                "left_out": self.left_out,
                "sides": sides,
            },
        )

    def _finish(self) -> None:
        facts = {name: asdict(side.facts) for name, side in self.sides.items()}
        if not facts[TRAIN]["blocks"]:
            raise DataError(
                f"data.{self.source.name}: no text to train on in "
                f"{', '.join(map(str, self.source.paths)) or self.source.hub} "
                f"({facts[TRAIN]['documents']} documents, {facts[HELD_OUT]['documents']} held out)."
            )
        before, after = self.tokenizer.single.parts
        write_json(
            self.folder / STORE,
            {
                "format": FORMAT,
                "fingerprint": self.folder.name,
                "dtype": self.dtype.name,
                "before": list(before),
                "after": list(after),
                "max_length": self.settings.max_length,
                "sides": facts,
                "left_out": self.left_out,
            },
        )
        (self.folder / _PROGRESS).unlink()


class _Telling:
    """How far packing is: in bytes of the files, or, where nobody says their size, in pieces."""

    def __init__(
        self, progress: Progress, source: CorpusSource, *, place: Place, pieces: int
    ) -> None:
        self._progress, self._name, self._total = progress, source.name, source.size_bytes
        self._bytes, self._pieces = place.bytes_read, pieces
        self._started = self._told = time.monotonic()
        if self._total:
            progress.begin(f"{source.name}: pack", self._total, done=place.bytes_read)

    def step(self, place: Place, *, pieces: int) -> None:
        now = time.monotonic()
        rate = round((pieces - self._pieces) / max(1e-9, now - self._started))
        if self._total:
            self._progress.advance(place.bytes_read - self._bytes, figures={"tokens/s": rate})
            self._bytes = place.bytes_read
        elif now - self._told > _TELL_SECONDS:
            self._told = now
            self._progress.note(f"{self._name}: {pieces:,} tokens packed, {rate:,} a second")


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Pieces in a line with what they stand for."""

    ids: NDArray[Any]
    begins_word: NDArray[np.bool_]
    characters: Ints

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> _Pieces:
        mine = slice(start, stop)
        return _Pieces(self.ids[mine], self.begins_word[mine], self.characters[mine])

    def then(self, other: _Pieces) -> _Pieces:
        pairs = zip(self._columns(), other._columns(), strict=True)
        return _Pieces(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.ids, self.begins_word, self.characters


class _Side:
    """The growing files of one side."""

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        capacity: int,
        shortest: int,
        separator: int | None,
    ) -> None:
        self.facts = SideFacts()
        self.waiting = 0
        self._path, self._dtype, self._capacity, self._shortest = path, dtype, capacity, shortest
        self._separator = separator
        self._new: list[_Pieces] = []
        self._open = self._nothing()
        self._files: dict[str, Any] = {}

    def open(self, state: dict[str, Any] | None) -> None:
        """Open the files at the length that was valid."""
        written, blocks = 0, 0
        if state:
            self.facts = SideFacts(**state["facts"])
            written, blocks = state["pieces_written"], self.facts.blocks
            rest = state["open"]
            self._open = _Pieces(
                np.array(rest["ids"], self._dtype),
                np.array(rest["begins_word"], np.bool_),
                np.array(rest["characters"], np.int64),
            )
        self._written = written
        sizes = {"pieces": written * self._dtype.itemsize, "marks": written}
        for name, size in (sizes | {"blocks": blocks * RECORD.itemsize}).items():
            path = self._path.with_name(f"{self._path.name}.{name}")
            path.touch()
            if path.stat().st_size < size:
                raise DataError(
                    f"{path} is shorter than it was. Delete {path.parent} and pack it again."
                )
            self._files[name] = path.open("r+b")
            self._files[name].truncate(size)
            self._files[name].seek(size)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def add(self, pieces: _Pieces, *, continues: bool, unknown: NDArray[np.bool_]) -> None:
        """Take a document, or a further slice of one."""
        facts = self.facts
        self.facts = replace(facts, documents=facts.documents + (not continues))
        if self._separator is None and len(pieces) < self._shortest:
            self.facts = replace(self.facts, too_short=facts.too_short + 1)
            return
        self._count(pieces, unknown)
        if self._separator is None:
            start = 0
            for stop in cuts(pieces.begins_word, capacity=self._capacity):
                self._keep(pieces.part(start, stop))
                start = stop
        elif len(pieces):
            self._append(pieces, separated=not continues)

    def _count(self, pieces: _Pieces, unknown: NDArray[np.bool_]) -> None:
        facts = self.facts
        n_unknown = int(np.count_nonzero(unknown))
        lost = int(pieces.characters[unknown].sum()) if n_unknown else 0
        self.facts = replace(
            facts,
            characters=facts.characters + int(pieces.characters.sum()),
            unknown_pieces=facts.unknown_pieces + n_unknown,
            unknown_characters=facts.unknown_characters + lost,
        )

    def _append(self, pieces: _Pieces, *, separated: bool) -> None:
        if separated and len(self._open):
            mark = np.array([self._separator], self._dtype)
            self._open = self._open.then(_Pieces(mark, np.array([True]), np.array([0])))
        line, start = self._open.then(pieces), 0
        words = np.flatnonzero(line.begins_word)
        while len(line) - start > self._capacity:
            stop = _cut(words, start, self._capacity)
            self._keep(line.part(start, stop))
            start = stop
        self._open = line.part(start, len(line))

    def finish(self) -> None:
        """Make a block of what is left."""
        if len(self._open):
            self._keep(self._open)
            self._open = self._nothing()

    def _keep(self, block: _Pieces) -> None:
        if self._separator is not None:  # it separates nothing at the ends of a block
            inside = np.flatnonzero((block.ids != self._separator) | (block.characters > 0))
            block = block.part(inside[0], inside[-1] + 1) if len(inside) else self._nothing()
        if not len(block):
            return
        self._new.append(block)
        self.waiting += len(block)

    def _nothing(self) -> _Pieces:
        return _Pieces(np.zeros(0, self._dtype), np.zeros(0, np.bool_), np.zeros(0, np.int64))

    def write(self) -> dict[str, Any]:
        """Put the new blocks behind the old ones, on the disk itself.

        Returns:
            What ``open`` needs to go on from here.
        """
        if self._new:
            self._write_blocks()
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {
            "facts": asdict(self.facts),
            "pieces_written": self._written,
            "open": {
                "ids": self._open.ids.tolist(),
                "begins_word": self._open.begins_word.astype(int).tolist(),
                "characters": self._open.characters.tolist(),
            },
        }

    def _write_blocks(self) -> None:
        lengths = np.array([len(block) for block in self._new], dtype=np.int64)
        ends = np.cumsum(lengths)
        characters = np.concatenate([block.characters for block in self._new])
        records = np.zeros(len(lengths), RECORD)
        records["start"] = self._written + ends - lengths
        records["length"] = lengths
        records["characters"] = np.add.reduceat(characters, ends - lengths)
        marks = np.minimum(characters, MOST_CHARACTERS).astype(np.uint8)
        marks[np.concatenate([block.begins_word for block in self._new])] |= WORD_BIT
        self._files["pieces"].write(np.concatenate([block.ids for block in self._new]).tobytes())
        self._files["marks"].write(marks.tobytes())
        self._files["blocks"].write(records.tobytes())
        self._written += int(ends[-1])
        n_blocks = self.facts.blocks + len(lengths)
        self.facts = replace(self.facts, blocks=n_blocks, pieces=self._written)
        self._new, self.waiting = [], 0


def cuts(begins_word: NDArray[np.bool_], *, capacity: int) -> list[int]:
    """Where the blocks of one document end.

    Args:
        begins_word: [pieces], whether a word begins there.
        capacity: Pieces of a block at most.

    Returns:
        The end of each block; the last one is the end of the document. Empty for no pieces.
    """
    length, start = len(begins_word), 0
    ends: list[int] = []
    words = np.flatnonzero(begins_word) if length > capacity else np.zeros(0, dtype=np.int64)
    while (left := length - start) > capacity:
        short_rest = left < capacity + capacity // 4
        start = _cut(words, start, -(-left // 2) if short_rest else capacity)
        ends.append(start)
    return [*ends, length] if length else ends


def _cut(words: Ints, start: int, room: int) -> int:
    """The last place to cut that leaves words whole; in a word that is itself half a block long,
    any place.
    """
    place = int(np.searchsorted(words, start + room, side="right")) - 1
    stop = int(words[place]) if place >= 0 else start
    return stop if stop > start + room // 2 else start + room


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder} is being packed by another destilo process. Wait for it."
            ) from error
        yield
