"""Lines of a file of any size, plain or compressed, in the memory of a few of its lines.

The lines, their numbers and the errors are those of ``files.read_text`` and ``numbered_lines``;
only that an error comes when its line is reached.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from destilo.data.files import damaged_archive, not_utf8, without_mark
from destilo.errors import DataError

LONGEST_LINE_BYTES = 1 << 28
"""A line has to fit in memory; one that is longer is hardly a line."""

_CHUNK_BYTES = 1 << 18


class StreamedLines:
    """The numbered lines of one file; each iteration reads it anew.

    Args:
        path: UTF-8 text, plain, gz or xz (told by content, not by name).
        chunk_bytes: Unpacked bytes that are read at once.
    """

    def __init__(self, path: Path, *, chunk_bytes: int = _CHUNK_BYTES) -> None:
        self.path = path
        self.bytes_read = 0
        """How far the file itself has been read: unlike lines, its size is known beforehand."""
        self._chunk_bytes = chunk_bytes

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield (line number from 1, line without its end).

        Raises:
            DataError: The file cannot be read, is cut short, is not UTF-8, or has a line that is
                too long (with file:line).
        """
        number = 1
        for data in self._whole_lines():
            lines = self._decode(data, number)
            if not data.endswith((b"\n", b"\r")):  # the last line of the file, without an end
                lines.append("")
            for line in lines[:-1]:
                yield number, line
                number += 1

    def _decode(self, data: bytes, first_line: int) -> list[str]:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            before = data[: error.start]
            ends = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")
            raise not_utf8(self.path, first_line + ends, data[error.start]) from error
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text.split("\n")

    def _whole_lines(self) -> Iterator[bytes]:
        """Yield the bytes of the file, cut at line ends only."""
        rest: list[bytes] = []
        lines, size = 0, 0
        for chunk in self._chunks():
            cut = 1 + max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
            if cut:
                data = b"".join((*rest, chunk[:cut]))
                lines += data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
                rest, size = [], 0
                yield data
            if cut < len(chunk):
                rest.append(chunk[cut:])
                size += len(rest[-1])
            if size > LONGEST_LINE_BYTES:
                raise DataError(
                    f"{self.path}:{lines + 1}: this line has more than "
                    f"{LONGEST_LINE_BYTES >> 20} MB. Put line ends into the file; a line is "
                    "what has to fit in memory."
                )
        if rest:
            yield b"".join(rest)

    def _chunks(self) -> Iterator[bytes]:
        """Yield unpacked bytes; a CR is never the last of a chunk, lest a CRLF be cut in two."""
        held, first = b"", True
        for chunk in self._unpacked():
            data = held + chunk
            if first and len(data) < 3:  # too few to tell a byte order mark
                held = data
                continue
            if first:
                data, first = without_mark(data, self.path), False
            held = b"\r" if data.endswith(b"\r") else b""
            if len(data) > len(held):
                yield data[: len(data) - len(held)]
        if held:
            yield without_mark(held, self.path) if first else held

    def _unpacked(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                start = file.read(6)
                file.seek(0)
                unpacked: BinaryIO = file
                if start.startswith(b"\x1f\x8b"):
                    unpacked = cast("BinaryIO", gzip.GzipFile(fileobj=file))
                elif start == b"\xfd7zXZ\x00":
                    unpacked = cast("BinaryIO", lzma.LZMAFile(file))  # noqa: SIM115 (holds `file` only)
                while chunk := unpacked.read(self._chunk_bytes):
                    self.bytes_read = file.tell()
                    yield chunk
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise damaged_archive(self.path, error) from error
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror or error}.") from error
