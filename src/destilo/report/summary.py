"""Put each model's quality, size and speed beside the teacher's and the baseline's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from destilo.records import EvalResult, Fidelity, ProfileResult, Score
from destilo.report.contents import RunContents, read_run

BASELINE_LABEL = "student without distillation"


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One model on one split, with how it stands to the teacher and the baseline.

    Attributes:
        model: ``teacher``, ``student``, ``baseline``; ``teacher-2`` ... where there are several.
        label: The same for people.
        split: Where the scores were measured.
        main_metric: The key of ``scores`` that models are compared by.
        scores: Every metric, as fractions with intervals.
        n_rows: Rows of the split.
        share_of_teacher: Main score divided by the first teacher's.
        gain: Of the student: main score less the baseline's, a fraction.
        gain_exceeds_interval: Whether ``gain`` is more than the half-width of the wider of the
            two 95% intervals.
        fidelity: To the teacher.
        profile: Size and speed; ``None``: not profiled.
        speedup_by_time: The first teacher's median time divided by this one's.
        speedup_by_macs: The same for multiply-accumulates.
    """

    model: str
    label: str
    split: str
    main_metric: str
    scores: Mapping[str, Score]
    n_rows: int
    share_of_teacher: float | None = None
    gain: float | None = None
    gain_exceeds_interval: bool | None = None
    fidelity: Fidelity | None = None
    profile: ProfileResult | None = None
    speedup_by_time: float | None = None
    speedup_by_macs: float | None = None

    @property
    def main(self) -> Score:
        return self.scores[self.main_metric]


def summary_rows(run: Path) -> list[SummaryRow]:
    """Summarise a Run: a row for each split and model, tests first, the teacher first.

    Args:
        run: The Run folder; stages that are not done leave their fields ``None``.

    Raises:
        InputError: If it is no folder, or one of its files is damaged.
    """
    return summarise(read_run(run))


def summarise(contents: RunContents) -> list[SummaryRow]:
    """Do what ``summary_rows`` does, on what was already read."""
    return [
        _row(contents, result) for split in contents.splits for result in contents.models_on(split)
    ]


def model_label(model: str) -> str:
    """Name a model for people."""
    return BASELINE_LABEL if model == "baseline" else model.replace("-", " ")


def ratio(whole: float | None, part: float | None) -> float | None:
    """Divide where both are there and the divisor is not zero."""
    return None if whole is None or not part else whole / part


def _row(contents: RunContents, result: EvalResult) -> SummaryRow:
    teacher = contents.evaluation_of("teacher", result.split)
    baseline = contents.evaluation_of("baseline", result.split)
    gain = exceeds = None
    if result.model == "student" and baseline is not None:
        gain = result.main.value - baseline.main.value
        exceeds = gain > max(result.main.half_width, baseline.main.half_width)
    profile, reference = contents.profile_of(result.model), contents.profile_of("teacher")
    by_time = by_macs = None
    if profile is not None and reference is not None:
        by_time = ratio(reference.latency_p50_ms, profile.latency_p50_ms)
        by_macs = ratio(reference.macs, profile.macs)
    return SummaryRow(
        model=result.model,
        label=model_label(result.model),
        split=result.split,
        main_metric=result.main_metric,
        scores=result.scores,
        n_rows=result.n_rows,
        share_of_teacher=ratio(result.main.value, teacher.main.value) if teacher else None,
        gain=gain,
        gain_exceeds_interval=exceeds,
        fidelity=result.fidelity,
        profile=profile,
        speedup_by_time=by_time,
        speedup_by_macs=by_macs,
    )
