"""What a sweep costs beside its trainings: planning, and each trial in process and on Ray.

The plan is that of 10,000 trials, made in a process of its own whose memory is measured. The
trials are a few steps of a tiny model; what a sweep adds is the time of a trial less that of the
same Run alone.

    OMP_NUM_THREADS=1 python benchmarks/sweep_overhead.py [--planned 10000] [--trials 12] [--ray]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from bench.collection import tiny_sweep

from destilo.sweep.load import load_sweep
from destilo.sweep.plan import plan_sweep


class Watch:
    """Remembers how long each distilled trial took, and when it ended."""

    def __init__(self) -> None:
        self.inside: list[float] = []
        self.ends: list[float] = []

    def planned(self, tasks: Any) -> None:
        del tasks

    def begun(self, task: Any) -> None:
        del task

    def selected(self, dataset: str, teacher: str) -> None:
        del dataset, teacher

    def ended(self, outcome: Any, *, again: bool) -> None:
        del again
        if outcome.task.verb == "train" and outcome.result.stage == "distil":
            self.inside.append(outcome.seconds)
            self.ends.append(time.perf_counter())


def measure_plan(n: int) -> None:
    start = time.perf_counter()
    plan = plan_sweep(load_sweep(tiny_sweep(n)))
    figures = {
        "tasks": plan.tasks,
        "seconds": time.perf_counter() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    print(json.dumps(figures))


def measure_trials(n: int, make_executor: Callable[[Any], Any]) -> tuple[float, float, float]:
    """Median seconds of a trial as the driver sees it, of it in its worker, and what is added.

    Added is the driver's time less that of the Run alone (where it runs in this process), or less
    that in the worker.
    """
    from destilo import pipeline
    from destilo.sweep import run_sweep

    spent: list[float] = []
    alone = pipeline.run

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return alone(*arguments, **options)
        finally:
            spent.append(time.perf_counter() - start)

    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        pipeline.run = timed
        try:
            run_sweep(
                load_sweep(tiny_sweep(n)), output=folder, make_executor=make_executor, watcher=watch
            )
        finally:
            pipeline.run = alone
    seen = [later - sooner for sooner, later in zip(watch.ends, watch.ends[1:], strict=False)]
    own = spent[-len(watch.inside) - 1 : -1] or watch.inside  # the last one measures
    added = [driver - run for driver, run in zip(seen, own[1:], strict=True)]
    return statistics.median(seen), statistics.median(watch.inside), statistics.median(added)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--planned", type=int, default=10_000)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--ray", action="store_true", help="Also on a Ray cluster of this machine.")
    parser.add_argument("--plan-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan_only:
        measure_plan(options.planned)
        return
    command = [sys.executable, __file__, "--plan-only", "--planned", str(options.planned)]
    found = json.loads(subprocess.check_output(command))
    print(
        f"plan of {found['tasks']:,} tasks: {found['seconds']:.1f} s, "
        f"peak memory {found['peak_mb']:,.0f} MB\n"
    )
    from destilo.cli.running import quiet_libraries
    from destilo.sweep.executors import InProcess

    quiet_libraries()
    print("| executor | a trial, s | in its worker, s | added, s |")
    print("| --- | ---: | ---: | ---: |")
    rows: list[tuple[str, Any]] = [("in process", lambda place: nullcontext(InProcess(place)))]
    if options.ray:
        rows.append(("Ray, one worker, beside the worker's time", _on_ray))
    for name, make_executor in rows:
        seen, inside, added = measure_trials(options.trials, make_executor)
        print(f"| {name} | {seen:.2f} | {inside:.2f} | {added:.3f} |", flush=True)


@contextmanager
def _on_ray(place: Any) -> Iterator[Any]:
    from destilo.sweep.on_ray import OnRay, Resources

    executor = OnRay(place, resources=Resources(cpus=_all_cpus()))
    try:
        yield executor
    finally:
        executor.close()


def _all_cpus() -> float:
    import os

    return float(os.cpu_count() or 1)


if __name__ == "__main__":
    main()
