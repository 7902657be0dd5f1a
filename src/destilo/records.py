"""Typed records of what was measured; units in field names; JSON in the Run."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

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


TimingProtocol: TypeAlias = Literal["destilo", "speedy-gonzales"]


class ProfileResult(Record):
    """Size and speed of one model at one input shape.

    Attributes:
        macs: Multiply-accumulates of all matrix products, attention products included.
        macs_without_attention: The same without QK^T and AV (what module counters see).
        size_mb: Weights on disk, 1 MB = 10^6 bytes.
        latency_p50_ms: Median over ``n_samples`` timed forward passes of one batch.
        throughput_per_s: Rows per second at this shape, from the median.
        peak_memory_mb: Peak resident (CPU) or allocated (CUDA) memory during the passes.
        macs_of_modules: What a counter of modules reports (THOP), for comparison with papers.
        protocol: ``speedy-gonzales``: the next two fields are filled as well.
        n_kept: Samples that the paper's filter left.
        paper_inferences_per_s: Passes per second by the mean of those samples.
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
    macs_of_modules: int | None = None
    protocol: TimingProtocol = "destilo"
    n_kept: int | None = None
    paper_inferences_per_s: float | None = None


Role: TypeAlias = Literal["teacher", "student"]
TrialStage: TypeAlias = Literal["finetune", "distil"]
TrialState: TypeAlias = Literal["planned", "finished", "pruned", "failed"]


class CollectionDataset(Record):
    """A data set of a collection.

    Attributes:
        task: As in a recipe.
        main_metric: The score that stands for it in a mean over data sets.
        tests: Its test splits (``test``, ``test-NAME``), or ``validation`` where it has none.
    """

    name: str
    task: str
    main_metric: str
    tests: tuple[str, ...]


class TrialResult(Record):
    """One training of a collection: a Run folder of its own.

    Attributes:
        trial: Digest of its recipe, which is also the name of its folder under ``trials``.
        stage: ``finetune``: on gold labels; ``distil``: following ``teacher``.
        model: Its name in the collection, such as ``beto-cased`` or ``albeto-base-4``.
        role: Whether it was tried as a candidate teacher or as a student.
        teacher: The name of the teacher it followed.
        settings: What the grid or the search chose, by recipe key.
        selected: Whether it is the best of its data set, stage, model and seed.
        select_by: The validation metric that trials are compared by.
        validation: Metrics of the chosen checkpoint, with ``validation_loss``.
        tests: Per test split, each metric with its interval.
        profile: Size and speed; of selected trials.
        seconds: Per stage of the Run.
        error: Why it failed.
    """

    trial: str
    stage: TrialStage
    dataset: str
    model: str
    role: Role
    teacher: str | None = None
    settings: dict[str, Any] = {}
    seed: int
    state: TrialState
    selected: bool = False
    select_by: str = "validation_loss"
    validation: dict[str, float] = {}
    tests: dict[str, dict[str, Score]] = {}
    profile: ProfileResult | None = None
    seconds: dict[str, float] = {}
    error: str | None = None


class Collection(Record):
    """What a sweep has done so far: ``results.json`` in its folder.

    Attributes:
        reference: The model that speed-ups are relative to.
        selected_teachers: Per data set, the candidate that the students follow.
    """

    name: str
    reference: str
    datasets: tuple[CollectionDataset, ...]
    teachers: tuple[str, ...]
    students: tuple[str, ...]
    selected_teachers: dict[str, str] = {}
    trials: tuple[TrialResult, ...] = ()
