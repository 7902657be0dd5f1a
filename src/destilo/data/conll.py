"""CoNLL columns and CoNLL-U to tagged sentences, with the line of every word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from destilo.data.files import numbered_lines, read_text
from destilo.data.tags import TaggedSentence
from destilo.errors import DataError, suggest
from destilo.rows import TaggingRow

DOCUMENT_START = "-DOCSTART-"
CONLLU_COLUMNS = (
    "id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc",
)  # fmt: skip
_UNSPECIFIED = "_"
# NBSP and zero-width spaces stand inside words, so only these two separate columns.
_BLANKS = re.compile(r"[ \t]+")
_SENTENCE_ID = re.compile(r"#\s*sent_id\s*=\s*(.*\S)")


@dataclass(slots=True)
class _Sentence:
    """The sentence being read."""

    path: Path
    id: str = ""
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def finish(self) -> TaggedSentence:
        tags = tuple(self.tags) if self.tags else None
        where = f"{self.path}:{self.lines[0]}"
        return TaggedSentence(
            TaggingRow(self.id, tuple(self.tokens), tags, where), tuple(self.lines)
        )


def conll_sentences(path: Path, columns: Mapping[str, str | int]) -> Iterator[TaggedSentence]:
    """Yield the sentences of a column file.

    A line with a tab is cut at tabs, any other at blanks. A blank line ends a sentence;
    ``-DOCSTART-`` lines are skipped; ``#`` starts no comment, since it is a word as well.

    Args:
        path: The file.
        columns: ``tokens`` and ``tags`` to column numbers from 0 (-1: the last). By default the
            first and the last; a file of a single column is unlabelled.

    Raises:
        DataError: A line has more or fewer columns than the first, or an empty word or tag.
    """
    token_column, tag_column = _column_numbers(columns)
    width, origin = 0, ""
    sentence = _Sentence(path)
    for number, line in numbered_lines(read_text(path)):
        fields = _fields(line)
        if not fields or fields[0] == DOCUMENT_START:
            if sentence.tokens:
                yield sentence.finish()
                sentence = _Sentence(path)
            continue
        where = f"{path}:{number}"
        if not width:
            width, origin = len(fields), where
        if len(fields) != width:
            raise DataError(
                f"{where}: {len(fields)} columns where {origin} has {width}. Every line needs "
                f"the same columns; a word with a blank inside needs tabs between columns, and "
                f"'#' starts a comment in conllu only."
            )
        sentence.tokens.append(_value(fields, token_column, "tokens", where))
        if width > 1 or "tags" in columns:
            sentence.tags.append(_value(fields, tag_column, "tags", where))
        sentence.lines.append(number)
    if sentence.tokens:
        yield sentence.finish()


def _column_numbers(columns: Mapping[str, str | int]) -> tuple[int, int]:
    numbers = {"tokens": 0, "tags": -1}
    for name, column in columns.items():
        if name not in numbers:
            raise DataError(suggest(name, numbers, kind="key in `columns` for conll"))
        if not isinstance(column, int):
            raise DataError(
                f"columns.{name}: conll columns have no names; give a number from 0 "
                f"(-1: the last), not '{column}'."
            )
        numbers[name] = column
    return numbers["tokens"], numbers["tags"]


def _fields(line: str) -> list[str]:
    if not line.strip(" \t"):
        return []
    if "\t" in line:
        return [field.strip(" ") for field in line.rstrip(" \t").split("\t")]
    return _BLANKS.split(line.strip(" "))


def _value(fields: list[str], column: int, name: str, where: str) -> str:
    if not -len(fields) <= column < len(fields):
        raise DataError(
            f"{where}: no column {column} for {name}: the line has {len(fields)} "
            f"(numbered from 0; -1 is the last)."
        )
    if not fields[column]:
        raise DataError(f"{where}: column {column} ({name}) is empty.")
    return fields[column]


def conllu_sentences(path: Path, columns: Mapping[str, str | int]) -> Iterator[TaggedSentence]:
    """Yield the sentences of a CoNLL-U file: its syntactic words.

    Multi-word ranges (``3-4``) and empty nodes (``3.1``) are skipped. ``sent_id`` is the id.
    A file in which no word has a tag (``_``) is unlabelled.

    Args:
        path: The file.
        columns: ``tokens`` and ``tags`` to column names; by default ``form`` and ``upos``.

    Raises:
        DataError: A line has not ten columns, or an empty word.
    """
    token_column, tag_column = _column_names(columns)
    sentences = list(_conllu_sentences(path, token_column, tag_column))
    # In these columns "_" means that nobody has said it; in the others it is a value.
    if tag_column not in (CONLLU_COLUMNS.index("upos"), CONLLU_COLUMNS.index("xpos")):
        yield from (sentence.finish() for sentence in sentences)
        return
    unlabelled = all(tag == _UNSPECIFIED for s in sentences for tag in s.tags)
    for sentence in sentences:
        if unlabelled:
            sentence.tags = []
        elif _UNSPECIFIED in sentence.tags:
            line = sentence.lines[sentence.tags.index(_UNSPECIFIED)]
            raise DataError(
                f"{path}:{line}: no tag in column {CONLLU_COLUMNS[tag_column]} ('_'), while "
                f"other words of the file have one."
            )
        yield sentence.finish()


def _conllu_sentences(path: Path, token_column: int, tag_column: int) -> Iterator[_Sentence]:
    sentence = _Sentence(path)
    for number, line in numbered_lines(read_text(path)):
        if not line.strip(" \t"):
            if sentence.tokens:
                yield sentence
            sentence = _Sentence(path)
        elif line.startswith("#") and not sentence.tokens:
            if match := _SENTENCE_ID.fullmatch(line.strip()):
                sentence.id = match[1]
        else:
            fields = line.split("\t")
            where = f"{path}:{number}"
            if len(fields) != len(CONLLU_COLUMNS):
                raise DataError(
                    f"{where}: {len(fields)} columns between tabs where CoNLL-U has ten."
                )
            if not fields[0].isdecimal():
                if not re.fullmatch(r"\d+[-.]\d+", fields[0]):
                    raise DataError(f"{where}: '{fields[0]}' is no CoNLL-U word number.")
                continue
            sentence.tokens.append(_value(fields, token_column, "tokens", where))
            sentence.tags.append(_value(fields, tag_column, "tags", where))
            sentence.lines.append(number)
    if sentence.tokens:
        yield sentence


def _column_names(columns: Mapping[str, str | int]) -> tuple[int, int]:
    chosen = {"tokens": "form", "tags": "upos"}
    for name, column in columns.items():
        if name not in chosen:
            raise DataError(suggest(name, chosen, kind="key in `columns` for conllu"))
        if not isinstance(column, str) or column not in CONLLU_COLUMNS:
            raise DataError(suggest(str(column), CONLLU_COLUMNS, kind="CoNLL-U column"))
        chosen[name] = column
    return CONLLU_COLUMNS.index(chosen["tokens"]), CONLLU_COLUMNS.index(chosen["tags"])
