"""The commands on caches: what teachers have said once, kept on disk for every student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from destilo.cli.options import JsonOption, QuietOption, RecipeArgument, SetOption
from destilo.errors import InputError
from destilo.terminal import complain, is_helper, output_console, say, say_json, table

if TYPE_CHECKING:
    from destilo.pipeline.caching import CacheReport
    from destilo.teacher.store import CacheCheck, CacheSummary

cache = typer.Typer(
    name="cache",
    help="Teachers' outputs on disk: a teacher is run once, for all its students.\n\n"
    "A recipe with `teacher.cache: logits` fills and reads its cache by itself.\n"
    "These commands fill one beforehand, show what is there, and clean up.\n\n"
    "[bold]destilo cache build mine.yaml -o runs/mine[/]  fill it, train nothing\n"
    "[bold]destilo cache list[/]                          what there is, how big\n"
    "[bold]destilo cache verify[/]                        is it as it was written?\n"
    "[bold]destilo cache delete 3f2a[/]                   remove one by its id",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Where the caches lie. Default: DESTILO_CACHE, or ~/.cache/destilo/teachers.",
    ),
]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids as `list` shows them; the beginning is enough."),
]


@cache.command("build")
def build(
    recipe: RecipeArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RUN",
            help="The run folder with the teachers that the recipe fine-tunes.",
        ),
    ] = None,
    overrides: SetOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a recipe's teachers over all that its student will see.

    Nothing is trained. A run with `teacher.cache: logits` then finds the cache
    full. What is there already is not computed again; after Ctrl-C the same
    command goes on. A teacher with `finetune` must be there: train it first.

    destilo cache build mine.yaml
    destilo cache build mine.yaml -o runs/mine --set teacher.cache_precision=fp32
    """
    import os

    from destilo.cli.hub import stay_offline_without_hub
    from destilo.cli.running import quiet_libraries
    from destilo.recipe.check import require_valid
    from destilo.recipe.load import load_recipe
    from destilo.terminal import TerminalProgress, error_console

    loaded = load_recipe(recipe, overrides=overrides or ())
    require_valid(loaded)  # before torch is imported, so that a typo costs no time
    stay_offline_without_hub(loaded)
    quiet_libraries()
    if folder is not None:
        os.environ["DESTILO_CACHE"] = str(folder)
    from destilo.pipeline.caching import build_caches

    progress = TerminalProgress(error_console(), quiet=quiet or is_helper())
    reports = build_caches(loaded, output=output, progress=progress)
    if not is_helper():
        _show_reports(reports, as_json=as_json)


def _show_reports(reports: Sequence[CacheReport], *, as_json: bool) -> None:
    if as_json:
        say_json(
            [asdict(one) | {"id": one.folder.name, "folder": str(one.folder)} for one in reports]
        )
        return
    for one in reports:
        say(
            f"{one.folder.name}: {one.teacher}, {one.examples:,} examples ({one.computed:,} new), "
            f"{_size(one.size_bytes)}, {one.seconds:.1f} s"
        )


@cache.command("list")
def list_all(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """List the caches, the last used first.

    Half precision (fp16) keeps each logit within a share of 2^-11, one in 2,048,
    of what the teacher said; fp32 keeps it exactly.
    """
    from destilo.teacher.store import list_caches

    root = _root(folder)
    found = list_caches(root)
    if as_json:
        say_json({"folder": str(root), "caches": [_summary(one) for one in found]})
        return
    if not found:
        say(f"No caches in {root}. `teacher.cache: logits` in a recipe makes one.")
        return
    console = output_console()
    columns = ["id", "precision", "examples", "size", "B/example", "used"]
    console.print(table(str(root), columns, map(_cells, found)))
    console.print()
    for one in found:
        labels = f", {one.n_labels} labels" if one.n_labels else ""
        filling = " (being filled)" if one.filling else ""
        say(f"{one.id}  {one.teacher}: {one.task}{labels}{filling}")
    total = sum(one.size_bytes for one in found)
    say(f"{len(found)} caches, {_size(total)}. fp16: off by 2^-11 of a logit at most.")
    for one in found:
        if one.strays:
            complain(
                "warning",
                f"{one.id}: {len(one.strays)} files in no listing; `destilo cache verify "
                f"{one.id} --repair` removes them.",
            )


def _cells(one: CacheSummary) -> list[str]:
    return [
        one.id,
        one.precision,
        f"{one.examples:,}",
        _size(one.size_bytes),
        f"{one.bytes_per_example:,.0f}",
        one.used_at[:10],
    ]


def _summary(one: CacheSummary) -> dict[str, Any]:
    return asdict(one) | {
        "folder": str(one.folder),
        "bytes_per_example": round(one.bytes_per_example, 1),
    }


@cache.command("verify")
def verify_some(
    ids: IdsArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged; it is made again when needed.")
    ] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every file of the caches again and compare it with its hash.

    Leaves with 2 where something is damaged or stray and has not been repaired.
    A run does the same with what it reads, so nothing damaged is ever used.

    destilo cache verify
    destilo cache verify 3f2a --repair
    """
    from destilo.teacher.store import verify

    checks = [verify(one, repair=repair) for one in _chosen(_root(folder), ids)]
    if as_json:
        say_json([asdict(one) | {"whole": one.whole} for one in checks])
    else:
        for one in checks:
            _tell(one)
    if any(not one.whole and not one.removed for one in checks):
        raise typer.Exit(2)


def _tell(check: CacheCheck) -> None:
    for names, what in ((check.damaged, "damaged"), (check.strays, "in no listing")):
        for name in names:
            done = ", removed" if check.removed else ""
            complain("warning" if check.removed else "error", f"{check.id}/{name}: {what}{done}")
    if check.whole:
        say(f"{check.id}: {check.shards} files, all as they were written")


@cache.command("delete")
def delete(
    ids: IdsArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Every cache in the folder.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete caches by their ids, or all of them.

    Runs are not touched; one that needs a deleted cache fills it again. A cache
    that someone is filling is left alone.

    destilo cache delete 3f2a
    destilo cache delete --all --yes
    """
    from destilo.teacher.store import delete_cache, summarise

    if bool(ids) == everything:
        raise InputError("Name the caches to delete by their ids, or give --all.")
    chosen = [summarise(one) for one in _chosen(_root(folder), ids)]
    size = _size(sum(one.size_bytes for one in chosen))
    if chosen and not yes:
        for one in chosen:
            say(f"{one.id}  {one.teacher}, {one.examples:,} examples, {_size(one.size_bytes)}")
        if not _agreed(f"Delete {len(chosen)} caches, {size}?"):
            complain("warning", "nothing was deleted; --yes does not ask")
            raise typer.Exit(1)
    for one in chosen:
        delete_cache(one.folder)
    if as_json:
        say_json([one.id for one in chosen])
    else:
        say(f"deleted {len(chosen)} caches, {size}")


def _agreed(question: str) -> bool:
    """Ask; no answer (the end of the input, Ctrl-C) is a no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False


def _root(folder: Path | None) -> Path:
    from destilo.teacher.store import cache_folder

    return folder or cache_folder()


def _chosen(root: Path, ids: Sequence[str] | None) -> list[Path]:
    from destilo.teacher.store import find_cache, list_caches

    if not ids:
        return [one.folder for one in list_caches(root)]
    return list(dict.fromkeys(find_cache(root, one) for one in ids))


def _size(size_bytes: int) -> str:
    """Bytes for people, in powers of 1,000."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
