"""Check the data section of a recipe: formats, files, columns, labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from destilo.errors import suggest
from destilo.recipe.catalogue import TASKS
from destilo.recipe.findings import Findings
from destilo.recipe.paths import is_file, is_folder
from destilo.recipe.places import Key, dotted
from destilo.recipe.schema import Recipe, Source

_NO_COLUMNS = ("squad", "text", "synthetic")
_HUB_KEYS = ("name", "config", "split", "revision")
_SYNTHETIC_KEYS = ("split", "seed", "size")
_SYNTHETIC_SPLITS = ("train", "validation", "test", "unlabelled")


def sources(recipe: Recipe) -> Iterator[tuple[Key, Source]]:
    """List all sources of a recipe with their keys."""
    data = recipe.data
    yield ("data", "train"), data.train
    if isinstance(data.validation, Source):
        yield ("data", "validation"), data.validation
    if isinstance(data.test, Source):
        yield ("data", "test"), data.test
    elif data.test is not None:
        for name, source in data.test.items():
            yield ("data", "test", name), source
    if data.unlabelled is not None:
        yield ("data", "unlabelled"), data.unlabelled


def check_data(recipe: Recipe, findings: Findings) -> None:
    """Check every source, the labels, and that unlabelled rows have a use."""
    for key, source in sources(recipe):
        _check_format(recipe, key, source, findings)
        _check_origin(key, source, findings)
        _check_columns(recipe, key, source, findings)
    data = recipe.data
    if data.unlabelled is not None and not recipe.distils:
        findings.error(
            ("data", "unlabelled"),
            "unlabelled rows teach nothing: no term of the objective uses a teacher.",
            "Add a term such as {term: kl}, or remove `unlabelled`.",
        )
    _check_labels(recipe, findings)


def _check_labels(recipe: Recipe, findings: Findings) -> None:
    labels = recipe.data.labels
    if labels is None:
        return
    key = ("data", "labels")
    if recipe.task == "question-answering":
        findings.error(key, "question answering has no labels.", "Remove `labels`.")
        return
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        findings.error(key, f"{', '.join(twice)} stands twice.", "Name each label once.")
    if len(labels) < 2:
        findings.error(key, f"{len(labels)} label is nothing to decide.", "Name two or more.")


def _check_format(recipe: Recipe, key: Key, source: Source, findings: Findings) -> None:
    formats = TASKS[recipe.task].formats
    if source.format not in formats:
        findings.error(
            (*key, "format"),
            f"the format {source.format} cannot serve {recipe.task}.",
            f"Formats for it: {', '.join(formats)}.",
        )
    elif source.format == "text" and key[1] != "unlabelled":
        findings.error(
            (*key, "format"), "plain text has no labels.", "Use it for `unlabelled` only."
        )
    if source.scheme != "auto" and recipe.task != "token-classification":
        findings.error((*key, "scheme"), "only tags have a scheme.", "Remove it.")


def _check_origin(key: Key, source: Source, findings: Findings) -> None:
    """Check that a source has what its format reads from, and nothing else."""
    wanted = {"hub": _HUB_KEYS, "synthetic": _SYNTHETIC_KEYS}.get(source.format, ("path",))
    for name in ("path", *_HUB_KEYS, *_SYNTHETIC_KEYS[1:]):
        if name not in wanted and getattr(source, name) is not None:
            findings.error(
                (*key, name),
                f"means nothing for format {source.format}.",
                f"Remove it; this format reads {', '.join(f'`{key}`' for key in wanted)}.",
            )
    if source.format == "hub" and source.name is None:
        findings.error(
            key, "the format hub needs the data set's name.", "Add `name: OWNER/DATASET`."
        )
    elif source.format == "synthetic":
        if source.split is not None and source.split not in _SYNTHETIC_SPLITS:
            message = suggest(source.split, _SYNTHETIC_SPLITS, kind="split of the synthetic set")
            findings.error((*key, "split"), message, "Name one of them.")
    elif source.format != "hub":
        _check_files(key, source, findings)


def _check_files(key: Key, source: Source, findings: Findings) -> None:
    if not source.paths:
        findings.error(key, f"the format {source.format} needs a file.", "Add `path: FILE`.")
    for path in source.paths:
        if is_folder(path):
            message, remedy = f"{path} is a folder.", "Name the files in it."
        elif not is_file(path):
            message, remedy = f"the file {path} does not exist.", _whereabouts(key, path)
        else:
            continue
        findings.error((*key, "path"), message, remedy)


def _whereabouts(key: Key, path: str) -> str:
    remedy = f"Correct the path, or name another: --set {dotted(key)}.path=FILE."
    if Path(path).is_absolute():
        return remedy
    return f"{remedy} It is seen from the recipe's folder, then from {Path.cwd()}."


def _check_columns(recipe: Recipe, key: Key, source: Source, findings: Findings) -> None:
    if not source.columns:
        return
    here = (*key, "columns")
    if source.format in _NO_COLUMNS:
        findings.error(here, f"means nothing for format {source.format}.", "Remove it.")
        return
    known = TASKS[recipe.task].columns
    numbered = source.format == "conll"
    for name, column in source.columns.items():
        if name not in known:
            message = suggest(name, known, kind=f"column of {recipe.task}")
            findings.error((*here, name), message, "Write `canonical name: the file's own name`.")
        elif numbered and not isinstance(column, int):
            findings.error(
                (*here, name),
                "conll columns have no names.",
                "Give a number from 0 (-1: the last).",
            )
        elif isinstance(column, int) and source.format not in ("conll", "csv", "tsv"):
            findings.error(
                (*here, name), f"columns of {source.format} have names.", "Give the name."
            )
