"""The table at a run's end: readable in a narrow terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from destilo.cli import results
from destilo.pipeline.results import RunResult
from destilo.records import EvalResult, Machine, ProfileResult, Record, Score
from destilo.runs import write_json

MODELS = ("teacher", "teacher-2", "student", "baseline")


def _evaluation(model: str, value: float) -> EvalResult:
    score = Score(value=value, low=value - 0.282, high=value + 0.282, n=500)
    names = ("precision", "macro_f1", "recall")
    return EvalResult(
        model=model,
        split="test",
        main_metric="precision",
        scores=dict.fromkeys(names, score),
        n_rows=500,
    )


def _profile(model: str) -> ProfileResult:
    machine = Machine(
        platform="a", processor="b", cpu_count=2, device="cpu", python="3", torch="2", threads=1
    )
    return ProfileResult(
        model=model,
        parameters=110_000_000,
        embedding_parameters=1,
        macs=85_000_000_000,
        macs_without_attention=1,
        size_mb=1.0,
        batch_size=1,
        sequence_length=8,
        threads=1,
        latency_p50_ms=1234.5,
        latency_p95_ms=1234.5,
        latency_mean_ms=1234.5,
        throughput_per_s=1.0,
        n_samples=5,
        n_warmup=1,
        peak_memory_mb=1.0,
        machine=machine,
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_holds_a_model_a_line(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = [_evaluation(model, 0.333) for model in MODELS]
    profiles = [_profile(model) for model in MODELS]
    write_json(tmp_path / "manifest.json", {"format": 1, "stages": {}})
    kinds: tuple[tuple[str, Sequence[Record]], ...]
    kinds = (("evaluation", evaluations), ("profile", profiles))
    for name, records in kinds:
        found = [one.model_dump(mode="json") for one in records]
        write_json(tmp_path / f"{name}.json", {"results": found})
    written = io.StringIO()
    monkeypatch.setattr(results, "output_console", lambda: Console(file=written, width=width))
    results.show_result(RunResult(tmp_path, tuple(evaluations), tuple(profiles)), as_json=False)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(lines[1].split()) == "model precision macro_f1 params MACs ms p50 speed"
    for model, line in zip(MODELS, lines[2:], strict=False):
        assert line.startswith(model.replace("-", " "))
        assert line.count("33.3 ± 28.2") == 2
        assert line.endswith("1.0x")
    assert "baseline: the student without distillation" in lines[6]
    assert "distillation: +0.00 points of precision" in lines[7]
