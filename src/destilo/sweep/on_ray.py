"""The tasks of a sweep on a Ray cluster: an extra, for where one machine is not enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from destilo.errors import InputError
from destilo.sweep.executors import ATTEMPTS, lost
from destilo.sweep.storage import Storage
from destilo.sweep.work import Outcome, Task, perform


@dataclass(frozen=True, slots=True)
class Resources:
    """What one trial takes of the cluster.

    Attributes:
        cpus: Cores; a trial's recipe says how many threads it uses.
        gpus: A fraction lets trials share one.
    """

    cpus: float = 1.0
    gpus: float = 0.0


class OnRay:
    """Sends tasks to a Ray cluster and starts those again whose node has died.

    Args:
        storage: Seen by every node: a shared folder, or an object store.
        address: ``auto``, ``ray://HOST:PORT`` or ``HOST:PORT``; ``None`` starts one here.
        resources: Of each trial.
        begun: Called with each task that is sent.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        address: str | None = None,
        resources: Resources | None = None,
        begun: Callable[[Task], None] | None = None,
    ) -> None:
        self._ray = _import_ray()
        self._resources = resources = resources or Resources()
        self._storage, self._begun = storage, begun
        self._running: dict[Any, Task] = {}
        self._own = not self._ray.is_initialized()
        if self._own:
            try:
                self._ray.init(
                    address=address,
                    log_to_driver=False,
                    include_dashboard=False,
                    logging_level="ERROR",
                )
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise InputError(
                    f"--address {address}: no Ray cluster answers there ({error}). "
                    "Start one with `ray start --head`."
                ) from None
        self._perform = self._ray.remote(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_retries=ATTEMPTS - 1,
            scheduling_strategy="SPREAD",
        )(_on_worker)

    def capacity(self) -> int:
        """As many as the cluster has room for, and some that wait there."""
        total = self._ray.cluster_resources()
        rooms = [total.get("CPU", 0) / self._resources.cpus if self._resources.cpus else 1e9]
        if self._resources.gpus:
            rooms.append(total.get("GPU", 0) / self._resources.gpus)
        return max(1, int(min(rooms) * 1.5))

    def submit(self, task: Task) -> None:
        if self._begun is not None:
            self._begun(task)
        self._running[self._perform.remote(task, self._storage)] = task

    def next(self) -> Outcome:
        done, _ = self._ray.wait(list(self._running), num_returns=1)
        task = self._running.pop(done[0])
        try:
            outcome: Outcome = self._ray.get(done[0])
        except self._ray.exceptions.RaySystemError as error:
            return lost(task, type(error).__name__)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:  # its node or worker died each time
            return lost(task, type(error).__name__)
        return outcome

    def close(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._own:
            self._ray.shutdown()


def _on_worker(task: Task, storage: Storage) -> Outcome:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return perform(task, storage)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError('--executor ray needs Ray: pip install "destilo[ray]"') from None
    return ray
