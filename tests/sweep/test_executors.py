"""Several processes: one that is killed costs its own task and no other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from destilo.sweep import executors
from destilo.sweep.executors import ATTEMPTS, Processes
from destilo.sweep.storage import Storage
from tests.sweep.workers import act, task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr(executors, "perform", act)
    made = Processes(Storage(str(tmp_path)), 2)
    yield made
    made.close()


def begun(root: Path) -> list[str]:
    return (root / "begun").read_text(encoding="utf-8").splitlines()


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_a_task_that_kills_its_worker_is_lost_and_the_others_are_not(
    tmp_path: Path, workers: Processes
) -> None:
    workers.submit(task("wait for it"))
    workers.submit(task("die"))
    lost = workers.next()
    assert lost.task.label == "die"
    assert lost.result.state == "failed"
    assert f"died {ATTEMPTS} times" in str(lost.result.error)
    (tmp_path / "it").touch()
    other = workers.next()
    assert (other.task.label, other.result.state) == ("wait for it", "finished")
    assert begun(tmp_path).count("die") == ATTEMPTS
    assert begun(tmp_path).count("wait for it") == 1


def test_a_worker_that_is_killed_once_begins_again(tmp_path: Path, workers: Processes) -> None:
    workers.submit(task("die once"))
    assert workers.next().result.state == "finished"
    assert begun(tmp_path) == ["die once", "die once"]


def test_a_worker_that_is_killed_while_idle_is_replaced(workers: Processes) -> None:
    workers.submit(task("one"))
    pid = workers.next().result.seed  # where the tests' workers tell who they are
    os.kill(pid, signal.SIGKILL)
    assert within(30, lambda: not is_alive(pid))
    workers.submit(task("two"))
    after = workers.next()
    assert after.result.state == "finished"
    assert after.result.seed != pid


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_workers_leave_when_the_sweep_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.sweep.workers", str(tmp_path)]
    sweep = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    told = tmp_path / "worker"
    assert within(120, lambda: told.exists() and told.read_text(encoding="utf-8") != "")
    pid = int(told.read_text(encoding="utf-8"))
    assert within(60, lambda: "wait for ever" in begun(tmp_path))
    assert is_alive(pid)
    sweep.kill()
    sweep.wait()
    assert within(60, lambda: not is_alive(pid))
