"""From the section of a recipe that names a split to its rows."""

from __future__ import annotations

from pathlib import Path

from destilo.data.hub import HubSource
from destilo.data.readers import read_split
from destilo.errors import DataError
from destilo.recipe.data_spec import Source
from destilo.rows import Split


def read_source(name: str, source: Source, task: str, *, scheme: str | None = None) -> Split:
    """Read one split as its recipe section says.

    Args:
        name: The split's name.
        source: Its section.
        task: Decides the kind of rows.
        scheme: How tags are read where the section leaves it open.
    """
    hub = None
    if source.format == "hub":
        if source.name is None:
            raise DataError(f"data.{name}: format 'hub' needs `name: owner/dataset`.")
        hub = HubSource(source.name, source.config, source.split or name, source.revision)
    synthetic = None
    if source.format == "synthetic":
        synthetic = {"split": source.split or name, "size": source.size}
        if source.seed is not None:
            synthetic["seed"] = source.seed
    return read_split(
        name,
        task=task,
        format=source.format,
        path=[Path(path) for path in source.paths] or None,
        columns=source.columns,
        scheme=(scheme or "auto") if source.scheme == "auto" else source.scheme,
        limit=source.limit,
        hub=hub,
        synthetic=synthetic,
    )
