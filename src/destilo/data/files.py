"""Bytes on disk to text and lines, without ever changing a text.

A reader that "cleans" shifts character offsets and hides faults, so the rules are few: UTF-8, with
or without a byte order mark; lines end at LF, CRLF or CR and nowhere else (``str.splitlines`` also
cuts at U+2028, U+0085, form feeds ..., which stand inside real texts); everything else is kept.
"""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from destilo.errors import DataError

_LINE_END = re.compile(r"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_PACKED: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}


def check_files(split: str, paths: Sequence[Path] | None) -> tuple[Path, ...]:
    """Make sure that a source names files and that they are there.

    Raises:
        DataError: No path was given, or one is missing or a folder.
    """
    if not paths:
        raise DataError(f"data.{split}: this format needs a `path`, and none is given.")
    for path in paths:
        if path.is_dir():
            raise DataError(f"data.{split}: {path} is a folder; name the file (or files) in it.")
        if not path.exists():
            raise DataError(f"data.{split}: no such file: {path}.{_neighbour(path)}")
    return tuple(paths)


def _neighbour(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" The folder {folder} is not there either."
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    close = get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def read_text(path: Path) -> str:
    """Read a text file, plain or compressed (gz, xz; told by content, not by name).

    Raises:
        DataError: The file cannot be read, is cut short, or is not UTF-8 (with file:line).
    """
    try:
        data = path.read_bytes()
        for magic, unpack in _PACKED.items():
            if data.startswith(magic):
                data = unpack(data)
                break
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise damaged_archive(path, error) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return _decode(data, path)


def _decode(data: bytes, path: Path) -> str:
    data = without_mark(data, path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line = len(_LINE_END.findall(before)) + 1
        raise not_utf8(path, line, data[error.start]) from error


def without_mark(start: bytes, path: Path) -> bytes:
    """Take the byte order mark off the first bytes of a file.

    Raises:
        DataError: The mark is that of UTF-16.
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{path}:1: the file is UTF-16, not UTF-8. Convert it with "
            f"`iconv -f UTF-16 -t UTF-8 {path.name}`."
        )
    return start.removeprefix(_BOM)


def not_utf8(path: Path, line: int, byte: int) -> DataError:
    """The error for a byte that stands where UTF-8 has no such byte."""
    return DataError(
        f"{path}:{line}: byte 0x{byte:02x} is not UTF-8. Convert the file first; "
        f"if it came from Windows: `iconv -f WINDOWS-1252 -t UTF-8 {path.name}`."
    )


def damaged_archive(path: Path, error: Exception) -> DataError:
    """The error for a compressed file that cannot be unpacked to its end."""
    return DataError(
        f"{path}: the compressed file is damaged or cut short ({error}); fetch it again."
    )


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end); only LF, CRLF and CR end a line."""
    position = 0
    number = 0
    for number, end in enumerate(_LINE_END.finditer(text), start=1):
        yield number, text[position : end.start()]
        position = end.end()
    if position < len(text):
        yield number + 1, text[position:]
