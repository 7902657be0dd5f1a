"""What a trimming did, as ``trim.json`` holds it."""

from __future__ import annotations

from collections.abc import Sequence

from destilo.records import Record
from destilo.trimming.choosing import Choice, Target
from destilo.trimming.counting import PieceCounts, Reading
from destilo.trimming.vocabulary import KINDS, Vocabulary

REPORT_FILE = "trim.json"


class KindFigures(Record):
    """How many pieces of one kind there were and are."""

    kind: str
    before: int
    kept: int


class CorpusFigures(Record):
    """What was counted in one corpus.

    Attributes:
        coverage: Share of its piece occurrences whose piece is kept.
    """

    name: str
    n_lines: int
    n_words: int
    n_characters: int
    n_pieces: int
    coverage: float


class HeldOutFigures(Record):
    """How text that was not counted reads before and after.

    Attributes:
        coverage: Share of its piece occurrences (before) whose piece is kept.
        lines_unchanged: Share of lines that use no dropped piece; they read as before.
        unknown_before: Occurrences of the unknown piece.
    """

    name: str
    n_lines: int
    n_words: int
    coverage: float
    lines_unchanged: float
    pieces_per_word_before: float
    pieces_per_word_after: float
    unknown_before: int
    unknown_after: int


class SizeFigures(Record):
    """A model's size.

    Attributes:
        vocabulary: Rows of its word embeddings.
        embedding_parameters: Of the word embeddings, and of an output head that is not tied.
        size_mb: Of all parameters, 1 MB = 10^6 bytes.
    """

    vocabulary: int
    parameters: int
    embedding_parameters: int
    size_mb: float


class TrimReport(Record):
    """A trimming from beginning to end.

    Attributes:
        model: As it was named.
        target: ``coverage 0.9999`` or ``size 30000``, and what became of single characters.
        n_for_merges: Pieces kept only because BPE joins kept ones out of them.
    """

    model: str
    algorithm: str
    target: str
    kinds: tuple[KindFigures, ...]
    n_for_merges: int
    counted: tuple[CorpusFigures, ...]
    held_out: tuple[HeldOutFigures, ...]
    before: SizeFigures
    after: SizeFigures


def kind_figures(vocabulary: Vocabulary, kept: Sequence[int]) -> tuple[KindFigures, ...]:
    """Count pieces by kind, leaving out kinds that this tokenizer has not."""
    left = set(kept)
    rows = []
    for kind in KINDS:
        of_kind = {index for index, one in vocabulary.kinds.items() if one == kind}
        if of_kind:
            rows.append(KindFigures(kind=kind, before=len(of_kind), kept=len(of_kind & left)))
    return tuple(rows)


def corpus_figures(counts: PieceCounts, kept: Sequence[int]) -> CorpusFigures:
    """Sum up what was counted."""
    return CorpusFigures(
        name=counts.name,
        n_lines=counts.n_lines,
        n_words=counts.n_words,
        n_characters=counts.n_characters,
        n_pieces=counts.n_pieces,
        coverage=float(counts.occurrences[list(kept)].sum()) / max(1, counts.n_pieces),
    )


def held_out_figures(reading: Reading) -> HeldOutFigures:
    """Sum up how held-out text reads."""
    words = max(1, reading.n_words)
    return HeldOutFigures(
        name=reading.name,
        n_lines=reading.n_lines,
        n_words=reading.n_words,
        coverage=reading.n_covered / max(1, reading.n_pieces[0]),
        lines_unchanged=reading.n_lines_covered / max(1, reading.n_lines),
        pieces_per_word_before=reading.n_pieces[0] / words,
        pieces_per_word_after=reading.n_pieces[1] / words,
        unknown_before=reading.n_unknown[0],
        unknown_after=reading.n_unknown[1],
    )


def target_text(target: Target, choice: Choice) -> str:
    """A target in words."""
    size = f"size {target.size}" if target.size is not None else f"coverage {target.coverage}"
    characters = "all" if target.characters else "used"
    return f"{size}, {len(choice.kept)} pieces kept, characters: {characters}"
