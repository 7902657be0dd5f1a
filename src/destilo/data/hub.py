"""Data sets of the Hugging Face hub, or folders written by ``datasets``, to records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from destilo.data.tables import INSTALL, Record, named_classes
from destilo.errors import DataError

PARQUET_REVISION = "refs/convert/parquet"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A split of a data set.

    Attributes:
        name: Hub name (``owner/name``) or a local folder.
        config: The data set's configuration (often a language), if it has several.
        split: The split as the data set names it.
        revision: Branch, tag or commit.
    """

    name: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"hub:{self.name}{config}[{self.split}]"


def hub_records(source: HubSource, *, streaming: bool = False) -> Iterator[Record]:
    """Yield the records of a split; class numbers become class names.

    Args:
        source: The split.
        streaming: Fetch rows as they are read, and keep no copy of the data set on disk.

    Raises:
        DataError: ``datasets`` is missing, or the data set cannot be had, with the remedy.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source}: reading from the hub needs datasets: {INSTALL}") from error
    try:
        data = _load(source, datasets, streaming=streaming)
    except Exception as error:  # the library raises all kinds; each needs a remedy, not a trace
        raise DataError(_explain(source, error)) from error
    names = {
        column: inner.names
        for column, feature in (data.features or {}).items()
        if isinstance(inner := getattr(feature, "feature", feature), datasets.ClassLabel)
    }
    for number, values in enumerate(data, start=1):
        yield Record(f"{source}:row {number}", named_classes(values, names))


def _load(source: HubSource, datasets: Any, *, streaming: bool) -> Any:
    folder = Path(source.name)
    saved = [folder, folder / source.split]
    if any((place / "state.json").is_file() for place in saved):
        place = next(place for place in saved if (place / "state.json").is_file())
        return datasets.load_from_disk(str(place))
    return datasets.load_dataset(
        source.name,
        source.config,
        split=source.split,
        revision=source.revision,
        streaming=streaming,
    )


def _explain(source: HubSource, error: Exception) -> str:
    kind, text = type(error).__name__, " ".join(str(error).split())
    if "scripts are no longer supported" in text:
        remedy = (
            f"It is a script, and scripts are not run. Most such data sets have a Parquet "
            f"conversion: `revision: {PARQUET_REVISION}`."
        )
    elif ("config" in text.lower() and "available" in text.lower()) or "Config name" in text:
        remedy = f"Give one of its configurations as `config`. {text[:400]}"
    elif text.startswith(("Unknown split", 'Instruction "')):
        remedy = f"Give one of its splits as `split`. {text[:300]}"
    elif (
        kind in {"ConnectionError", "OfflineModeIsEnabled"} or "reach" in text or "offline" in text
    ):
        remedy = (
            "The hub cannot be reached from here and no copy is in the local cache. "
            "A local copy works without it: `format: parquet` with the `path` of its files."
        )
    else:
        remedy = (
            f"There may be no data set of that name, or it is private ({kind}: {text[:200]}). "
            f"A local copy works as well: `format: parquet` with the `path` of its files."
        )
    return f"{source}: the data set cannot be loaded. {remedy}"
