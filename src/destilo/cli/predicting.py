"""The command that uses a model: from arguments or JSON lines to JSON lines."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from destilo.cli.running import quiet_libraries
from destilo.errors import InputError

if TYPE_CHECKING:
    from destilo.predict import Predictor
    from destilo.rows import Row


def predict(
    model: Annotated[
        Path, typer.Argument(help="A run (its student answers) or a model folder.", metavar="MODEL")
    ],
    question: Annotated[str | None, typer.Option(help="Question answering: the question.")] = None,
    context: Annotated[str | None, typer.Option(help="Question answering: the context.")] = None,
    text: Annotated[str | None, typer.Option(help="Classification or tagging: the text.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Pairs: the second text.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="JSON lines with the task's keys; - reads stdin."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write JSON lines here, not to stdout.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at a time.")] = 32,
) -> None:
    """Predict with a trained model; JSON lines come out.

    destilo predict runs/qa --question "¿Dónde nació?" --context "Nació en Jaca."
    destilo predict runs/ner --text "Inés vive en Jaca."
    destilo predict runs/pairs --text "Llueve." --text-pair "Está lloviendo."
    destilo predict runs/ner --input rows.jsonl --output tags.jsonl
    cat rows.jsonl | destilo predict runs/ner

    A file, or standard input, holds one JSON object a line with the same keys:
    question and context; text, or tokens (a list); text and text_pair.
    An id is passed on as it is.
    """
    given = {"question": question, "context": context, "text": text, "text_pair": text_pair}
    arguments = {key: value for key, value in given.items() if value is not None}
    inputs = _inputs(arguments, file)
    quiet_libraries()
    from destilo.predict import Predictor

    predictor = Predictor.load(model)
    _check_arguments(arguments, predictor)
    lines = _lines(predictor, inputs, batch_size=batch_size)
    if output is not None:
        _write_lines(output, lines)
        return
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()


def _inputs(
    arguments: Mapping[str, str], file: Path | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What to predict, each with its place; arguments have none."""
    if arguments and file is not None:
        raise InputError("Give either texts as arguments or --input, not both.")
    if not arguments and file is None and sys.stdin.isatty():
        raise InputError(
            "There is nothing to predict: give --text (or --question and --context), "
            "--input FILE, or JSON lines on standard input."
        )
    return iter([("", arguments)]) if arguments else _json_lines(file)


def _check_arguments(arguments: Mapping[str, str], predictor: Predictor) -> None:
    """Refuse a text that the task does not read, rather than drop it."""
    for key in arguments:
        if key not in predictor.keys:
            raise InputError(
                f"--{key.replace('_', '-')} means nothing to this model: {predictor.needs}."
            )


def _lines(
    predictor: Predictor, inputs: Iterator[tuple[str, Mapping[str, Any]]], *, batch_size: int
) -> Iterator[str]:
    """Yield a JSON line for each input, with the id that it came with, whatever its type."""
    identities: deque[Any] = deque()

    def rows() -> Iterator[Row]:
        for number, (where, values) in enumerate(inputs):
            row = _row(predictor, values, where=where, number=number)
            identities.append(values.get("id", row.id))
            yield row

    for prediction in predictor.stream(rows(), batch_size=batch_size):
        yield json.dumps(prediction | {"id": identities.popleft()}, ensure_ascii=False) + "\n"


def _row(predictor: Predictor, values: Mapping[str, Any], *, where: str, number: int) -> Row:
    try:
        return predictor.row(values, number=number)
    except InputError as error:
        raise InputError(f"{where}: {error}" if where else str(error)) from error


def _write_lines(output: Path, lines: Iterable[str]) -> None:
    """Write a file, there whole or not at all; a device or a pipe gets its lines as they come."""
    from destilo.runs import reported_io

    with reported_io(output):
        if _is_stream(output):
            with output.open("w", encoding="utf-8") as stream:
                for line in lines:
                    stream.write(line)
                    stream.flush()
            return
        target = Path(os.path.realpath(output))  # a link stays a link
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        try:
            with partial.open("w", encoding="utf-8") as stream:
                stream.writelines(lines)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    """Whether something stands there already that is neither a regular file nor a folder."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _json_lines(path: Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    name = "standard input" if path is None or str(path) == "-" else str(path)
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise InputError(f"{name}:{number}: not JSON: {error}.") from error
            if not isinstance(values, dict):
                raise InputError(f"{name}:{number}: a line must hold a JSON object.")
            yield f"{name}:{number}", values


@contextmanager
def _opened(path: Path | None) -> Iterator[Iterator[str]]:
    standard = path is None or str(path) == "-"
    name = "standard input" if standard else str(path)
    try:
        if path is None or standard:
            yield TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
            return
        with path.open(encoding="utf-8-sig") as stream:
            yield iter(stream)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist.") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise InputError(f"{name} is not a text file in UTF-8: {error}.") from error
