"""Run a teacher once over every example that its cache does not hold yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from destilo.progress import Progress, Silent
from destilo.tasks.base import Example, HeadKind
from destilo.teacher.cache import (
    CacheWriter,
    TeacherCache,
    example_key,
    missing,
    open_cache,
    rows_of_batch,
)
from destilo.teacher.source import LiveTeacher


def fill_cache(
    folder: Path,
    examples: Sequence[Example],
    *,
    teacher: LiveTeacher,
    kinds: Mapping[str, HeadKind],
    n_classes: int,
    facts: Mapping[str, Any],
    precision: str = "fp16",
    batch_size: int = 64,
    rows_per_shard: int = 2048,
    progress: Progress | None = None,
) -> TeacherCache:
    """Add what is missing, longest examples first, and open the cache.

    A killed filling keeps its finished shards; damaged ones are replaced.

    Args:
        folder: Of the cache's fingerprint.
        examples: What a student will see.
        teacher: Runs in inference mode, in bfloat16 where it is set so.
        kinds: The task's heads.
        n_classes: Of the heads with classes.
        facts: What the fingerprint covers, kept for people.
        precision: Of the stored logits.
        batch_size: Examples at a time.
        rows_per_shard: Examples a file.
        progress: Who is told how it goes.

    Raises:
        InputError: If another process is filling this cache.
    """
    progress = progress or Silent()
    cache = open_cache(folder, kinds=kinds, n_classes=n_classes)
    if cache.damaged:
        progress.note(
            f"{folder}: {', '.join(cache.damaged)} not as written; made again", level="warning"
        )
    wanted = missing(cache, examples, encoding=teacher.encoding)
    if not wanted and not cache.damaged:
        return cache
    device = next(teacher.model.parameters()).device
    writer = CacheWriter(folder, facts=facts, precision=precision, rows_per_shard=rows_per_shard)
    progress.begin("teacher's outputs", len(wanted))
    try:
        with writer, torch.inference_mode():
            for start in range(0, len(wanted), batch_size):
                batch = [examples[number] for number in wanted[start : start + batch_size]]
                outputs = teacher.outputs(teacher.inputs(batch, device))
                theirs = teacher.encodings(batch)
                rows = rows_of_batch(outputs, theirs, kinds)
                for encoding, row in zip(theirs, rows, strict=True):
                    writer.add(example_key(encoding), row)
                progress.advance(len(batch))
    finally:
        progress.end()
    return open_cache(folder, kinds=kinds, n_classes=n_classes)
