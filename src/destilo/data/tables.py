"""JSON lines and Parquet to records: one mapping of column to value per row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from destilo.data.streams import StreamedLines
from destilo.errors import DataError

INSTALL = 'pip install "destilo[data]"'
_BATCH_ROWS = 1024

ClassNames: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table as it stands in the file.

    Attributes:
        where: File and line (or row number).
        values: Value by column name; columns of a file without header are ``"0"``, ``"1"``, ...
    """

    where: str
    values: Mapping[str, Any]


def parse_json(text: str, path: Path, *, first_line: int = 1) -> Any:
    """Parse JSON; control characters inside strings are kept, for the sake of offsets.

    Args:
        text: The JSON text.
        path: The file, for messages.
        first_line: The line of the file on which ``text`` starts.

    Raises:
        DataError: The text is no JSON, with file:line:column.
    """
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            # A raw tab or form feed inside a string harms nobody, a raw line end is a lost quote.
            if "control character" not in error.msg or text[error.pos] in "\r\n":
                raise
            return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or "Unterminated string" in error.msg
        hint = " The file seems to be cut short." if cut else ""
        raise DataError(
            f"{path}:{first_line + error.lineno - 1}:{error.colno}: not valid JSON: "
            f"{error.msg}.{hint}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{first_line}: JSON that cannot be read: {error}.") from error


def jsonl_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file with one JSON object a line; blank lines are skipped.

    Raises:
        DataError: A line is no JSON object (with file:line:column).
    """
    for number, line in StreamedLines(path):
        if not line.strip():
            continue
        value = parse_json(line, path, first_line=number)
        if not isinstance(value, dict):
            hint = " JSON lines need one object a line, not one array." if number == 1 else ""
            raise DataError(f"{path}:{number}: a JSON object is expected, not {kind(value)}.{hint}")
        yield Record(f"{path}:{number}", value)


def kind(value: object) -> str:
    """Name a JSON value's type in words, with the value where it is short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if value is None:
        return "null"
    return f"{json.dumps(value, default=repr)}"


def parquet_records(path: Path) -> Iterator[Record]:
    """Yield the records of a Parquet file; class numbers become class names.

    Raises:
        DataError: ``pyarrow`` is missing, or the file is not Parquet.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: {INSTALL}") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = _class_names(file.schema_arrow.metadata or {})
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(f"{path}:row {number}", named_classes(values, names))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def _class_names(metadata: Mapping[bytes, bytes]) -> ClassNames:
    """Return the class names by column that ``datasets`` writes into a file's metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    names: dict[str, Sequence[str]] = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            names[column] = inner["names"]
    return names


def named_classes(values: Mapping[str, Any], names: ClassNames) -> Mapping[str, Any]:
    """Replace class numbers by names; -1, the hub's mark for "no label", becomes ``None``."""
    if not names:
        return values
    named = dict(values)
    for column, classes in names.items():
        value = named.get(column)
        if isinstance(value, list):
            named[column] = [_class_name(item, classes) for item in value]
        else:
            named[column] = _class_name(value, classes)
    return named


def _class_name(value: Any, classes: Sequence[str]) -> Any:
    if not isinstance(value, int):
        return value
    return classes[value] if 0 <= value < len(classes) else None
