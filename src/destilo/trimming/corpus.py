"""Texts of any size, line by line: plain, .gz and .xz, and JSON lines; no file is held in memory.

Only lines with something in them are yielded. A line that is longer than any sentence (a book
without line ends) is cut before a space.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from destilo.data.streams import StreamedLines
from destilo.errors import DataError, InputError
from destilo.progress import Progress, Silent

LONGEST = 1 << 16
"""Characters of the longest line."""

_BYTES_PER_UNIT = 1 << 20  # of a progress bar
_LINE_ENDS = re.compile(r"[\r\n]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED = re.compile(r"([\w-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts of one language (or of one kind), reported under one name.

    Attributes:
        name: What the report calls it.
        files: Read in this order.
        column: Where the text is in JSON lines.
    """

    name: str
    files: tuple[Path, ...]
    column: str = "text"


def parse_corpora(
    places: Iterable[str], *, column: str = "text", option: str = "--corpus"
) -> tuple[Corpus, ...]:
    """Read ``PATH`` or ``NAME=PATH``; places of one name are one corpus, paths may be patterns.

    Args:
        places: A file or a pattern each; without a name, the file's own is taken.
        column: Where the text is in JSON lines.
        option: What messages call the places.

    Raises:
        InputError: If a place names no file.
    """
    found: dict[str, list[Path]] = {}
    for place in places:
        match = _NAMED.fullmatch(place)
        name, pattern = (match[1], match[2]) if match and not Path(place).exists() else ("", place)
        path = Path(pattern).expanduser()
        files = [path] if path.exists() else [Path(one) for one in sorted(glob.glob(str(path)))]  # noqa: PTH207  (patterns may be absolute)
        for file in files:
            if file.is_dir():
                raise InputError(f"{option}: {file} is a folder; name files, or '{file}/*.txt'.")
        if not files:
            raise InputError(f"{option}: no such file: {path}.{_neighbour(path)}")
        found.setdefault(name or files[0].name.split(".")[0], []).extend(files)
    return tuple(Corpus(name, tuple(files), column) for name, files in found.items())


def _neighbour(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The folder {path.parent} is not there either."
    names = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    close = get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def size_units(corpora: Iterable[Corpus]) -> int:
    """How far ``read_lines`` moves a progress bar over all these corpora."""
    return sum(_units(path.stat().st_size) for corpus in corpora for path in corpus.files)


def _units(n_bytes: int) -> int:
    return -(-n_bytes // _BYTES_PER_UNIT)


def read_lines(corpus: Corpus, *, progress: Progress | None = None) -> Iterator[str]:
    """Yield the lines of a corpus that hold text.

    Args:
        corpus: Its files are opened one after the other.
        progress: Has begun a bar; it moves by megabytes on disk.

    Raises:
        DataError: If a file is missing, damaged, not UTF-8, or JSON without the column.
    """
    watcher = progress or Silent()
    for path in corpus.files:
        stream, moved = StreamedLines(path), 0
        for text in _texts(stream, corpus.column):
            now = _units(stream.bytes_read)
            if now > moved:
                watcher.advance(now - moved)
                moved = now
            for line in _LINE_ENDS.split(text):
                if line and not line.isspace():
                    yield from _cut(line)


def _texts(stream: StreamedLines, column: str) -> Iterator[str]:
    is_json = any(suffix in (".jsonl", ".ndjson") for suffix in stream.path.suffixes)
    for number, line in stream:
        if is_json and line.strip():
            yield _json_text(line, column, f"{stream.path}:{number}")
        elif not is_json:
            yield line


def _json_text(line: str, column: str, place: str) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place}: not a JSON object on one line: {error}.") from error
    text = row.get(column) if isinstance(row, dict) else None
    if not isinstance(text, str):
        there = ", ".join(row) if isinstance(row, dict) else f"a {type(row).__name__}"
        raise DataError(
            f"{place}: no text under '{column}'; there is: {there}. Name the right column with "
            "--column."
        )
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _cut(line: str) -> Iterator[str]:
    """Cut a line of more than ``LONGEST`` characters before spaces."""
    while len(line) > LONGEST:
        place = line.rfind(" ", 1, LONGEST)
        place = LONGEST if place < 0 else place
        yield line[:place]
        line = line[place:]
    yield line
