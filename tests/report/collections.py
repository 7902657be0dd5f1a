"""A small invented collection, made of records."""

from __future__ import annotations

from typing import Any

from destilo.records import (
    Collection,
    CollectionDataset,
    Machine,
    ProfileResult,
    Role,
    Score,
    TrialResult,
    TrialStage,
)

MACHINE = Machine(
    platform="Linux", processor="A", cpu_count=2, device="cpu", python="3", torch="2", threads=1
)
DATASETS = (
    CollectionDataset(
        name="xnli", task="text-classification", main_metric="accuracy", tests=("test",)
    ),
    CollectionDataset(
        name="qa",
        task="question-answering",
        main_metric="f1",
        tests=("test-mlqa", "test-xquad"),
    ),
)


def score(value: float, *, half_width: float = 0.02) -> Score:
    return Score(value=value, low=value - half_width, high=value + half_width, n=100)


def profile(model: str, *, macs: int, latency_ms: float, **more: Any) -> ProfileResult:
    known: dict[str, Any] = {
        "model": model,
        "parameters": macs // 10,
        "embedding_parameters": 1,
        "macs": macs,
        "macs_without_attention": macs,
        "macs_of_modules": macs + 3,
        "size_mb": 1.0,
        "batch_size": 1,
        "sequence_length": 128,
        "threads": 1,
        "latency_p50_ms": latency_ms,
        "latency_p95_ms": latency_ms,
        "latency_mean_ms": latency_ms,
        "throughput_per_s": 1000 / latency_ms,
        "n_samples": 5,
        "n_warmup": 1,
        "peak_memory_mb": 1.0,
        "machine": MACHINE,
    }
    return ProfileResult(**(known | more))


PROFILES = {
    "large": profile("large", macs=80_000, latency_ms=8.0),
    "small": profile("small", macs=20_000, latency_ms=4.0),
    "tiny": profile("tiny", macs=10_000, latency_ms=1.0),
}


def trial(
    stage: TrialStage,
    role: Role,
    model: str,
    dataset: str,
    value: float,
    *,
    seed: int = 1,
    **more: Any,
) -> TrialResult:
    """A finished and selected trial; in QA the second test is 10 points harder, EM 20 below."""
    tests = {"test": {"accuracy": score(value)}}
    if dataset == "qa":
        tests = {
            "test-mlqa": {"f1": score(value), "em": score(value - 0.2)},
            "test-xquad": {"f1": score(value - 0.1), "em": score(value - 0.3)},
        }
    known: dict[str, Any] = {
        "trial": f"{stage}-{role}-{model}-{dataset}-{seed}",
        "stage": stage,
        "dataset": dataset,
        "model": model,
        "role": role,
        "seed": seed,
        "state": "finished",
        "selected": True,
        "tests": tests,
        "profile": PROFILES[model],
        "seconds": {"student": 3600.0},
    }
    return TrialResult(**(known | more))


def unfinished(model: str, dataset: str, state: str, **more: Any) -> TrialResult:
    known: dict[str, Any] = {
        "state": state,
        "selected": False,
        "tests": {},
        "profile": None,
        "seconds": {},
    }
    return trial("distil", "student", model, dataset, 0.5, **(known | more))


def collection(*trials: TrialResult, **more: Any) -> Collection:
    known: dict[str, Any] = {
        "name": "invented",
        "reference": "large",
        "datasets": DATASETS,
        "teachers": ("large",),
        "students": ("small", "tiny"),
        "selected_teachers": {"xnli": "large", "qa": "large"},
        "trials": trials or whole(),
    }
    return Collection(**(known | more))


def whole() -> tuple[TrialResult, ...]:
    """Everything but ``tiny`` on ``qa``, whose trials failed or were pruned."""
    return (
        trial("finetune", "teacher", "large", "xnli", 0.90),
        trial("finetune", "teacher", "large", "qa", 0.80),
        trial("finetune", "student", "small", "xnli", 0.80),
        trial("finetune", "student", "small", "qa", 0.60),
        trial("distil", "student", "small", "xnli", 0.86, settings={"teacher.cache": "logits"}),
        trial(
            "distil",
            "student",
            "small",
            "xnli",
            0.88,
            seed=2,
            settings={"teacher.cache": "logits"},
            seconds={"student": 1800.0},
        ),
        trial(
            "distil",
            "student",
            "small",
            "qa",
            0.78,
            settings={"teacher.cache": "off"},
            seconds={"student": 7200.0},
        ),
        trial("distil", "student", "tiny", "xnli", 0.70),
        unfinished("tiny", "qa", "failed", error="out of memory"),
        unfinished("tiny", "qa", "pruned", trial="another"),
    )
