"""The processes that share one training, and what they run on.

One by default, several under a launcher:
``accelerate launch --multi_gpu --num_processes 2 -m destilo run ...`` or ``torchrun
--nproc_per_node 2 -m destilo run ...`` start several, also without GPUs; ``accelerate launch
--num_processes 2`` alone starts a single one where there is no GPU.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState

from destilo.recipe.schema import TrainingSpec
from destilo.training.journal import find_tracker

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def join_processes() -> PartialState:
    """Join the processes that a launcher started; alone where there was none.

    ``accelerate`` by itself takes every process of several for the only one where there is
    neither a GPU nor its own flag for the CPU.
    """
    keep_freed_memory()
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return PartialState(cpu=launched and not torch.accelerator.is_available())


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the next step instead of giving it back.

    A step on a CPU frees and takes the same hundreds of megabytes again; by default glibc returns
    each large block to the system, whose pages are then cleared once more (``benchmarks/
    memory_reuse.py``). Where there is another C library nothing changes.

    Returns:
        Whether it was asked.
    """
    if not sys.platform.startswith("linux") or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is None:
        return False
    return bool(change(_M_MMAP_THRESHOLD, 1 << 30) and change(_M_TRIM_THRESHOLD, 2**31 - 1))


def make_accelerator(settings: TrainingSpec, *, logging_dir: Path | None = None) -> Accelerator:
    """The device, the precision and the tracker that the settings ask for.

    Raises:
        InputError: If the tracker is not installed.
    """
    # The state is one per process and refuses a second precision; each training has its own.
    join_processes()
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(
        mixed_precision="bf16" if settings.bf16 else "no",
        log_with=find_tracker(settings),
        project_dir=str(logging_dir) if logging_dir else None,
        step_scheduler_with_optimizer=False,
    )
