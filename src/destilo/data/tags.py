"""Chunk tags: which scheme a data set is written in, and how to read it as IOB2.

========  ==========================================================================
``raw``   not chunk tags (parts of speech): taken as they are
``iob2``  every chunk starts with ``B-``
``iob1``  ``B-`` only where a chunk follows another of its type, otherwise ``I-``
``iobes`` ``E-`` ends and ``S-`` is a chunk of one; BILOU is the same with ``L-``, ``U-``
========  ==========================================================================

The decision is one for a whole data set: a sentence alone cannot tell IOB1 from IOB2. A sequence
that breaks its scheme is read as conlleval reads it: a chunk starts where its type changes.

Reference:
    Tjong Kim Sang and Veenstra (1999), Representing Text Chunks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from destilo.data.tally import Tally
from destilo.errors import DataError, suggest
from destilo.rows import TaggingRow

OUTSIDE = "O"
RAW = "raw"
SCHEMES = ("auto", "iob1", "iob2", "iobes", RAW)

_CHUNK_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
_ODD_CHUNK_TAG = re.compile(
    r"(?P<before>[BIESLU])[-_:/.|].+|.+[-_:/.|](?P<after>[BIESLU])|(?P<bare>[BI])",
    re.DOTALL | re.IGNORECASE,
)
_PREFIXES = {"iob1": "BI", "iob2": "BI", "iobes": "BIESLU"}
_STARTS = frozenset("BSU")
_ENDS = frozenset("ESLU")


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """A row and the line of each of its words (empty where the format has no lines)."""

    row: TaggingRow
    lines: tuple[int, ...] = ()

    def place(self, position: int) -> str:
        """Return file:line of a word, or the row and the word's number."""
        if self.lines:
            return f"{self.row.where.rpartition(':')[0]}:{self.lines[position]}"
        return f"{self.row.where} (word {position + 1})"


def check_scheme(scheme: str) -> None:
    """Refuse a scheme that does not exist."""
    if scheme not in SCHEMES:
        raise DataError(suggest(scheme, SCHEMES, kind="tag scheme"))


def detect_scheme(sequences: Iterable[Sequence[str]]) -> str:
    """Tell which scheme the tags of a whole data set are written in.

    Args:
        sequences: The tags of each sentence.

    Returns:
        ``raw``, ``iob1``, ``iob2`` or ``iobes``.
    """
    held = [tuple(tags) for tags in sequences]
    distinct = {tag for tags in held for tag in tags} - {OUTSIDE}
    chunk = {tag for tag in distinct if _CHUNK_TAG.fullmatch(tag)}
    # A tag set is not chunked because a single tag of it looks so; one damaged tag among
    # chunk tags must not pass for a part of speech either.
    if not chunk or len(chunk) < len(distinct - chunk):
        return RAW
    if any(tag[0] in "ESLU" for tag in chunk):
        return "iobes"
    starts = Counter(prefix for tags in held for prefix in _chunk_starts(tags))
    return "iob1" if starts["I"] > starts["B"] else "iob2"


def _odd_chunk_tags(sequences: Iterable[Sequence[str]]) -> list[str]:
    """Return some tags of a set that looks chunked but for its spelling (``b-org``, ``PER_I``)."""
    distinct = {tag for tags in sequences for tag in tags}
    inside = sorted(tag for tag in distinct if tag.upper() != OUTSIDE)
    matches = [match for tag in inside if (match := _ODD_CHUNK_TAG.fullmatch(tag))]
    positions = {match[match.lastgroup or 0].upper() for match in matches}
    # Neither a part of speech that ends in "-S" nor a tag set with one "B" is chunked: most tags
    # have to look so, and to tell beginnings from insides or chunks from what is outside.
    telling = {"B", "I"} <= positions or len(inside) < len(distinct)
    if 2 * len(matches) <= len(inside) or not telling or not positions & {"B", "I"}:
        return []
    return [match[0] for match in matches[:4]]


