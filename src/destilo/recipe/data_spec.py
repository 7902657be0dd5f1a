"""The data section of a recipe: sources and splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag

from destilo.recipe.fields import Count, Spec, Text, as_tuple, shape

FormatName: TypeAlias = Literal[
    "squad", "conll", "conllu", "jsonl", "csv", "tsv", "parquet", "text", "hub", "synthetic"
]


def _split_shape(value: Any) -> str:
    if isinstance(value, ValidationSplit):
        return "<ValidationSplit>"
    if not isinstance(value, Mapping):
        return "<Source>"
    if "fraction" in value:
        return "<ValidationSplit>"
    of_source = set(Source.model_fields) - {"seed"}
    return "<Source>" if of_source & set(value) else "<ValidationSplit>"


def _test_shape(value: Any) -> str:
    if not isinstance(value, Mapping) or not value:
        return "<Source>"
    sections = [isinstance(inner, Mapping | BaseModel) for inner in value.values()]
    return "<named>" if "format" not in value and all(sections) else "<Source>"


def _column_shape(value: Any) -> str:
    return "<number>" if isinstance(value, int) else "<value>"


Column: TypeAlias = Annotated[
    Annotated[Text, Tag("<value>")] | Annotated[int, Field(ge=-1), Tag("<number>")],
    Discriminator(_column_shape),
]


class Source(Spec):
    """Where the rows of one split come from.

    Attributes:
        path: A file or several; not for ``hub`` and ``synthetic``.
        columns: Canonical column name to the file's own name, or number from 0 (-1: the last).
        limit: Read the first rows only.
        scheme: How tags mark spans (tagging only); ``raw`` for tags that mark none, such as POS.
        name: Data set on the hub, with ``config``, ``split`` and ``revision``.
        size: Rows to write (``synthetic`` only), from ``seed``.
    """

    format: FormatName
    path: (
        Annotated[
            Annotated[Text, Tag("<value>")]
            | Annotated[tuple[Text, ...], BeforeValidator(as_tuple), Tag("<list>")],
            Discriminator(shape),
        ]
        | None
    ) = None
    columns: dict[str, Column] = Field(default_factory=dict)
    limit: Count | None = None
    scheme: Literal["auto", "iob1", "iob2", "iobes", "raw"] = "auto"
    name: Text | None = None
    config: Text | None = None
    split: Text | None = None
    revision: Text | None = None
    seed: int | None = None
    size: Count | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files, in order."""
        if self.path is None:
            return ()
        return (self.path,) if isinstance(self.path, str) else self.path


class ValidationSplit(Spec):
    """A share of the training rows set aside; of question answering, whole contexts."""

    fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: int = 13


class DataSpec(Spec):
    """The splits, and what to do about rows that stand in two of them.

    Attributes:
        test: One source, or several by name.
        unlabelled: Rows that only the teacher labels.
        labels: The classes in their order; what is found in the data, sorted, if not given.
    """

    train: Source
    validation: Annotated[
        Annotated[Source, Tag("<Source>")] | Annotated[ValidationSplit, Tag("<ValidationSplit>")],
        Discriminator(_split_shape),
    ]
    test: (
        Annotated[
            Annotated[Source, Tag("<Source>")] | Annotated[dict[str, Source], Tag("<named>")],
            Discriminator(_test_shape),
        ]
        | None
    ) = None
    unlabelled: Source | None = None
    labels: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] | None = None
    leak_check: Literal["off", "warn", "error"] = "warn"

    @property
    def tests(self) -> dict[str, Source]:
        """The test sources by split name: ``test``, or ``test-NAME`` each."""
        if self.test is None:
            return {}
        if isinstance(self.test, Source):
            return {"test": self.test}
        return {f"test-{name}": source for name, source in self.test.items()}
