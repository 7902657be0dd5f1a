"""The figures of Speedy Gonzales (Tables 1 to 8), as typed records.

They are facts of a paper, kept as it prints them, in ``published/*.csv``; what is odd about them
is written in ``published/README.md``. Models have their names of the catalogue.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from destilo.records import TrialStage

SOURCE = "Cañete and Bravo-Marquez 2024, Speedy Gonzales"
REFERENCE = "beto-cased"
"""The model that its speed-ups are relative to (BETO uncased has the same architecture)."""


@dataclass(frozen=True, slots=True)
class PublishedDataset:
    """A data set of the paper.

    Attributes:
        title: As the paper writes it.
        task: As in a recipe.
        metric: What its score means: the main one, by the paper's name.
        aliases: Names under which a collection may hold the same data set.
    """

    name: str
    title: str
    task: str
    metric: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InferenceRate:
    """A row of Table 1: one row of 512 pieces at a time."""

    stage: TrialStage
    model: str
    cpu_per_s: float
    gpu_per_s: float


@dataclass(frozen=True, slots=True)
class Quality:
    """A cell of Table 2."""

    stage: TrialStage
    model: str
    dataset: str
    metric: str
    points: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A row of Table 3; ``speedup`` is a ratio of counts, not of times."""

    stage: TrialStage
    model: str
    parameters_millions: int
    speedup: float
    score: float


@dataclass(frozen=True, slots=True)
class Distilled:
    """A pair of cells of Tables 5, 6 and 7: a student without and with distillation."""

    model: str
    dataset: str
    metric: str
    finetuned_points: float
    distilled_points: float


@dataclass(frozen=True, slots=True)
class CacheHours:
    """A row of Table 8."""

    model: str
    cached_hours: float
    uncached_hours: float


_CLASSES, _TAGS, _ANSWERS = "text-classification", "token-classification", "question-answering"
_DATASETS = (
    PublishedDataset("mldoc", "MLDoc", _CLASSES, "accuracy"),
    PublishedDataset("paws-x", "PAWS-X", _CLASSES, "accuracy"),
    PublishedDataset("xnli", "XNLI", _CLASSES, "accuracy"),
    PublishedDataset("pos", "POS", _TAGS, "f1", ("ud-es-ancora", "ancora")),
    PublishedDataset("ner", "NER", _TAGS, "f1", ("conll2002", "conll-2002")),
    PublishedDataset("mlqa", "MLQA", _ANSWERS, "f1"),
    PublishedDataset("sqac", "SQAC", _ANSWERS, "f1"),
    PublishedDataset("tar-xquad", "TAR/XQuAD", _ANSWERS, "f1", ("tar",)),
)


def list_published_datasets() -> tuple[PublishedDataset, ...]:
    """List the data sets in the order of Table 2."""
    return _DATASETS


def published_dataset(name: str) -> PublishedDataset | None:
    """Find the paper's data set that a collection's name means.

    Case, punctuation and a language at the end (``-es``) make no difference.
    """
    wanted = _plain(name)
    for one in _DATASETS:
        if wanted in {_plain(known) for known in (one.name, *one.aliases)}:
            return one
    return None


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower().removesuffix("-es")))


@cache
def inference_rates() -> tuple[InferenceRate, ...]:
    """Read Table 1."""
    return tuple(
        InferenceRate(_stage(row), row["model"], float(row["cpu_per_s"]), float(row["gpu_per_s"]))
        for row in _rows("table-1-inferences")
    )


@cache
def quality() -> tuple[Quality, ...]:
    """Read Table 2."""
    return tuple(
        Quality(_stage(row), row["model"], row["dataset"], row["metric"], float(row["points"]))
        for row in _rows("table-2-quality")
    )


@cache
def summary() -> tuple[Summary, ...]:
    """Read Table 3."""
    return tuple(
        Summary(
            _stage(row),
            row["model"],
            int(row["parameters_millions"]),
            float(row["speedup"]),
            float(row["score"]),
        )
        for row in _rows("table-3-summary")
    )


@cache
def selected_teachers() -> dict[str, str]:
    """Read Table 4: the teacher of each data set."""
    return {row["dataset"]: row["teacher"] for row in _rows("table-4-teachers")}


@cache
def distilled() -> tuple[Distilled, ...]:
    """Read Tables 5, 6 and 7."""
    tables = ("table-5-classification", "table-6-tagging", "table-7-question-answering")
    return tuple(
        Distilled(
            row["model"],
            row["dataset"],
            row["metric"],
            float(row["finetuned_points"]),
            float(row["distilled_points"]),
        )
        for table in tables
        for row in _rows(table)
    )


@cache
def cache_hours() -> tuple[CacheHours, ...]:
    """Read Table 8."""
    return tuple(
        CacheHours(row["model"], float(row["cached_hours"]), float(row["uncached_hours"]))
        for row in _rows("table-8-cache")
    )


def published_speedup(reference_macs: int, macs: int) -> float:
    """Divide counts as Table 3 does.

    Billions are cut to two decimals before the division, and the ratio after it.

    Args:
        reference_macs: THOP's count of BETO.
        macs: THOP's count of the model, at least 10 million.
    """
    hundredths = 10**7
    return (100 * (reference_macs // hundredths) // (macs // hundredths)) / 100


def _stage(row: dict[str, str]) -> TrialStage:
    return "distil" if row["stage"] == "distil" else "finetune"


def _rows(table: str) -> Iterator[dict[str, str]]:
    folder = files("destilo.catalogue") / "published"
    text = (folder / f"{table}.csv").read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())
