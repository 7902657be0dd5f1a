"""Formats to canonical rows: one function, one table of what goes with what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from destilo.data.answers import AnswerPlacer
from destilo.data.canonical import (
    CANONICAL,
    CLASSIFICATION,
    QA,
    TAGGING,
    Columns,
    note_unlabelled,
    question_rows,
    tagged_sentences,
    text_rows,
)
from destilo.data.conll import conll_sentences, conllu_sentences
from destilo.data.delimited import csv_records, tsv_records
from destilo.data.files import check_files, numbered_lines, read_text
from destilo.data.hub import HubSource, hub_records
from destilo.data.squad import squad_rows
from destilo.data.tables import Record, jsonl_records, parquet_records
from destilo.data.tags import TaggedSentence, check_scheme, harmonise
from destilo.data.tally import Tally
from destilo.errors import DataError, suggest
from destilo.rows import QuestionRow, Row, Split, TaggingRow, TextRow

FORMATS: Mapping[str, tuple[str, ...]] = {
    "squad": (QA,),
    "conll": (TAGGING,),
    "conllu": (TAGGING,),
    "jsonl": (CLASSIFICATION, TAGGING, QA),
    "csv": (CLASSIFICATION, QA),
    "tsv": (CLASSIFICATION, QA),
    "parquet": (CLASSIFICATION, TAGGING, QA),
    "text": (CLASSIFICATION, TAGGING),
    "hub": (CLASSIFICATION, TAGGING, QA),
    "synthetic": (QA,),
}
"""The tasks that each format can hold."""

_WHY_NOT: Mapping[str, str] = {
    "squad": "SQuAD JSON holds questions on contexts",
    "conll": "CoNLL columns hold words and their tags",
    "conllu": "CoNLL-U holds words and their tags",
    "csv": "a CSV field cannot hold a list of words (use conll, jsonl or parquet)",
    "tsv": "a TSV field cannot hold a list of words (use conll, jsonl or parquet)",
    "text": "plain lines hold no questions (use squad, jsonl, csv or parquet)",
    "synthetic": "the embedded data are questions on contexts",
}
_HEADERLESS = ("csv", "tsv")
_NO_COLUMNS = ("squad", "text", "synthetic")

# A word is letters, digits and the marks that attach to them (accents written apart, zero-width
# characters); a number keeps its separators; any other visible character is a word of its own.
_WORDS = re.compile(
    r"\d+(?:[.,:]\d+)+"
    r"|(?:\w|[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200d\u2060\ufe20-\ufe2f\ufeff\u00ad])+"
    r"|[^\w\s]"
)


def split_words(text: str) -> tuple[str, ...]:
    """Split running text into words to tag; punctuation marks are words of their own."""
    return tuple(_WORDS.findall(text))


@dataclass(frozen=True, slots=True)
class _Source:
    """What ``read_split`` was asked for, with the tally of its notes."""

    name: str
    task: str
    format: str
    paths: tuple[Path, ...]
    columns: Mapping[str, str | int]
    scheme: str
    limit: int | None
    hub: HubSource | None
    synthetic: Mapping[str, object] | None
    tally: Tally


def read_split(
    name: str,
    *,
    task: str,
    format: str,  # noqa: A002 - the recipe's own word for it
    path: Sequence[Path] | None = None,
    columns: Mapping[str, str | int] | None = None,
    scheme: str = "auto",
    limit: int | None = None,
    hub: HubSource | None = None,
    synthetic: Mapping[str, object] | None = None,
) -> Split:
    """Read one split into canonical rows.

    Args:
        name: The split's name, for messages: ``train``, ``validation``, ``test`` ...
        task: The task's name, which decides the kind of rows.
        format: A key of ``FORMATS``.
        path: The files, read in turn; gz and xz are unpacked. Not for ``hub``, ``synthetic``.
        columns: Canonical column name to the file's own (see ``canonical``); for ``conll`` and
            for CSV or TSV without a header to its number.
        scheme: Tagging only: ``auto``, ``iob1``, ``iob2``, ``iobes`` or ``raw``.
        limit: Keep the first rows only.
        hub: The data set, for ``hub``.
        synthetic: ``split``, ``seed`` and ``size``, for ``synthetic``.

    Returns:
        The rows, with a note for each kind of thing that was repaired or left out.

    Raises:
        DataError: The data cannot be read or are not what the format promises.
    """
    _check_choice(name, task, format)
    columns = columns or {}
    _check_columns(format, columns)
    check_scheme(scheme)
    paths = () if format in ("hub", "synthetic") else check_files(name, path)
    source = _Source(
        name, task, format, paths, columns, scheme, limit, hub, synthetic, tally := Tally()
    )
    found_scheme: str | None = None
    rows: Sequence[Row]
    if task == TAGGING:
        rows, found_scheme = _read_tagging(source)
    elif task == QA:
        rows = _read_questions(source)
    else:
        rows = tuple(islice(_texts(source), limit))
    if not rows:
        what = ", ".join(map(str, paths)) or str(hub or format)
        raise DataError(f"data.{name}: no rows in {what}.{_after(tally)}")
    return Split(name, _with_ids(rows, task, tally), tally.notes(), found_scheme)


def _after(tally: Tally) -> str:
    return "".join(f" {note}" for note in tally.notes())


def _check_choice(name: str, task: str, chosen: str) -> None:
    if task not in CANONICAL:
        raise DataError(suggest(task, CANONICAL, kind="task with data readers"))
    if chosen not in FORMATS:
        raise DataError(suggest(chosen, FORMATS, kind="format"))
    if task not in FORMATS[chosen]:
        raise DataError(
            f"data.{name}: format {chosen} cannot serve {task}: {_WHY_NOT[chosen]}. "
            f"Formats for {task}: {', '.join(f for f in FORMATS if task in FORMATS[f])}."
        )


def _check_columns(chosen: str, columns: Mapping[str, str | int]) -> None:
    if not columns or chosen == "conll":
        return
    if chosen in _NO_COLUMNS:
        raise DataError(f"`columns` means nothing for format {chosen}; remove it.")
    numbers = [column for column in columns.values() if isinstance(column, int)]
    if numbers and chosen not in _HEADERLESS:
        raise DataError(f"Columns of {chosen} have names; {numbers[0]} is a number.")
    if numbers and len(numbers) < len(columns):
        raise DataError(
            "`columns` gives numbers (a file without header) and names (one with); use one kind."
        )


def _records(source: _Source) -> Iterator[Record]:
    """Yield the records of a table format, all files in turn."""
    if source.format == "hub":
        if source.hub is None:
            raise DataError(f"data.{source.name}: format hub needs the data set's name as `hub`.")
        return hub_records(source.hub)
    header = not any(isinstance(column, int) for column in source.columns.values())
    tally = source.tally
    readers: Mapping[str, Callable[[Path], Iterator[Record]]] = {
        "jsonl": jsonl_records,
        "parquet": parquet_records,
        "csv": lambda path: csv_records(path, header=header, tally=tally),
        "tsv": lambda path: tsv_records(path, header=header, tally=tally),
    }
    return chain.from_iterable(map(readers[source.format], source.paths))


def _table(source: _Source) -> tuple[Iterator[Record], Columns]:
    columns = Columns(source.task, source.columns)
    records = _records(source)
    first = next(records, None)
    if first is None:
        return iter(()), columns
    note_unlabelled(source.task, columns, first, source.tally)
    return chain([first], records), columns


def _texts(source: _Source) -> Iterator[TextRow]:
    if source.format == "text":
        for where, line in _lines(source):
            yield TextRow("", line, where=where)
    else:
        records, columns = _table(source)
        yield from text_rows(records, columns, source.tally)


def _lines(source: _Source) -> Iterator[tuple[str, str]]:
    for path in source.paths:
        for number, line in numbered_lines(read_text(path)):
            if line.strip():
                yield f"{path}:{number}", line
            else:
                source.tally.add("Empty lines left out", f"{path}:{number}")


def _read_tagging(source: _Source) -> tuple[tuple[TaggingRow, ...], str | None]:
    # All sentences, also beyond the limit: the scheme is a property of the whole file.
    sentences = list(_sentences(source))
    scheme = source.scheme
    if all(sentence.row.tags is None for sentence in sentences):
        return tuple(sentence.row for sentence in sentences[: source.limit]), None
    rows, scheme = harmonise(sentences, scheme=scheme, tally=source.tally)
    return rows[: source.limit], scheme


def _sentences(source: _Source) -> Iterator[TaggedSentence]:
    if source.format == "text":
        for where, line in _lines(source):
            words = split_words(line)
            if words:
                yield TaggedSentence(TaggingRow("", words, None, where))
            else:
                source.tally.add("Lines without words left out", where)
    elif source.format == "conll":
        for path in source.paths:
            yield from conll_sentences(path, source.columns)
    elif source.format == "conllu":
        for path in source.paths:
            yield from conllu_sentences(path, source.columns)
    else:
        records, columns = _table(source)
        yield from tagged_sentences(records, columns, source.tally)


def _read_questions(source: _Source) -> tuple[QuestionRow, ...]:
    if source.format == "synthetic":
        return _synthetic(source)
    placer = AnswerPlacer(source.tally)
    rows: Iterator[QuestionRow]
    if source.format == "squad":
        rows = chain.from_iterable(squad_rows(path, placer) for path in source.paths)
    else:
        records, columns = _table(source)
        rows = question_rows(records, columns, placer)
    read = tuple(islice(rows, source.limit))
    placer.finish()
    return read


def _synthetic(source: _Source) -> tuple[QuestionRow, ...]:
    from destilo.data.synthetic import DEFAULT_SEED, synthetic_rows

    options = dict(source.synthetic or {})
    split = str(options.get("split") or source.name.partition("-")[0])
    seed, size = options.get("seed", DEFAULT_SEED), options.get("size")
    if not (isinstance(seed, int) and (size is None or isinstance(size, int))):
        raise DataError(f"data.{source.name}: `seed` and `size` must be whole numbers.")
    return synthetic_rows(split, seed=seed, size=size)[: source.limit]


def _with_ids(rows: Sequence[Row], task: str, tally: Tally) -> tuple[Row, ...]:
    """Give every row an id of its own: its number in the split where the file has none."""
    places: dict[str, str] = {}
    numbered: list[Row] = []
    for number, row in enumerate(rows, start=1):
        name = row.id or str(number)
        if name in places:
            if task == QA and row.id:
                raise DataError(
                    f"{row.where}: question id {name!r} is taken by {places[name]}. Predictions "
                    f"and scores go by id; rename one, or remove it if it is the same."
                )
            tally.add("Ids that occur twice, told apart by their row number", row.where)
            name = f"{name}#{number}"
        places[name] = row.where
        numbered.append(row if name == row.id else replace(row, id=name))
    return tuple(numbered)
