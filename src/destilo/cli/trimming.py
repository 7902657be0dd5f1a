"""`destilo trim`: a model with the pieces that a language uses, and no others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from destilo.cli.hub import use_cache_without_hub
from destilo.cli.options import JsonOption, QuietOption
from destilo.cli.running import quiet_libraries
from destilo.terminal import TerminalProgress, error_console, output_console, say, say_json, table

if TYPE_CHECKING:
    from destilo.trimming.report import TrimReport

_DEFAULT_COVERAGE = 0.9999


def trim(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model folder, or a name on the hub.")
    ],
    corpus: Annotated[
        list[str],
        typer.Option(
            "--corpus",
            metavar="[NAME=]PATH",
            help="Text of a language: plain, .gz, .xz, .jsonl, or a quoted pattern. Repeatable; "
            "paths of one NAME belong together.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The new model's folder.")
    ],
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Keep what makes up this share of the pieces in every corpus "
            f"\\[default: {_DEFAULT_COVERAGE}].",
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="N", help="Or: keep N pieces, all kinds together.")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out",
            metavar="[NAME=]PATH",
            help="Text to check on. Without it every 100th line is set aside.",
        ),
    ] = None,
    column: Annotated[
        str, typer.Option(metavar="KEY", help="Where the text is in .jsonl.")
    ] = "text",
    characters: Annotated[
        Literal["all", "used"],
        typer.Option(help="Single characters that stay: all, or those that the texts use."),
    ] = "all",
    force: Annotated[bool, typer.Option("--force", help="Replace an older model in DIR.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take the pieces that your language does not use out of a model.

    Most of a small multilingual model are embeddings of other languages' pieces.
    Text that uses none of the dropped pieces reads as before, and its hidden
    states and logits do not change; other text is spelt with shorter pieces.

    destilo trim mbert --corpus es.txt.xz -o mbert-es

    destilo trim DIR --corpus 'es=es-*.xz' --corpus tl=tl.jsonl --size 30000 -o OUT

    Special pieces, bytes and single characters always stay. A model for many
    scripts has thousands of characters: --characters used drops those that your
    texts do not hold. Several corpora are covered to the same share each. The new
    folder loads with plain transformers; trim.json in it is the report.
    """
    from destilo.runs import reported_io
    from destilo.trimming.choosing import Target
    from destilo.trimming.corpus import parse_corpora

    target = Target(
        coverage=_DEFAULT_COVERAGE if coverage is None and size is None else coverage,
        size=size,
        characters=characters == "all",
    )
    corpora = parse_corpora(corpus, column=column)
    checked = parse_corpora(held_out or (), column=column, option="--held-out")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # counting is all about reading
    if not Path(model).exists():
        use_cache_without_hub()
    quiet_libraries()
    from destilo.trimming.run import trim as trim_with

    with reported_io(output):
        report = trim_with(
            _place(model),
            corpora=corpora,
            target=target,
            output=output,
            held_out=checked,
            force=force,
            progress=TerminalProgress(error_console(), quiet=quiet),
        )
    if as_json:
        say_json(report.model_dump(mode="json"))
    else:
        _show(report)
        say(f"wrote {output}")


def _place(model: str) -> str:
    """The hub's name of a model of the catalogue; any other name as it is."""
    from destilo.catalogue.models import MODELS

    entry = MODELS.get(model)
    return model if entry is None or entry.hub is None or Path(model).exists() else entry.hub


def _show(report: TrimReport) -> None:
    console = output_console()
    before, after = report.before, report.after
    sizes = [
        ["pieces", f"{before.vocabulary:,}", f"{after.vocabulary:,}"],
        ["parameters", f"{before.parameters:,}", f"{after.parameters:,}"],
        [
            "of them embeddings",
            f"{before.embedding_parameters:,}",
            f"{after.embedding_parameters:,}",
        ],
        ["MB", f"{before.size_mb:,.1f}", f"{after.size_mb:,.1f}"],
    ]
    say(f"{report.algorithm}: {report.target}\n")
    console.print(table("size", ["", "before", "after"], sizes))
    kinds = [[one.kind, f"{one.before:,}", f"{one.kept:,}"] for one in report.kinds]
    if report.n_for_merges:
        kinds.append(["(only for merges)", "", f"{report.n_for_merges:,}"])
    console.print(table("\nwhat was kept", ["pieces", "before", "after"], kinds))
    counted = [
        [
            one.name,
            f"{one.n_lines:,}",
            f"{one.n_words:,}",
            f"{one.n_pieces:,}",
            _share(one.coverage),
        ]
        for one in report.counted
    ]
    columns = ["counted", "lines", "words", "pieces", "coverage"]
    console.print(table("\nwhat was counted", columns, counted))
    held_out = [
        [
            one.name,
            f"{one.n_words:,}",
            _share(one.coverage),
            _share(one.lines_unchanged),
            f"{one.pieces_per_word_before:.3f} → {one.pieces_per_word_after:.3f}",
            f"{one.unknown_before:,} → {one.unknown_after:,}",
        ]
        for one in report.held_out
    ]
    if not held_out:
        return
    columns = ["held out", "words", "coverage", "same lines", "pieces/word", "unknown"]
    console.print(table("\nwhat was not counted", columns, held_out))


def _share(value: float) -> str:
    return f"{100 * value:.3f}%"
