"""What a worker does in the tests of executors: it must be found by a process that starts anew."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from destilo.records import TrialResult
from destilo.sweep.executors import Processes
from destilo.sweep.storage import Storage
from destilo.sweep.work import Outcome, Task


def task(label: str) -> Task:
    """A task that is nothing but its label: ``die``, ``die once``, ``wait for FILE``."""
    result = TrialResult(
        trial=label, stage="finetune", dataset="ner", model="m", role="teacher", seed=1,
        state="planned",
    )  # fmt: skip
    return Task("train", result, {}, measured_by="", label=label)


def act(task: Task, storage: Storage) -> Outcome:
    """Note that it was begun, and do what the label says."""
    root = Path(storage.root)
    with (root / "begun").open("a", encoding="utf-8") as file:
        file.write(f"{task.label}\n")
    if task.label == "die" or (task.label == "die once" and not (root / "died").exists()):
        (root / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task.label.startswith("wait for "):
        while not (root / task.label.removeprefix("wait for ")).exists():
            time.sleep(0.05)
    return Outcome(task, task.result.model_copy(update={"state": "finished", "seed": os.getpid()}))


def main(root: str) -> NoReturn:
    """Wait for a worker that waits for ever."""
    import destilo.sweep.executors as executors

    setattr(executors, "perform", act)  # noqa: B010  (of this process and its workers alone)
    workers = Processes(Storage(root), 2)
    workers.submit(task("done"))
    (Path(root) / "worker").write_text(str(workers.next().result.seed), encoding="utf-8")
    workers.submit(task("wait for ever"))
    workers.next()
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
