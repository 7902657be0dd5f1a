"""Do a sweep on a Ray cluster of two nodes of this machine: a process of its own for the tests.

    python -m tests.sweep.cluster SWEEP.json OUTPUT [--storage URL] [--kill-after N]

It prints one line of JSON: what ended, in order, and how long each took.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

from ray.cluster_utils import Cluster

from destilo.sweep import load_sweep, run_sweep
from destilo.sweep.executors import Executor
from destilo.sweep.on_ray import OnRay, Resources
from destilo.sweep.storage import Storage
from destilo.sweep.work import Outcome, Task


class Killing:
    """Writes down what ends, and takes the second node away after so many."""

    def __init__(self, cluster: Any, node: Any, kill_after: int) -> None:
        self.cluster, self.node, self.kill_after = cluster, node, kill_after
        self.ended_tasks: list[dict[str, Any]] = []
        self.killed_at: float | None = None

    def planned(self, tasks: list[Task]) -> None:
        del tasks

    def begun(self, task: Task) -> None:
        del task

    def selected(self, dataset: str, teacher: str) -> None:
        del dataset, teacher

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        result = outcome.result
        self.ended_tasks.append(
            {
                "verb": outcome.task.verb,
                "trial": result.trial,
                "state": result.state,
                "error": result.error,
                "again": again,
            }
        )
        if self.kill_after and len(self.ended_tasks) == self.kill_after:
            time.sleep(1.0)  # the node has begun something new
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.killed_at = time.time()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sweep", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--storage")
    parser.add_argument("--kill-after", type=int, default=0)
    options = parser.parse_args()
    cluster: Any = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    node = cluster.add_node(num_cpus=1)
    watcher = Killing(cluster, node, options.kill_after)

    @contextmanager
    def make_executor(place: Storage) -> Iterator[Executor]:
        executor = OnRay(place, address=cluster.address, resources=Resources(cpus=1))
        try:
            yield executor
        finally:
            executor.close()

    result = run_sweep(
        load_sweep(options.sweep),
        output=options.output,
        make_executor=make_executor,
        watcher=watcher,
        storage=options.storage,
    )
    print(  # noqa: T201  (its output)
        json.dumps(
            {
                "ended": watcher.ended_tasks,
                "killed_at": watcher.killed_at,
                "failed": [one.error for one in result.failed],
            }
        )
    )
    cluster.shutdown()


if __name__ == "__main__":
    main()
