"""Quality on real Spanish data: teacher, student with and without distillation, on test.

    python benchmarks/quality.py --data DIR --encoder DIR --output DIR [--only ner qa]

DIR of --data holds one folder a data set: ``conll2002-es/{train,dev,test}.txt`` (CoNLL columns:
word, POS, entity), ``pos-es-ud/{train,dev,test}.txt`` (word, UPOS),
``parmex2022/{train,dev,test}.jsonl`` (sentence1, sentence2, label), ``qa-es/train.json``,
``qa-es/dev_mlqa.json`` and ``xquad-es/xquad.es.json`` (SQuAD). --encoder is a pretrained encoder
in Hugging Face layout; --teacher names what was fine-tuned from it already (one a problem). Every
case is an ordinary Run, so what is finished is skipped when the command is typed again. The table
is in summary.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from destilo.cli.running import quiet_libraries
from destilo.pipeline import read_result, run
from destilo.recipe.load import load_recipe
from destilo.records import EvalResult
from destilo.runs import write_text
from destilo.terminal import TerminalProgress, error_console

SEEDS = (13, 14, 15)
BATCH_SIZE = 32
OWN_BPE = {"algorithm": "byte-level-bpe", "vocab_size": 8000}


@dataclass(frozen=True)
class Problem:
    """A task with its data and how long models are trained on it."""

    task: str
    data: dict[str, Any]
    teacher_epochs: float
    student_epochs: float
    micro_batches: int = 2
    max_length: int = 128
    learning_rate: float = 2e-4
    teacher_learning_rate: float = 2e-4


def problems(data: Path) -> dict[str, Problem]:
    """The four problems on the folders below ``data``."""

    def conll(folder: str, tags: int) -> dict[str, Any]:
        columns = {"tokens": 0, "tags": tags}
        return {
            split: {"format": "conll", "path": str(data / folder / name), "columns": columns}
            for split, name in (
                ("train", "train.txt"),
                ("validation", "dev.txt"),
                ("test", "test.txt"),
            )
        }

    columns = {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
    pairs = {
        split: {"format": "jsonl", "path": str(data / "parmex2022" / name), "columns": columns}
        for split, name in (
            ("train", "train.jsonl"),
            ("validation", "dev.jsonl"),
            ("test", "test.jsonl"),
        )
    }
    questions = {
        "train": {"format": "squad", "path": str(data / "qa-es" / "train.json")},
        "validation": {"fraction": 0.05},
        "test": {
            "xquad": {"format": "squad", "path": str(data / "xquad-es" / "xquad.es.json")},
            "mlqa": {"format": "squad", "path": str(data / "qa-es" / "dev_mlqa.json")},
        },
    }
    return {
        "ner": Problem("token-classification", conll("conll2002-es", 2), 3, 3),
        "pos": Problem("token-classification", conll("pos-es-ud", 1), 3, 3),
        "pairs": Problem(
            "text-classification", pairs, 3, 5, learning_rate=1e-4, teacher_learning_rate=5e-5
        ),
        "qa": Problem("question-answering", questions, 3, 2, micro_batches=8, max_length=384),
    }


@dataclass(frozen=True)
class Case:
    """One student of one problem."""

    problem: str
    layers: int
    seed: int
    own_tokenizer: bool = False

    @property
    def name(self) -> str:
        kind = "bpe" if self.own_tokenizer else "same"
        return f"{self.problem}-{self.layers}layers-{kind}-seed{self.seed}"

    @property
    def kind(self) -> str:
        own = ", own 8k BPE" if self.own_tokenizer else ""
        return f"{self.layers} layers{own}"


def cases(only: list[str]) -> Iterator[Case]:
    """The first case of a problem makes the teacher; the others use it."""
    repeated = [problem for problem in only if problem in ("ner", "qa")]
    yield from (Case(problem, 3, SEEDS[0]) for problem in only)
    yield from (Case(problem, 2, SEEDS[0]) for problem in only)
    yield from (Case(problem, 3, seed) for seed in SEEDS[1:] for problem in repeated)
    yield from (Case(problem, 3, SEEDS[0], own_tokenizer=True) for problem in repeated)
    yield from (Case(problem, 2, seed) for seed in SEEDS[1:] for problem in repeated)


def recipe_of(
    case: Case, problem: Problem, *, encoder: Path, output: Path, teacher: str | None
) -> dict[str, Any]:
    """The recipe of a case as a mapping; ``teacher`` is one that is there already."""
    first = Case(case.problem, 3, SEEDS[0])
    made: dict[str, Any] = {"model": str(encoder)}
    if teacher is not None or case != first:
        made = {"model": teacher or str(output / first.name / "teacher"), "encoder": str(encoder)}
    else:
        made["finetune"] = {
            "num_train_epochs": problem.teacher_epochs,
            "learning_rate": problem.teacher_learning_rate,
        }
    return {
        "name": case.name,
        "language": "es",
        "task": problem.task,
        "data": problem.data,
        "encoding": {"max_length": problem.max_length},
        "teacher": made,
        "student": {
            "from": "layers",
            "layers": case.layers,
            "tokenizer": OWN_BPE if case.own_tokenizer else "teacher",
        },
        "objective": [
            {"term": "kl", "weight": 0.5, "temperature": 2.0},
            {"term": "labels", "weight": 0.5},
        ],
        "evaluation": {"splits": _tests(problem)},
        "training": {
            "num_train_epochs": problem.student_epochs,
            # 32 rows a step; small micro-batches stay in the processor's cache.
            "per_device_train_batch_size": BATCH_SIZE // problem.micro_batches,
            "gradient_accumulation_steps": problem.micro_batches,
            "learning_rate": problem.learning_rate,
            "seed": case.seed,
            "bf16": True,
            "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        },
    }


def _tests(problem: Problem) -> list[str]:
    test = problem.data["test"]
    return ["test"] if "format" in test else [f"test-{name}" for name in test]


def summarise(output: Path, only: list[str]) -> str:
    """One Markdown line a student: means over seeds, in points.

    The interval is the mean half-width of the students' 95% bootstrap intervals; the spread is
    the standard deviation over seeds.
    """
    columns = (
        "problem,test,student,seeds,teacher,distilled,not distilled,gain,half-width,of teacher"
    )
    lines = [_line(columns.split(",")), _line(["---"] * 3 + ["---:"] * 7)]
    groups: dict[tuple[str, str, str], list[dict[str, EvalResult]]] = {}
    for case in cases(only):
        for split, models in _by_split(output / case.name).items():
            groups.setdefault((case.problem, split, case.kind), []).append(models)
    for (problem, split, kind), found in groups.items():
        teacher, student, plain = (
            [100 * models[name].main.value for models in found]
            for name in ("teacher", "student", "baseline")
        )
        half = fmean(100 * models["student"].main.half_width for models in found)
        gains = [one - other for one, other in zip(student, plain, strict=True)]
        cells = [f"{problem} ({found[0]['student'].main_metric})", split, kind, str(len(found))]
        cells += [f"{fmean(teacher):.2f}", _spread(student), _spread(plain)]
        cells += [_spread(gains, sign=True), f"{half:.2f}"]
        cells.append(f"{100 * fmean(student) / fmean(teacher):.1f}%")
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _by_split(folder: Path) -> dict[str, dict[str, EvalResult]]:
    splits: dict[str, dict[str, EvalResult]] = {}
    if (folder / "evaluation.json").exists():
        for result in read_result(folder).evaluations:
            splits.setdefault(result.split, {})[result.model] = result
    return splits


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: list[float], *, sign: bool = False) -> str:
    mean = f"{fmean(values):+.2f}" if sign else f"{fmean(values):.2f}"
    return f"{mean} ± {stdev(values):.2f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=["ner", "pos", "pairs", "qa"])
    parser.add_argument("--teacher", nargs="+", default=[], metavar="PROBLEM=FOLDER")
    arguments = parser.parse_args()
    teachers = dict(one.split("=", 1) for one in arguments.teacher)
    quiet_libraries()
    table = problems(arguments.data)
    for case in cases(arguments.only):
        recipe = recipe_of(
            case,
            table[case.problem],
            encoder=arguments.encoder,
            output=arguments.output,
            teacher=teachers.get(case.problem),
        )
        progress = TerminalProgress(error_console())
        progress.note(case.name, level="stage")
        folder = arguments.output / case.name
        run(load_recipe(recipe), output=folder, progress=progress)
        write_text(arguments.output / "summary.md", summarise(arguments.output, arguments.only))


if __name__ == "__main__":
    main()
