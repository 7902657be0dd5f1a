"""Reports: every figure comes from the Run's files, and what is missing is said in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from destilo.errors import InputError
from destilo.report import build_report, combine_runs, summary_rows

SCORES = {"teacher": 0.90, "student": 0.86, "baseline": 0.80}
LATENCIES = {"teacher": 12.0, "student": 4.0, "baseline": 4.1}


def score(value: float, *, half_width: float = 0.02, n: int = 500) -> dict[str, Any]:
    return {"value": value, "low": value - half_width, "high": value + half_width, "n": n}


def evaluation(model: str, split: str, value: float, *, half_width: float = 0.02) -> dict[str, Any]:
    return {
        "model": model,
        "split": split,
        "main_metric": "f1",
        "scores": {
            "exact_match": score(value - 0.1, half_width=half_width),
            "f1": score(value, half_width=half_width),
        },
        "n_rows": 500,
        "settings": {"no_answer": True, "no_answer_threshold": 0.25},
        "fidelity": None
        if model == "teacher"
        else {"agreement": 0.913, "mean_kl_nats": 0.0456, "n_units": 1000},
    }


def profile(model: str) -> dict[str, Any]:
    large = model == "teacher"
    return {
        "model": model,
        "parameters": 12_000_000 if large else 5_000_000,
        "embedding_parameters": 3_000_000,
        "macs": 1_200_000_000 if large else 300_000_000,
        "macs_without_attention": 1_000_000_000 if large else 250_000_000,
        "size_mb": 48.0 if large else 20.0,
        "batch_size": 1,
        "sequence_length": 128,
        "threads": 1,
        "latency_p50_ms": LATENCIES[model],
        "latency_p95_ms": LATENCIES[model] * 1.2,
        "latency_mean_ms": LATENCIES[model] * 1.05,
        "throughput_per_s": 1000 / LATENCIES[model],
        "n_samples": 50,
        "n_warmup": 10,
        "peak_memory_mb": 700.0,
        "machine": {
            "platform": "Linux",
            "processor": "A Processor",
            "cpu_count": 2,
            "device": "cpu",
            "python": "3.11",
            "torch": "2.13",
            "threads": 1,
        },
    }


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value)
    path.write_text(text, encoding="utf-8")


def make_run(
    path: Path, *, seed: int = 13, layers: int = 3, scores: dict[str, float] | None = None
) -> Path:
    scores = SCORES if scores is None else scores
    recipe = {
        "name": "qa-es",
        "task": "question-answering",
        "training": {"seed": seed},
        "student": {"from": "layers", "layers": layers},
        "evaluation": {"baseline": True},
    }
    write(path / "recipe.yaml", json.dumps(recipe))  # JSON is YAML
    results = [
        evaluation(model, split, value - (0.01 if split == "validation" else 0.0))
        for split in ("validation", "test")
        for model, value in reversed(scores.items())
    ]
    write(path / "evaluation.json", {"results": results})
    write(path / "profile.json", {"results": [profile(model) for model in scores]})
    stages = {"student": {"key": "k", "outputs": [], "seconds": 75.2, "finished_at": "2026-01-02"}}
    write(path / "manifest.json", {"recipe": "abc123", "destilo": "0.1.0", "stages": stages})
    leak = {
        "first": "train",
        "second": "test",
        "unit": "context",
        "kind": "exact",
        "count": 7,
        "long_count": 6,
        "share_of_second": 0.014,
        "examples": ["a"],
    }
    data = {
        "splits": {"train": {"rows": 4321, "notes": ["2 answers repaired | see ids"]}},
        "labels": ["B-PER", "O"],
        "leaks": [leak],
    }
    write(path / "data.json", data)
    write(
        path / "preflight.json",
        {
            "metric": "f1",
            "teacher_scores": [0.89],
            "chance": 0.1,
            "start": {"kl": 2.5},
            "warnings": ["Something odd."],
        },
    )
    write(
        path / "training" / "student" / "log.jsonl",
        '{"step": 40, "loss": 0.5, "terms": {"kl": 1.0}}\n'
        '{"step": 40, "validation": {"f1": 0.8}, "best": true}\n',
    )
    return path


def test_a_whole_run_is_reported(tmp_path: Path) -> None:
    files = build_report(make_run(tmp_path / "run"))
    text = files.report.read_text(encoding="utf-8")
    assert files.picture is not None
    assert files.picture.is_file()
    for expected in (
        "# qa-es",
        "f1 86.00 [84.00, 88.00]",
        "95.6% of the teacher's 90.00",  # 0.86 / 0.90
        "gains 6.00 points over the same student without it, more than the interval's half-width",
        "| student without distillation | 80.00 [78.00, 82.00] | 70.00 [68.00, 72.00] | 500 |",
        "| student | 5.00M | 3.00M | 20.0 | 300M | 250M | 2.40x | 4.00x |",
        "| student | 4.00 | 4.80 | 4.20 | 250 | 700 | 3.00x |",  # 12 ms / 4 ms
        "batch 1 × 128 positions, 1 thread, cpu on A Processor",
        "| student | test | 91.3% | 0.046 | 1,000 |",
        "| train | 4,321 |",
        "2 answers repaired",
        "| test in train | context | exact | 7 | 1.4% |",
        "**Warning:** Something odd.",
        "| student | 40 | 40 | 0.5000 |",
        "- seed: 13",
        "`abc123`",
        "1 min 15 s",
        "No-answer threshold, tuned on validation: teacher 0.25",
    ):
        assert expected in text, expected
    assert text.index("### test") < text.index("### validation")
    assert "nan" not in text


def test_a_gain_within_the_interval_is_called_that(tmp_path: Path) -> None:
    run = make_run(tmp_path, scores={"teacher": 0.9, "student": 0.81, "baseline": 0.80})
    text = build_report(run).report.read_text(encoding="utf-8")
    assert "gains 1.00 points over the same student without it, not more than" in text
    run = make_run(tmp_path, scores={"teacher": 0.9, "student": 0.75, "baseline": 0.80})
    text = build_report(run).report.read_text(encoding="utf-8")
    assert "loses 5.00 points against the same student without it, more than" in text


FILES = (
    "manifest.json",
    "recipe.yaml",
    "data.json",
    "preflight.json",
    "evaluation.json",
    "profile.json",
    "training/student/log.jsonl",
)
MISSING = {
    "data.json": "Not recorded: there is no `data.json`",
    "preflight.json": "no distillation was started",
    "evaluation.json": "Not evaluated: there is no `evaluation.json`",
    "profile.json": "Not profiled: there is no `profile.json`",
    "training/student/log.jsonl": "there is no training log",
}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_said_in_words(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path)
    build_report(run)
    (run / name).unlink()
    files = build_report(run)
    assert MISSING.get(name, "# ") in files.report.read_text(encoding="utf-8")
    without_picture = name in ("evaluation.json", "profile.json")
    assert (files.picture is None) == without_picture
    assert (run / "quality_speed.png").exists() != without_picture  # no stale picture stays


def test_an_empty_folder_is_reported_as_empty(tmp_path: Path) -> None:
    files = build_report(tmp_path)
    text = files.report.read_text(encoding="utf-8")
    assert files.picture is None
    assert "The student has not been evaluated yet" in text
    assert all(sentence in text for sentence in MISSING.values())
    assert summary_rows(tmp_path) == []


@pytest.mark.parametrize("absent", ["teacher", "baseline", "student"])
def test_a_missing_model_is_said_in_words(tmp_path: Path, absent: str) -> None:
    scores = {model: value for model, value in SCORES.items() if model != absent}
    text = build_report(make_run(tmp_path, scores=scores)).report.read_text(encoding="utf-8")
    expected = {
        "teacher": "No teacher to compare with",
        "baseline": "No student without distillation: it was not trained",
        "student": "The student has not been evaluated yet",
    }
    assert expected[absent] in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation.json", '{"results": [{"model": "student"'),
        ("evaluation.json", '{"results": [{"model": "student"}]}'),
        ("profile.json", '{"results": 3}'),
        ("data.json", "[]"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, name: str, content: str) -> None:
    run = make_run(tmp_path)
    write(run / name, content)
    with pytest.raises(InputError, match=rf"{name} is damaged .*Delete that file"):
        build_report(run)


@pytest.mark.parametrize(
    ("leak_check", "said"),
    [("off", "`data.leak_check` is off"), ("warn", "No row of an evaluation split was found")],
)
def test_no_leak_found_and_none_looked_for_are_told_apart(
    leak_check: str, said: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    write(run / "data.json", {"splits": {"train": {"rows": 1}}, "labels": ["O"], "leaks": []})
    write(run / "recipe.yaml", {"data": {"leak_check": leak_check}})
    section = build_report(run).report.read_text(encoding="utf-8").split("## ")
    data = next(part for part in section if part.startswith("Data"))
    assert said in data
    assert ("off" in data) == (leak_check == "off")


def test_only_what_holds_for_the_recipe_is_listed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    log = (run / "training/student/log.jsonl").read_text(encoding="utf-8")
    for name in ("teacher", "student-stage-1", "student-stage-2", "baseline"):
        write(run / "training" / name / "log.jsonl", log)
    manifest = json.loads((run / "manifest.json").read_text())
    for stage in ("teacher", "baseline"):
        manifest["stages"][stage] = manifest["stages"]["student"]
    manifest["plan"] = {
        "teacher": {"key": "another", "trainings": ["teacher"]},
        "student": {"key": "k", "trainings": ["student-stage-1", "student"]},
    }
    write(run / "manifest.json", manifest)
    text = build_report(run).report.read_text(encoding="utf-8")
    training = text.split("## Training")[1].split("## ")[0]
    listed = [line.split("|")[1].strip() for line in training.splitlines() if "| 40 |" in line]
    assert listed == ["student", "student stage 1"]
    stages = [line for line in text.splitlines() if "2026-01-02" in line]
    assert [line.split("|")[1].strip() for line in stages] == ["student"]


def test_a_run_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        build_report(tmp_path / "nowhere")


def test_summary_rows_stand_beside_teacher_and_baseline(tmp_path: Path) -> None:
    rows = summary_rows(make_run(tmp_path))
    assert [(row.split, row.model) for row in rows] == [
        (split, model)
        for split in ("test", "validation")
        for model in ("teacher", "student", "baseline")
    ]
    teacher, student, baseline = rows[:3]
    assert teacher.share_of_teacher == 1.0
    assert student.share_of_teacher == pytest.approx(0.86 / 0.90)
    assert student.gain == pytest.approx(0.06)
    assert student.gain_exceeds_interval is True
    assert teacher.gain is None
    assert baseline.gain is None
    assert student.speedup_by_time == pytest.approx(3.0)
    assert student.speedup_by_macs == pytest.approx(4.0)
    assert student.main.n == 500
    assert set(student.scores) == {"f1", "exact_match"}
    assert baseline.label == "student without distillation"


def test_seeds_of_one_recipe_are_averaged(tmp_path: Path) -> None:
    """Students 0.84, 0.86, 0.88: mean 86 and sample deviation 2; gains 4, 6, 8 alike."""
    runs = [
        make_run(
            tmp_path / f"seed-{seed}",
            seed=seed,
            scores={"teacher": 0.90, "student": value, "baseline": 0.80},
        )
        for seed, value in ((1, 0.84), (2, 0.86), (3, 0.88))
    ]
    other = make_run(tmp_path / "two-layers", layers=2)
    lines = combine_runs([*runs, other]).splitlines()
    assert len(lines) == 2 + 2 * 2  # header and rule; two recipes on two splits
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == [
        "qa-es",
        "test",
        "f1",
        "3",
        "90.00 ± 0.00",
        "86.00 ± 2.00",
        "80.00 ± 0.00",
        "+6.00 ± 2.00",
        "95.56 ± 2.22%",  # 2 / 0.9
        "3.00x ± 0.00x",
    ]
    assert "| 1 | 90.00 | 86.00 | 80.00 | +6.00 | 95.56% | 3.00x |" in lines[4]


def test_repeated_seeds_are_not_counted_as_seeds(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, seed=5) for name in ("a", "b")]
    assert "| 1 in 2 runs |" in combine_runs(runs)


def test_runs_without_results_are_said_to_have_none(tmp_path: Path) -> None:
    assert "None of these runs" in combine_runs([tmp_path])


def test_reports_need_no_torch() -> None:
    code = (
        "import sys, destilo.report as report, pathlib, tempfile\n"
        "folder = pathlib.Path(tempfile.mkdtemp()); report.build_report(folder)\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_papers_protocol_is_shown_where_it_was_asked_for(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert "Speedy Gonzales" not in build_report(run).report.read_text(encoding="utf-8")
    by_paper = {"n_kept": 29, "paper_inferences_per_s": 251.0, "macs_of_modules": 255_000_000}
    results = [profile(model) | by_paper for model in SCORES]
    write(run / "profile.json", {"results": results})
    text = build_report(run).report.read_text(encoding="utf-8")
    assert "| student | 251 | 29 of 50 | 255M |" in text
    assert "modified z-score" in text
