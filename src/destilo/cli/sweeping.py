"""The command that does a collection: many data sets, teachers and students in one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from destilo.cli.options import JsonOption, QuietOption, SetOption
from destilo.cli.running import quiet_libraries
from destilo.cli.sweep_board import SweepBoard, show_plan
from destilo.errors import InputError
from destilo.terminal import error_console, say, say_json

if TYPE_CHECKING:
    from destilo.sweep.executors import Executor
    from destilo.sweep.load import Sweep
    from destilo.sweep.run import SweepResult
    from destilo.sweep.storage import Storage


def sweep(
    file: Annotated[
        str, typer.Argument(help="A sweep file, or the name of a shipped sweep.", metavar="SWEEP")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The sweep's folder.", metavar="DIR")
    ],
    overrides: SetOption = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", help="Only this data set; repeat it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done and its cost; do nothing.")
    ] = False,
    executor: Annotated[
        Literal["process", "ray"],
        typer.Option(help="Who trains: this machine's processes, or a Ray cluster."),
    ] = "process",
    workers: Annotated[
        int, typer.Option(help="Trials at a time in as many processes (process only).")
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster: auto, HOST:PORT. Without it, one is started here."),
    ] = None,
    cpus: Annotated[float, typer.Option(help="Cores that a trial takes of the cluster.")] = 1.0,
    gpus: Annotated[float, typer.Option(help="GPUs likewise; a fraction shares one.")] = 0.0,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where trials lie if not in DIR: a folder that all nodes see, or a URL (s3://...)."
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do a collection: many data sets, candidate teachers and students.

    For each data set: fine-tune every candidate over a grid, select the teacher,
    cache its outputs, distil every student over a grid or a search, measure the
    best, export it, and write the tables of the whole.

    Every trial is a run folder; what is finished is not done again, and a killed
    sweep goes on with the same command. Begin with --dry-run.

    destilo copy speedy-gonzales-local mine.yaml
    destilo sweep mine.yaml -o sweeps/mine --dry-run
    destilo sweep mine.yaml -o sweeps/mine
    destilo report sweeps/mine
    """
    from destilo.sweep.load import load_sweep

    loaded = load_sweep(file, overrides=overrides or (), datasets=datasets or ())
    from destilo.sweep.plan import check_sweep

    if dry_run:
        show_plan(loaded, output, storage, as_json=as_json)
    check_sweep(loaded)
    if dry_run:
        return
    quiet_libraries()
    result = _do(
        loaded, output, storage, executor=executor, workers=workers, address=address,
        resources=(cpus, gpus), quiet=quiet,
    )  # fmt: skip
    if as_json:
        say_json(result.collection.model_dump(mode="json"))
    else:
        say(f"wrote {output / 'report.md'}, models in {output / 'models'}")
    if result.failed:
        count = len(result.failed)
        error_console().print(
            f"[bold red]error:[/] {count} trial{'s' * (count > 1)} failed, as told above and in "
            f"{escape(str(output / 'results.json'))}; the same command tries them again",
            highlight=False,
        )
        raise typer.Exit(1)


def _do(
    loaded: Sweep,
    output: Path,
    storage: str | None,
    *,
    executor: str,
    workers: int,
    address: str | None,
    resources: tuple[float, float],
    quiet: bool,
) -> SweepResult:
    from destilo.sweep.executors import InProcess, Processes, require_workers
    from destilo.sweep.run import run_sweep

    require_workers(workers)
    if executor == "process" and (address is not None or resources != (1.0, 0.0)):
        raise InputError("--address, --cpus and --gpus are of a Ray cluster: add --executor ray.")
    if executor == "ray" and workers != 1:
        raise InputError("--workers is of this machine: Ray trains as many as --cpus leaves room.")
    board = SweepBoard(error_console(), quiet=quiet)

    @contextmanager
    def make_executor(place: Storage) -> Iterator[Executor]:
        made: Executor
        if executor == "ray":
            from destilo.sweep.on_ray import OnRay, Resources

            made = OnRay(place, address=address, resources=Resources(*resources), begun=board.begun)
        elif workers > 1:
            made = Processes(place, workers, begun=board.begun)
        else:
            made = InProcess(place, board, board.begun)
        board.workers = made.capacity()
        try:
            yield made
        finally:
            made.close()

    with board:
        return run_sweep(
            loaded, output=output, make_executor=make_executor, watcher=board, storage=storage
        )
