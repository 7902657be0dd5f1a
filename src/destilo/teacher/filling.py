"""Run a teacher once over every example that its cache does not hold yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from destilo.progress import Progress, Silent
from destilo.tasks.base import Example, HeadKind
from destilo.teacher.cache import (
    CacheWriter,
    TeacherCache,
    missing,
    open_cache,
    unit_logits,
)
from destilo.teacher.source import LiveTeacher
from destilo.teacher.store import held, note_use


def fill_cache(
    folder: Path,
    examples: Sequence[Example],
    *,
    teacher: LiveTeacher,
    kinds: Mapping[str, HeadKind],
    facts: Mapping[str, Any],
    precision: str = "fp16",
    batch_size: int = 64,
    rows_per_shard: int = 2048,
    progress: Progress | None = None,
) -> TeacherCache:
    """Add what is missing, longest examples first, and open the cache.

    A killed filling keeps its finished shards; damaged ones are replaced. Where another process is
    filling the cache, this one waits and then adds what is still missing, if anything is.

    Args:
        folder: Of the cache's fingerprint.
        examples: What a student will see.
        teacher: Runs in inference mode, in bfloat16 where it is set so.
        kinds: The task's heads.
        facts: What the fingerprint covers, kept for people.
        precision: Of the stored logits.
        batch_size: Examples at a time.
        rows_per_shard: Examples a file, up to the end of a batch.
        progress: Who is told how it goes.

    Raises:
        InputError: If the folder cannot be written.
        ModelError: If the logits do not fit the precision.
    """
    progress = progress or Silent()
    cache = open_cache(folder, kinds=kinds)
    if cache.damaged:
        names = ", ".join(cache.damaged)
        progress.note(f"{folder}: {names} not as written; made again", level="warning")
    if cache.damaged or missing(cache, examples, encoding=teacher.encoding):

        def waiting() -> None:
            progress.note(f"another process is filling {folder}; waiting for it", level="info")

        with held(folder, waiting=waiting):
            writer = CacheWriter(
                folder, facts=facts, precision=precision, rows_per_shard=rows_per_shard
            )
            cache = open_cache(folder, kinds=kinds)  # as it is now that nobody else writes it
            _add_missing(
                writer,
                examples,
                teacher=teacher,
                cache=cache,
                batch_size=batch_size,
                progress=progress,
            )
        cache = open_cache(folder, kinds=kinds)
    note_use(folder)
    return cache


@dataclass(frozen=True, slots=True)
class _Computed:
    """A batch whose logits may still be on their way from the device."""

    keys: list[bytes]
    units: list[NDArray[np.int64]]
    logits: Mapping[str, torch.Tensor]
    arrived: torch.cuda.Event | None

    def add_to(self, writer: CacheWriter) -> int:
        if self.arrived is not None:
            self.arrived.synchronize()
        writer.add(self.keys, self.units, self.logits)
        return len(self.keys)


def _add_missing(
    writer: CacheWriter,
    examples: Sequence[Example],
    *,
    teacher: LiveTeacher,
    cache: TeacherCache,
    batch_size: int,
    progress: Progress,
) -> None:
    wanted = missing(cache, examples, encoding=teacher.encoding)
    if not wanted:
        return
    progress.begin("teacher's outputs", len(wanted))
    try:
        with torch.inference_mode():
            before: _Computed | None = None
            for batch in _batches(wanted, batch_size):
                after = _compute(batch, teacher, cache.kinds)
                if before is not None:  # kept while a device is at work on the next one
                    progress.advance(before.add_to(writer))
                before = after
            if before is not None:
                progress.advance(before.add_to(writer))
            writer.flush()
    finally:
        progress.end()


def _batches(wanted: Mapping[bytes, Example], size: int) -> Iterator[dict[bytes, Example]]:
    items = iter(wanted.items())
    while batch := dict(islice(items, size)):
        yield batch


def _compute(
    batch: Mapping[bytes, Example], teacher: LiveTeacher, kinds: Mapping[str, HeadKind]
) -> _Computed:
    device = next(teacher.model.parameters()).device
    examples = list(batch.values())
    outputs = teacher.outputs(teacher.inputs(examples, device))
    units, values = unit_logits(outputs, teacher.encodings(examples), kinds)
    logits = {name: value.to("cpu", non_blocking=True) for name, value in values.items()}
    arrived = None
    if device.type == "cuda":
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch gives no types here
        arrived.record()
    return _Computed(list(batch), units, logits, arrived)
