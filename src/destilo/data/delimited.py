"""CSV and TSV to records, saying where a quote was opened that nobody closed.

Python's ``csv`` swallows the rest of a file after an unclosed quote without a word; this reader
keeps the place of every field. CSV follows RFC 4180 (quoted fields may hold separators, line ends
and doubled quotes); blanks around a quoted field are no part of it. TSV has no quoting: a quote
is a character like any other, as in most corpora.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from destilo.data.files import numbered_lines, read_text
from destilo.data.tables import Record
from destilo.data.tally import Tally
from destilo.errors import DataError

_QUOTED = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"')
_LINE_END = re.compile(r"\r\n|\n|\r")
_SPREADSHEET = ";"

Line = tuple[int, list[str]]


def csv_records(path: Path, *, header: bool, tally: Tally) -> Iterator[Record]:
    """Yield the records of a CSV file.

    Args:
        path: The file.
        header: Whether the first line names the columns; without it they are numbered.
        tally: Gets a note when the separator is a semicolon, as spreadsheets write it.

    Raises:
        DataError: An unclosed or misplaced quote, or a row with too many or too few fields.
    """
    text = read_text(path)
    first = next((line for _, line in numbered_lines(text) if line.strip()), "")
    bare = _QUOTED.sub("", first)
    separator = "," if "," in bare or _SPREADSHEET not in bare else _SPREADSHEET
    if separator == _SPREADSHEET:
        tally.say(f"{path}: fields are separated by ';'.")
    yield from _records(path, _csv_lines(text, separator, path), header=header)


def tsv_records(path: Path, *, header: bool, tally: Tally) -> Iterator[Record]:
    """Yield the records of a TSV file; quotes are ordinary characters.

    Args:
        path: The file.
        header: Whether the first line names the columns; without it they are numbered.
        tally: Gets the fields that look quoted.

    Raises:
        DataError: A row has too many or too few fields.
    """
    lines = ((number, line.split("\t")) for number, line in numbered_lines(read_text(path)) if line)
    for record in _records(path, lines, header=header):
        if any(_QUOTED.fullmatch(value) for value in record.values.values()):
            tally.add(
                "TSV fields between double quotes, which are kept as part of the text",
                record.where,
            )
        yield record


def _records(path: Path, lines: Iterator[Line], *, header: bool) -> Iterator[Record]:
    names: list[str] | None = None
    origin = "the first row"
    for number, fields in lines:
        where = f"{path}:{number}"
        if names is None:
            names = _header(fields, where) if header else [str(i) for i in range(len(fields))]
            if header:
                origin = "the header"
                continue
        if len(fields) != len(names):
            raise DataError(
                f"{where}: {len(fields)} fields where {origin} has {len(names)}. A text that "
                f"holds the separator must stand between quotes (CSV) or lose it (TSV)."
            )
        yield Record(where, dict(zip(names, fields, strict=True)))


def _header(fields: Sequence[str], where: str) -> list[str]:
    names = [field.strip() for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{where}: the header names a column twice: {', '.join(map(repr, twice))}.")
    return names


def _csv_lines(text: str, separator: str, path: Path) -> Iterator[Line]:
    """Yield (line number of the row's start, fields); empty lines are no rows."""
    plain = re.compile(rf"[^{re.escape(separator)}\r\n]*")
    # As people write it after a comma. Only a field that is quoted whole: others keep their quotes.
    spaced = re.compile(rf"[ \t]+{_QUOTED.pattern}(?=[ \t]*(?:[{re.escape(separator)}\r\n]|\Z))")
    position, line = 0, 1
    fields: list[str] = []
    row_line = line
    while position < len(text):
        match = spaced.match(text, position)
        if match is not None or text[position] == '"':
            match = match or _QUOTED.match(text, position)
            if match is None:
                raise DataError(
                    f"{path}:{line}: a quote is opened in field {len(fields) + 1} and never "
                    f'closed. Close it, or double every quote inside the text (`""`).'
                )
            fields.append(match[1].replace('""', '"'))
            opened, line = line, line + len(_LINE_END.findall(match[1]))
            position = match.end()
            while text.startswith((" ", "\t"), position):
                position += 1
            if position < len(text) and text[position] not in (separator, "\r", "\n"):
                raise DataError(
                    f"{path}:{opened}: the quote opened in field {len(fields)} is followed by "
                    f"text after the closing one (line {line}): a quote is missing, or one inside "
                    f'the text is not doubled (`""`).'
                )
        else:
            match = plain.match(text, position)
            assert match is not None
            fields.append(match[0])
            position = match.end()
        if position < len(text) and text[position] == separator:
            position += 1
            if position < len(text):
                continue
            fields.append("")  # a separator at the very end opens one more, empty field
        end = _LINE_END.match(text, position)
        position, line = (end.end(), line + 1) if end else (len(text), line)
        if fields != [""]:
            yield row_line, fields
        fields, row_line = [], line
