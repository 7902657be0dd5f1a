"""The processes that share one training: one by default, several under a launcher.

``accelerate launch --multi_gpu --num_processes 2 -m destilo run ...`` or ``torchrun
--nproc_per_node 2 -m destilo run ...`` start several, also without GPUs; ``accelerate launch
--num_processes 2`` alone starts a single one where there is no GPU.
"""

from __future__ import annotations

import os

import torch
from accelerate import PartialState


def join_processes() -> PartialState:
    """Join the processes that a launcher started; alone where there was none.

    ``accelerate`` by itself takes every process of several for the only one where there is
    neither a GPU nor its own flag for the CPU.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return PartialState(cpu=launched and not torch.accelerator.is_available())
