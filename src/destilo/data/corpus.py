"""Raw text to documents, one at a time, whatever the size of the corpus.

A document is what may not stand on two sides of a division. Very long ones come in *slices* (cut
at a line end or a space), since a document has to fit in memory and a slice is enough of it. All
slices of one document carry the same key, a hash of how it begins, so they stay on one side; so
does every other copy of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from destilo.data.files import check_files
from destilo.data.hub import HubSource, hub_records
from destilo.data.streams import StreamedLines
from destilo.data.tables import INSTALL, kind, parse_json
from destilo.data.tally import Tally
from destilo.errors import DataError, suggest
from destilo.runs import file_digest

FORMATS = ("text", "jsonl", "parquet", "hub")
DOCUMENTS = ("blocks", "lines")
SLICE_CHARACTERS = 1 << 18
"""Characters from which on a document is cut in slices."""

TRAIN, HELD_OUT = "train", "held_out"
_KEY_BYTES = 16
_ROWS = 256


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """Where raw text lies.

    Attributes:
        name: Of the recipe's section, for messages.
        format: ``text``, ``jsonl``, ``parquet`` or ``hub``.
        paths: The files, read in turn; text and JSONL also as gz or xz.
        documents: Text only: ``blocks`` (a blank line ends a document) or ``lines`` (each line is
            one).
        column: The text's column in ``jsonl``, ``parquet`` and ``hub``.
        hub: The data set, for ``hub``.
        limit: Read only so many documents, the first.
    """

    name: str
    format: str
    paths: tuple[Path, ...] = ()
    documents: str = "blocks"
    column: str = "text"
    hub: HubSource | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise DataError(f"data.{self.name}: " + suggest(self.format, FORMATS, kind="format"))
        if self.documents not in DOCUMENTS:
            said = suggest(self.documents, DOCUMENTS, kind="way to tell documents apart")
            raise DataError(f"data.{self.name}.documents: {said}")
        if self.format != "hub":
            check_files(self.name, self.paths)
        elif self.hub is None:
            raise DataError(f"data.{self.name}: format 'hub' needs `name: owner/dataset`.")

    @property
    def size_bytes(self) -> int:
        """Of the files as they lie on disk; 0 for ``hub``, whose size nobody says."""
        return sum(path.stat().st_size for path in self.paths)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a corpus has been read; reading goes on from here.

    Attributes:
        file: Number of the file, from 0.
        slices: Of this file that have been read.
        documents: In the files before it.
        bytes_read: Of all files, packed as they are.
    """

    file: int = 0
    slices: int = 0
    documents: int = 0
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or a slice of a long one.

    Attributes:
        text: Never blank.
        where: File and line (or row).
        slice: Number of the slice, from 0.
        key: The same for every slice and every copy of a document, also where only case and white
            space differ; nothing else of it matters for which side it stands on.
        place: Behind this document.
    """

    text: str
    where: str
    slice: int
    key: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Division:
    """Which documents are trained on, which are held out, which are left out.

    It depends on a document's text and the seed alone: not on its place, on what stands beside it
    or on the number of files. Those that are held out stay the same whatever ``kept`` is.

    Attributes:
        held_out: Share of the documents that is kept for measuring.
        kept: Share of the others that is trained on (half of the data, say); a smaller share is
            part of a larger one.
        seed: Another one gives another division.
    """

    held_out: float = 0.0
    kept: float = 1.0
    seed: int = 13

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise DataError(f"The share held out is {self.held_out}; it must be in [0, 1).")
        if not 0 < self.kept <= 1:
            raise DataError(f"The share kept for training is {self.kept}; it must be in (0, 1].")

    def side(self, key: bytes) -> str | None:
        """The side of a document by its key: ``train``, ``held_out``, or ``None``: left out."""
        first, second = _two_uniforms(key, self.seed)
        if first < self.held_out:
            return HELD_OUT
        return TRAIN if second < self.kept else None


def _two_uniforms(key: bytes, seed: int) -> tuple[float, float]:
    hashed = hashlib.blake2b(key, digest_size=16, key=str(seed).encode()).digest()
    first, second = int.from_bytes(hashed[:8], "little"), int.from_bytes(hashed[8:], "little")
    return (first >> 11) * 2.0**-53, (second >> 11) * 2.0**-53


def document_key(text: str) -> bytes:
    """A hash of a text in which case and white space do not count."""
    folded = " ".join(text.casefold().split())
    return hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


def corpus_facts(source: CorpusSource) -> dict[str, Any]:
    """What decides which documents a source gives, JSON-ready, for a fingerprint.

    Files count by content. A data set of the hub counts by name and revision: without a revision
    nobody knows whether it is still the same.
    """
    facts: dict[str, Any] = {"format": source.format, "limit": source.limit}
    if source.format == "text":
        facts["documents"] = source.documents
    else:
        facts["column"] = source.column
    if source.hub is None:
        return facts | {"files": [file_digest(path) for path in source.paths]}
    facts |= {"hub": str(source.hub), "revision": source.hub.revision}
    folder = Path(source.hub.name)
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        facts["files"] = [file_digest(path) for path in files]
        facts["hub"] = f"{source.hub.config}[{source.hub.split}]"
    return facts


@dataclass(frozen=True, slots=True)
class _Slice:
    """A slice as a reader gives it, with how far that has read its file."""

    text: str
    where: str
    number: int
    bytes_read: int


def read_documents(
    source: CorpusSource, *, start: Place | None = None, tally: Tally | None = None
) -> Iterator[Document]:
    """Yield the documents of a corpus, in the order of its files.

    Memory does not grow with the corpus; it is that of a slice, or of the longest line or row.

    Args:
        source: Where they lie.
        start: The ``place`` of the last document that is not wanted again.
        tally: Counts what is left out (blank documents).

    Raises:
        DataError: The text cannot be read or is not what the format promises (with file:line).
    """
    start, tally = start or Place(), tally or Tally()
    readers = _readers(source, tally)
    documents, bytes_before = start.documents, _bytes_before(source, start.file)
    for file in range(start.file, len(readers)):
        documents_before, key = documents, b""
        for slices, one in enumerate(readers[file](), start=1):
            if one.number == 0:
                if source.limit is not None and documents >= source.limit:
                    return
                documents += 1
                key = document_key(one.text)
            if file > start.file or slices > start.slices:
                place = Place(file, slices, documents_before, bytes_before + one.bytes_read)
                yield Document(one.text, one.where, one.number, key, place)
        bytes_before = _bytes_before(source, file + 1)


def _bytes_before(source: CorpusSource, file: int) -> int:
    return sum(path.stat().st_size for path in source.paths[:file])


def _readers(source: CorpusSource, tally: Tally) -> list[Callable[[], Iterator[_Slice]]]:
    """One reader a file."""
    if source.hub is not None:
        return [partial(_hub, source, source.hub, tally)]
    if source.format == "parquet":
        return [partial(_parquet, path, source, tally) for path in source.paths]
    if source.format == "jsonl":
        return [partial(_jsonl, path, source, tally) for path in source.paths]
    read = _text_blocks if source.documents == "blocks" else _text_lines
    return [partial(read, path) for path in source.paths]


def _text_lines(path: Path) -> Iterator[_Slice]:
    lines = StreamedLines(path)
    for number, line in lines:
        if line.strip():
            yield from _sliced(line, f"{path}:{number}", lines.bytes_read)


def _text_blocks(path: Path) -> Iterator[_Slice]:
    lines = StreamedLines(path)
    block: list[str] = []
    where, size, slices = "", 0, count()
    for number, line in lines:
        blank = not line.strip()
        if block and (blank or size + len(line) >= SLICE_CHARACTERS):
            for text in _cut("\n".join(block)):
                yield _Slice(text, where, next(slices), lines.bytes_read)
            block, size = [], 0
        if blank:
            slices = count()
            continue
        if not block:
            where = f"{path}:{number}"
        block.append(line)
        size += len(line) + 1
    for text in _cut("\n".join(block)):
        yield _Slice(text, where, next(slices), lines.bytes_read)


def _sliced(text: str, where: str, bytes_read: int) -> Iterator[_Slice]:
    for number, part in enumerate(_cut(text)):
        yield _Slice(part, where, number, bytes_read)


def _cut(text: str) -> Iterator[str]:
    """Cut a long text evenly, at line ends, else at spaces, else anywhere; drop blank slices."""
    start = 0
    while start < len(text):
        left = len(text) - start
        stop = start + math.ceil(left / math.ceil(left / SLICE_CHARACTERS))
        if stop < len(text):
            end = text.rfind("\n", start, stop)
            end = end if end > start else text.rfind(" ", start, stop)
            stop = end + 1 if end > start else stop
        part = text[start:stop]
        if part.strip():
            yield part
        start = stop


def _row(
    values: Any, source: CorpusSource, where: str, tally: Tally, done: int
) -> Iterator[_Slice]:
    if source.column not in values:
        said = suggest(source.column, map(str, values), kind="column")
        raise DataError(f"{where}: {said} Set `columns: {{text: ...}}`.")
    text = values[source.column]
    if text is None or (isinstance(text, str) and not text.strip()):
        tally.add("Documents without text left out", where)
    elif isinstance(text, str):
        yield from _sliced(text, where, done)
    else:
        raise DataError(f"{where}: '{source.column}' must be text, not {kind(text)}.")


def _jsonl(path: Path, source: CorpusSource, tally: Tally) -> Iterator[_Slice]:
    lines = StreamedLines(path)
    for number, line in lines:
        if not line.strip():
            continue
        value = parse_json(line, path, first_line=number)
        if not isinstance(value, dict):
            raise DataError(f"{path}:{number}: a JSON object is expected, not {kind(value)}.")
        yield from _row(value, source, f"{path}:{number}", tally, lines.bytes_read)


def _parquet(path: Path, source: CorpusSource, tally: Tally) -> Iterator[_Slice]:
    """Read one column, a few rows at a time."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: {INSTALL}") from error
    size, number = path.stat().st_size, 0
    try:
        with parquet.ParquetFile(path, buffer_size=_ROWS << 10) as file:
            names, rows = file.schema_arrow.names, max(1, file.metadata.num_rows)
            columns = [source.column] if source.column in names else names
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    done = size * number // rows
                    yield from _row(values, source, f"{path}:row {number}", tally, done)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def _hub(source: CorpusSource, hub: HubSource, tally: Tally) -> Iterator[_Slice]:
    for record in hub_records(hub, streaming=True):
        yield from _row(record.values, source, record.where, tally, 0)
