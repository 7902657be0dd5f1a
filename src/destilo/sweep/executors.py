"""Who does the tasks: this process, several processes of this machine, or a Ray cluster.

An executor takes tasks and gives outcomes back as they come. It knows nothing of sweeps, and a
sweep knows nothing of it: the same tasks have the same outcomes everywhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
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
    """Several processes of this machine, one task each at a time.

    Each is a pool of its own, so that one that is killed takes no other's task with it.
    """

    def __init__(
        self, storage: Storage, workers: int, *, begun: Callable[[Task], None] | None = None
    ) -> None:
        self._storage, self._begun = storage, begun
        self._pools: list[ProcessPoolExecutor | None] = [None] * workers
        self._running: dict[Future[Outcome], _Chance] = {}

    def capacity(self) -> int:
        return len(self._pools)

    def submit(self, task: Task) -> None:
        if self._begun is not None:
            self._begun(task)
        taken = {chance.worker for chance in self._running.values()}
        free = next(worker for worker in range(len(self._pools)) if worker not in taken)
        self._submit(_Chance(task, free))

    def _submit(self, chance: _Chance) -> None:
        while True:
            pool = self._pools[chance.worker]
            if pool is None:
                context = multiprocessing.get_context("spawn")
                pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin_worker)
                self._pools[chance.worker] = pool
            try:
                future = pool.submit(perform, chance.task, self._storage)
            except BrokenProcessPool:  # killed while it had nothing to do
                self._drop(chance.worker)
                continue
            self._running[future] = chance
            return

    def next(self) -> Outcome:
        while True:
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            future = next(one for one in self._running if one in done)
            chance = self._running.pop(future)
            try:
                return future.result()
            except BrokenProcessPool as error:
                self._drop(chance.worker)
                if chance.attempt >= ATTEMPTS:
                    return lost(chance.task, str(error))
                self._submit(_Chance(chance.task, chance.worker, chance.attempt + 1))

    def _drop(self, worker: int) -> None:
        pool, self._pools[worker] = self._pools[worker], None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        for worker, pool in enumerate(self._pools):
            processes = list((getattr(pool, "_processes", None) or {}).values())
            self._drop(worker)
            for process in processes:
                process.terminate()
        self._running.clear()


@dataclass(frozen=True, slots=True)
class _Chance:
    """A task, the worker that has it, and how often it was begun."""

    task: Task
    worker: int
    attempt: int = 1


def _begin_worker() -> None:
    """Keep a worker's libraries off the terminal; Ctrl-C is for the process that waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _leave_with_parent() -> None:
    """End when the sweep was killed: nobody waits for this, and the next one wants the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def require_workers(workers: int) -> None:
    """Refuse a number of processes that makes no sense.

    Raises:
        InputError: If it is below 1.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: give 1 or more.")
