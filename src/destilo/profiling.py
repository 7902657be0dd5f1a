"""Size and speed of models: latency and memory, beside what ``destilo.counting`` counts.

Times are taken on this machine, several models turn about (A B C A B C ...), so that a
neighbour's noise falls on all of them and their ratios hold. No sample is dropped.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from destilo.counting import (
    Inputs,
    Macs,
    build_inputs,
    count_embedding_parameters,
    count_macs,
    count_module_macs,
    count_parameters,
    max_sequence_length,
)
from destilo.errors import InputError
from destilo.records import Machine, ProfileResult, TimingProtocol
from destilo.timing import filter_timing

__all__ = [
    "MEGABYTE",
    "Inputs",
    "Macs",
    "build_inputs",
    "count_embedding_parameters",
    "count_macs",
    "count_module_macs",
    "count_parameters",
    "describe_machine",
    "max_sequence_length",
    "profile_model",
    "profile_models",
    "require_device",
]

MEGABYTE = 1_000_000


def profile_model(
    model: nn.Module,
    *,
    name: str,
    batch_size: int,
    sequence_length: int,
    threads: int,
    samples: int = 50,
    warmup: int = 10,
    device: str = "cpu",
    size_mb: float | None = None,
) -> ProfileResult:
    """Profile one transformers model; see `profile_models`, which this calls.

    Args:
        model: A transformers model; its mode and device are restored afterwards.
        name: What the result calls the model.
        batch_size: Rows per pass.
        sequence_length: Positions per row, all of them real.
        threads: Threads of one operator, restored afterwards.
        samples: Timed passes.
        warmup: Passes before them that are not timed.
        device: Where to measure, such as ``cpu`` or ``cuda``.
        size_mb: Size of the weights on disk, where they were saved; else that of the tensors.

    Returns:
        The record for the Run.

    Raises:
        InputError: The model has fewer positions than ``sequence_length``.
    """
    results = profile_models(
        {name: model},
        batch_size=batch_size,
        sequence_length=sequence_length,
        threads=threads,
        samples=samples,
        warmup=warmup,
        device=device,
        sizes_mb={} if size_mb is None else {name: size_mb},
    )
    return results[0]


def profile_models(
    models: Mapping[str, nn.Module],
    *,
    batch_size: int,
    sequence_length: int,
    threads: int,
    samples: int = 50,
    warmup: int = 10,
    device: str = "cpu",
    sizes_mb: Mapping[str, float] | None = None,
    protocol: TimingProtocol = "destilo",
) -> tuple[ProfileResult, ...]:
    """Profile several models turn about, one pass each, so that their ratios hold.

    Peak memory is that of the whole process while the model's own passes run: models that are
    measured together are all loaded, and so all counted.

    Args:
        models: Transformers models by the name the results will carry.
        batch_size: Rows per pass.
        sequence_length: Positions per row, all of them real.
        threads: Threads of one operator, restored afterwards.
        samples: Timed passes per model.
        warmup: Passes per model before them that are not timed.
        device: Where to measure, such as ``cpu`` or ``cuda``.
        sizes_mb: Sizes on disk by model name; the tensors' size for names that are missing.
        protocol: ``speedy-gonzales`` adds that paper's inferences per second to the record; it
            does not change how many passes are timed.

    Returns:
        One record per model, in the order given.

    Raises:
        InputError: A model has fewer positions than ``sequence_length``, a number is not
            positive, or the device is not there.
    """
    for key, value in _counts(batch_size, sequence_length, threads, samples).items():
        if value < 1:
            raise InputError(f"profile.{key} is {value}; it must be at least 1.")
    for name, model in models.items():
        _check_positions(model, name=name, sequence_length=sequence_length)

    require_device(device)
    target = torch.device(device)
    with _threads(threads), _in_eval_mode(models, target):
        probes = [
            _Probe(model, build_inputs(model, batch_size, sequence_length), target)
            for model in models.values()
        ]
        gc.collect()
        for turn in range(warmup + samples):
            for probe in probes:
                probe.run(timed=turn >= warmup)

    machine = describe_machine(device=device, threads=threads)
    results = []
    for (name, model), probe in zip(models.items(), probes, strict=True):
        macs = count_macs(model, sequence_length)
        p50, p95 = np.percentile(probe.samples_ms, [50, 95])
        paper = filter_timing(probe.samples_ms) if protocol == "speedy-gonzales" else None
        results.append(
            ProfileResult(
                model=name,
                parameters=count_parameters(model),
                embedding_parameters=count_embedding_parameters(model),
                macs=macs.total,
                macs_without_attention=macs.total - macs.attention,
                macs_of_modules=count_module_macs(model, sequence_length),
                size_mb=(sizes_mb or {}).get(name, _tensor_size_mb(model)),
                batch_size=batch_size,
                sequence_length=sequence_length,
                threads=threads,
                latency_p50_ms=float(p50),
                latency_p95_ms=float(p95),
                latency_mean_ms=float(np.mean(probe.samples_ms)),
                throughput_per_s=batch_size * 1000 / float(p50),
                n_samples=samples,
                n_warmup=warmup,
                peak_memory_mb=probe.peak_memory_mb,
                machine=machine,
                protocol=protocol,
                n_kept=paper.n_kept if paper else None,
                paper_inferences_per_s=paper.inferences_per_s if paper else None,
            )
        )
    return tuple(results)


def describe_machine(*, device: str, threads: int) -> Machine:
    """Describe where measurements are taken, for the record."""
    kind = torch.device(device)
    named = f"{device} ({torch.cuda.get_device_name(kind)})" if kind.type == "cuda" else device
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return Machine(
        platform=platform.platform(),
        processor=_processor_name(),
        cpu_count=len(affinity(0)) if affinity else os.cpu_count() or 1,
        device=named,
        python=platform.python_version(),
        torch=str(torch.__version__),
        threads=threads,
    )


def _processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


@dataclass
class _Probe:
    """One model under measurement."""

    model: nn.Module
    inputs: Inputs
    device: torch.device
    samples_ms: list[float] = field(default_factory=list)
    peak_memory_mb: float = 0.0

    def __post_init__(self) -> None:
        self.inputs = {key: value.to(self.device) for key, value in self.inputs.items()}

    def run(self, *, timed: bool) -> None:
        _reset_peak_memory(self.device)
        with torch.inference_mode():
            self._synchronise()
            start = time.perf_counter()
            self.model(**self.inputs)
            self._synchronise()
            elapsed_ms = (time.perf_counter() - start) * 1000
        self.peak_memory_mb = max(self.peak_memory_mb, _peak_memory_mb(self.device))
        if timed:
            self.samples_ms.append(elapsed_ms)

    def _synchronise(self) -> None:
        # Kernels run behind the host's back; without this only their launch would be timed.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Where this is refused, the mark stays that of the process's whole life.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # 5: the high-water mark alone


def _peak_memory_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def _tensor_size_mb(model: nn.Module) -> float:
    return sum(p.numel() * p.element_size() for p in model.parameters()) / MEGABYTE


def _check_positions(model: nn.Module, *, name: str, sequence_length: int) -> None:
    limit = max_sequence_length(model)
    if limit is not None and sequence_length > limit:
        raise InputError(
            f"profile.sequence_length is {sequence_length}, but the {name} has only {limit} "
            f"positions. Set profile.sequence_length to {limit} or less."
        )


def require_device(device: str) -> None:
    """Refuse a device that torch does not find.

    Raises:
        InputError: If it is ``cuda`` and there is none.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"profile.device is {device}, but torch finds no CUDA device here. Set profile.device "
            "to cpu, or run where there is one."
        )


def _counts(batch_size: int, sequence_length: int, threads: int, samples: int) -> dict[str, int]:
    return {
        "batch_size": batch_size,
        "sequence_length": sequence_length,
        "threads": threads,
        "samples": samples,
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _in_eval_mode(models: Mapping[str, nn.Module], device: torch.device) -> Iterator[None]:
    """Put the models in eval mode on the device, and back as they were."""
    before = [(model, model.training, next(model.parameters()).device) for model in models.values()]
    try:
        for model, _, _ in before:
            model.eval().to(device)
        yield
    finally:
        for model, training, home in before:
            model.train(training).to(home)
