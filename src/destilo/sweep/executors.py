"""Who does the tasks: this process, several processes of this machine, or a Ray cluster.

An executor takes tasks and gives outcomes back as they come. It knows nothing of sweeps, and a
sweep knows nothing of it: the same tasks have the same outcomes everywhere.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Protocol

from destilo.errors import InputError
from destilo.progress import Progress
from destilo.sweep.storage import Storage
from destilo.sweep.work import Outcome, Task, perform

ATTEMPTS = 3
"""How often a task is begun whose worker is killed under it."""


class Executor(Protocol):
    """Does tasks somewhere."""

    def capacity(self) -> int:
        """How many tasks it can have at a time."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task."""
        ...

    def next(self) -> Outcome:
        """Wait for one of the tasks taken, and say what became of it."""
        ...

    def close(self) -> None:
        """Let go of everything, also of tasks that are not done."""
        ...


def lost(task: Task, why: str) -> Outcome:
    """The outcome of a task whose worker was killed again and again."""
    error = f"its worker died {ATTEMPTS} times ({why}). Is there enough memory for it?"
    return Outcome(task, task.result.model_copy(update={"state": "failed", "error": error}))


@dataclass
class InProcess:
    """One task after the other, here.

    Attributes:
        progress: Told how each training goes.
        begun: Called with each task when it begins.
    """

    storage: Storage
    progress: Progress | None = None
    begun: Callable[[Task], None] | None = None
    _tasks: deque[Task] = field(default_factory=deque)

    def capacity(self) -> int:
        return 1

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def next(self) -> Outcome:
        task = self._tasks.popleft()
        if self.begun is not None:
            self.begun(task)
        return perform(task, self.storage, self.progress)

    def close(self) -> None:
        self._tasks.clear()


class Processes:
    """Several processes of this machine, one task each at a time."""

    def __init__(
        self, storage: Storage, workers: int, *, begun: Callable[[Task], None] | None = None
    ) -> None:
        self._storage, self._workers, self._begun = storage, workers, begun
        self._pool = self._start()
        self._running: dict[Future[Outcome], tuple[Task, int]] = {}

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_quiet)

    def capacity(self) -> int:
        return self._workers

    def submit(self, task: Task) -> None:
        if self._begun is not None:
            self._begun(task)
        self._submit(task, 1)

    def _submit(self, task: Task, attempt: int) -> None:
        self._running[self._pool.submit(perform, task, self._storage)] = (task, attempt)

    def next(self) -> Outcome:
        while True:
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            future = next(iter(done))
            try:
                outcome = future.result()
            except BrokenProcessPool as error:  # one was killed, and took the others with it
                if (gone := self._begin_again(str(error))) is not None:
                    return gone
                continue
            del self._running[future]
            return outcome

    def _begin_again(self, why: str) -> Outcome | None:
        """Start new workers; a task that has had its chances is given back."""
        tasks, self._running = list(self._running.values()), {}
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()
        gone = None
        for task, attempt in tasks:
            if attempt >= ATTEMPTS and gone is None:
                gone = lost(task, why)
            else:
                self._submit(task, attempt + 1)
        return gone

    def close(self) -> None:
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def _quiet() -> None:
    """Keep a worker's libraries off the terminal; Ctrl-C is for the process that waits for it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def require_workers(workers: int) -> None:
    """Refuse a number of processes that makes no sense.

    Raises:
        InputError: If it is below 1.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: give 1 or more.")
