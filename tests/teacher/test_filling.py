"""Several processes on one cache: they wait for each other, and a killed one costs nothing."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from destilo.progress import Silent
from destilo.tasks.base import Example
from destilo.teacher.cache import example_key, missing, open_cache
from destilo.teacher.filling import fill_cache
from destilo.teacher.source import LiveTeacher
from destilo.teacher.store import is_held, read_listing, verify
from tests.teacher.test_alignment import TAGGING
from tests.teacher.test_cache import filled, live, made

torch.set_num_threads(1)
OPTIONS = {"precision": "fp16", "batch_size": 2, "rows_per_shard": 3}


class Acting(torch.nn.Module):
    """A model that does something before its n-th call (from 1)."""

    def __init__(self, model: torch.nn.Module, call: int, action: object) -> None:
        super().__init__()
        self.model, self.call, self.action, self.calls = model, call, action, 0

    def forward(self, **inputs: torch.Tensor) -> object:
        self.calls += 1
        if self.calls == self.call:
            self.action()  # type: ignore[operator]  # a function
        return self.model(**inputs)


class Told(Silent):
    """Keeps the notes, and lets the other process go on when this one begins to wait."""

    def __init__(self, go: Path | None = None) -> None:
        self.notes: list[str] = []
        self.go = go

    def note(self, message: str, *, level: str = "info") -> None:
        del level
        self.notes.append(message)
        if self.go is not None and "waiting" in message:
            self.go.touch()


def acting(call: int, action: object) -> LiveTeacher:
    teacher = live("tags", "wordpiece")
    return LiveTeacher(
        Acting(teacher.model, call, action), ("label",), 1, teacher.alignment, teacher.pad_id
    )


def _fill_elsewhere(
    folder: Path, examples: list[Example], call: int, ready: Path, go: Path | None, die: bool
) -> None:
    torch.set_num_threads(1)

    def pause() -> None:
        ready.touch()
        while go is not None and not go.exists():
            time.sleep(0.01)
        if die:
            os.kill(os.getpid(), signal.SIGKILL)

    filled(folder, "tags", examples, acting(call, pause), **OPTIONS)


def elsewhere(*arguments: object) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_fill_elsewhere, args=arguments)
    process.start()
    return process


def wait_for(path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear within a minute")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_killed_filling_goes_on_to_the_very_same_files(call: int, tmp_path: Path) -> None:
    examples = made("tags", "unigram", "wordpiece")
    filled(tmp_path / "whole", "tags", examples, live("tags", "wordpiece"), **OPTIONS)
    folder = tmp_path / "killed"
    process = elsewhere(folder, examples, call, tmp_path / "ready", None, True)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not is_held(folder)  # the system has freed it
    kept = content(folder)
    assert len(kept) == max(0, (call - 2) // 2)  # two batches a shard, the last one in the making
    cache = filled(folder, "tags", examples, live("tags", "wordpiece"), **OPTIONS)
    assert not missing(cache, examples, encoding=1)
    assert content(folder) == content(tmp_path / "whole")
    assert kept.items() <= content(folder).items()
    assert verify(folder).whole


@pytest.mark.parametrize("die", [False, True])
def test_a_second_process_waits_and_reads_what_the_first_one_made(
    die: bool, tmp_path: Path
) -> None:
    examples = made("tags", "unigram", "wordpiece")
    folder, ready, go = tmp_path / "cache", tmp_path / "ready", tmp_path / "go"
    process = elsewhere(folder, examples, 4, ready, go, die)
    wait_for(ready)
    assert is_held(folder)
    before = open_cache(folder, kinds=TAGGING.heads)  # readers need not wait
    assert 0 < len(before) < len(examples)
    mine, told = acting(0, None), Told(go)
    cache = fill_cache(
        folder,
        examples,
        teacher=mine,
        kinds=TAGGING.heads,
        facts={},
        progress=told,
        **OPTIONS,  # type: ignore[arg-type]
    )
    process.join()
    assert process.exitcode == (-signal.SIGKILL if die else 0)
    assert sum("waiting" in note for note in told.notes) == 1
    assert bool(mine.model.calls) == die  # what the first one has finished is not done again
    assert not missing(cache, examples, encoding=1)
    assert all(key in cache for key in before._places)


def test_many_readers_while_one_writes(tmp_path: Path) -> None:
    examples = made("tags", "unigram", "wordpiece")
    expected = filled(tmp_path / "whole", "tags", examples, live("tags", "wordpiece"), **OPTIONS)
    folder, done = tmp_path / "cache", threading.Event()
    wrong: list[object] = []
    keys = [example_key(example.encodings[1]) for example in examples]

    def read() -> None:
        while not done.is_set():
            cache = open_cache(folder, kinds=TAGGING.heads)
            for key in keys:
                if key in cache:
                    mine, theirs = cache.row(key), expected.row(key)
                    if (mine.logits["label"] != theirs.logits["label"]).any():
                        wrong.append(key)
            wrong.extend(cache.damaged)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    filled(folder, "tags", examples, live("tags", "wordpiece"), **OPTIONS)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert read_listing(folder).shards.keys() == read_listing(tmp_path / "whole").shards.keys()
