"""Typed records of what was measured; units in field names; JSON in the Run."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record that reads back exactly what it wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)


class Score(Record):
    """A metric with its bootstrap 95% interval over ``n`` rows.

    Values are fractions from 0 to 1 (multiply by 100 for the papers' points).
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


class Fidelity(Record):
    """How closely a student follows its teacher on the same windows.

    Attributes:
        agreement: Share of units where both have the same highest class.
        mean_kl_nats: Mean KL(teacher || student) per unit, in nats.
        n_units: Units compared.
    """

    agreement: float
    mean_kl_nats: float
    n_units: int


class EvalResult(Record):
    """One model on one split.

    Attributes:
        model: ``teacher``, ``student`` or ``baseline`` (the student without distillation).
        split: ``validation``, ``test`` or ``test-NAME``.
        main_metric: The key of ``scores`` that models are compared by.
        settings: What decoding used (threshold, maximum answer length, ...).
        fidelity: To the teacher, where there is one.
    """

    model: str
    split: str
    main_metric: str
    scores: dict[str, Score]
    n_rows: int
    settings: dict[str, Any] = {}
    fidelity: Fidelity | None = None

    @property
    def main(self) -> Score:
        return self.scores[self.main_metric]


class Machine(Record):
    """Where something was measured."""

    platform: str
    processor: str
    cpu_count: int
    device: str
    python: str
    torch: str
    threads: int


class ProfileResult(Record):
    """Size and speed of one model at one input shape.

    Attributes:
        macs: Multiply-accumulates of all matrix products, attention products included.
        macs_without_attention: The same without QK^T and AV (what module counters see).
        size_mb: Weights on disk, 1 MB = 10^6 bytes.
        latency_p50_ms: Median over ``n_samples`` timed forward passes of one batch.
        throughput_per_s: Rows per second at this shape, from the median.
        peak_memory_mb: Peak resident (CPU) or allocated (CUDA) memory during the passes.
    """

    model: str
    parameters: int
    embedding_parameters: int
    macs: int
    macs_without_attention: int
    size_mb: float
    batch_size: int
    sequence_length: int
    threads: int
    latency_p50_ms: float
    latency_p95_ms: float
    latency_mean_ms: float
    throughput_per_s: float
    n_samples: int
    n_warmup: int
    peak_memory_mb: float
    machine: Machine