def _chunk_starts(tags: Sequence[str]) -> Iterable[str]:
    """Yield the prefix of each chunk that no chunk of the same type stands before."""
    before = OUTSIDE
    for tag in tags:
        kind = tag[2:]
        if tag != OUTSIDE and before[2:] != kind:
            yield tag[0]
        before = tag


def convert_scheme(tags: Sequence[str], *, scheme: str) -> tuple[str, ...]:
    """Write the tags of one sentence in IOB2 (``raw`` tags stay as they are).

    Args:
        tags: The tags as they stand in the data.
        scheme: What ``detect_scheme`` said about the whole data set.

    Raises:
        DataError: A tag is impossible in the scheme.
    """
    return _converted(tags, scheme, lambda position: f"word {position + 1}")[0]


def harmonise(
    sentences: Sequence[TaggedSentence], *, scheme: str, tally: Tally
) -> tuple[tuple[TaggingRow, ...], str]:
    """Bring the tags of a split to IOB2 by one decision for all its sentences.

    Args:
        sentences: All sentences of the split; those without tags take no part.
        scheme: ``auto`` to detect, or the scheme.
        tally: Gets what was converted or repaired.

    Returns:
        The rows, and the scheme that their tags were read in.

    Raises:
        DataError: A tag is impossible in the scheme (with file:line).
    """
    check_scheme(scheme)
    if scheme == "auto":
        held = [s.row.tags for s in sentences if s.row.tags is not None]
        scheme = detect_scheme(held)
        if scheme == RAW and (odd := _odd_chunk_tags(held)):
            tally.say(
                f"The tags look like chunk tags in an unusual spelling ({', '.join(odd)}) and are "
                f"taken as they are, word by word, not as chunks. Write them as B-TYPE, I-TYPE "
                f"and O, or set `scheme: raw` if they are no chunks."
            )
    if scheme == RAW:
        return tuple(sentence.row for sentence in sentences), scheme
    rows = []
    for sentence in sentences:
        row = sentence.row
        if row.tags is not None:
            tags, repaired = _converted(row.tags, scheme, sentence.place)
            for position in repaired:
                tally.add(
                    "Tags that continue no chunk (I- after another type or O) read as B-",
                    sentence.place(position),
                )
            row = replace(row, tags=tags)
        rows.append(row)
    if scheme != "iob2":
        tally.say(f"Tags were read as {scheme.upper()} and are kept as IOB2.")
    return tuple(rows), scheme


def _converted(
    tags: Sequence[str], scheme: str, place: Callable[[int], str]
) -> tuple[tuple[str, ...], list[int]]:
    """Return the IOB2 tags and the positions where the scheme was broken."""
    check_scheme(scheme)
    if scheme == "auto":
        scheme = detect_scheme([tags])
    if scheme == RAW:
        return tuple(tags), []
    written: list[str] = []
    repaired: list[int] = []
    open_kind: str | None = None  # type of the chunk that the next word may continue
    for position, tag in enumerate(tags):
        if tag == OUTSIDE:
            written.append(tag)
            open_kind = None
            continue
        prefix, kind = _parse(tag, scheme, place(position))
        starts = prefix in _STARTS or kind != open_kind
        if starts and prefix not in _STARTS and scheme != "iob1":
            repaired.append(position)
        written.append(f"{'B' if starts else 'I'}-{kind}")
        open_kind = None if prefix in _ENDS else kind
    return tuple(written), repaired


def _parse(tag: str, scheme: str, where: str) -> tuple[str, str]:
    match = _CHUNK_TAG.fullmatch(tag)
    if match is None or match[1] not in _PREFIXES[scheme]:
        forms = ", ".join(f"{prefix}-TYPE" for prefix in _PREFIXES[scheme])
        raise DataError(
            f"{where}: tag '{tag}' is not possible in {scheme.upper()} (O, {forms}). "
            f"Correct it, or set `scheme` if the tags are of another kind "
            f"({', '.join(SCHEMES)}; raw: no chunks)."
        )
    return match[1], match[2]
