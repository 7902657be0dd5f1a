"""Terms on layers against logits only, in question answering on real Spanish data.

Two students of one teacher: 3 of its layers, and 2 layers of half its width (from a configuration,
begun by ``svd``). Every objective is an ordinary Run without a baseline, so what is finished is
skipped when the command is typed again; the table is in summary.md.

    python benchmarks/layers.py --data DIR --teacher DIR --output DIR [--only 3 half] [--seeds 13]
        [--objectives logits hidden ...] [--epochs 2] [--rows N]

DIR of --data is that of quality.py; --teacher is fine-tuned for question answering.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from destilo.cli.running import quiet_libraries
from destilo.pipeline import read_result, run
from destilo.recipe.load import load_recipe
from destilo.runs import write_text
from destilo.terminal import TerminalProgress, error_console

LOGITS = [{"term": "labels", "weight": 0.5}, {"term": "kl", "weight": 0.5, "temperature": 2.0}]
HIDDEN, ATTENTION = {"term": "hidden-mse"}, {"term": "attention-mse", "weight": 0.1}
RELATIONS = {"term": "attention-relations"}
OBJECTIVES: dict[str, list[dict[str, Any]]] = {
    "logits": LOGITS,
    "hidden": [*LOGITS, HIDDEN],
    "attention": [*LOGITS, ATTENTION],
    "both": [*LOGITS, HIDDEN, ATTENTION],
    "relations": [*LOGITS, RELATIONS],
    "hidden-relations": [*LOGITS, HIDDEN, RELATIONS],
    "two-stage": [],  # see ``_lessons``
    "hidden-every-1": [*LOGITS, HIDDEN | {"layer_map": "every:1"}],
    "hidden-last": [*LOGITS, HIDDEN | {"layer_map": "last"}],
}
"""``hidden`` follows the ``uniform`` map, which is every:2 for 3 layers of 6."""


def recipe_of(name: str, student: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The recipe of one Run as a mapping."""
    data: Path = options.data
    train: dict[str, Any] = {"format": "squad", "path": str(data / "qa-es" / "train.json")}
    if options.rows:
        train["limit"] = options.rows
    tests = {"xquad": data / "xquad-es" / "xquad.es.json", "mlqa": data / "qa-es" / "dev_mlqa.json"}
    return {
        "name": f"{student}-{name}-seed{seed}",
        "language": "es",
        "task": "question-answering",
        "data": {
            "train": train,
            "validation": {"fraction": 0.05},
            "test": {key: {"format": "squad", "path": str(file)} for key, file in tests.items()},
        },
        "teacher": {"model": str(options.teacher)},
        "student": _student(student, options.teacher),
        **_lessons(name, student, options.epochs),
        "training": {
            "num_train_epochs": options.epochs,
            "per_device_train_batch_size": 4,  # eight of these make a step of 32 rows
            "gradient_accumulation_steps": 8,
            "learning_rate": 2e-4,
            "seed": seed,
            "bf16": True,
            "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        },
        "evaluation": {"baseline": False, "teacher": False, "splits": ["test"]},
    }


def _student(kind: str, teacher: Path) -> dict[str, Any]:
    if kind == "3":
        return {"from": "layers", "layers": 3}
    config = json.loads((teacher / "config.json").read_text(encoding="utf-8"))
    return {
        "from": "config",
        "init": "svd",
        "config": {
            "model_type": config["model_type"],
            "hidden_size": config["hidden_size"] // 2,
            "intermediate_size": config["intermediate_size"] // 2,
            "num_attention_heads": config["num_attention_heads"],
            "num_hidden_layers": 2,
            "max_position_embeddings": config["max_position_embeddings"],
            "type_vocab_size": config["type_vocab_size"],
        },
    }


def _lessons(name: str, student: str, epochs: float) -> dict[str, Any]:
    if name == "two-stage":  # as many steps in all as the others
        half = {"num_train_epochs": epochs / 2}
        layers = [HIDDEN, ATTENTION] if student == "3" else [HIDDEN, RELATIONS]
        return {
            "stages": [
                {"objective": layers, "training": half},
                {"objective": LOGITS, "training": half},
            ]
        }
    return {"objective": OBJECTIVES[name]}


def summarise(output: Path, options: argparse.Namespace) -> str:
    """One line an objective: the student's F1 on both tests, mean and spread over seeds."""
    lines = [
        "| student | objective | seeds | XQuAD F1 | MLQA F1 |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for student in options.only:
        for name in options.objectives:
            found = [
                {
                    one.split: 100 * one.main.value
                    for one in result.evaluations
                    if one.model == "student"
                }
                for seed in options.seeds
                if (folder := output / f"{student}-{name}-seed{seed}").exists()
                and (result := read_result(folder)).evaluations
            ]
            if not found:
                continue
            cells = [_spread([one[f"test-{test}"] for one in found]) for test in ("xquad", "mlqa")]
            lines.append(f"| {student} | {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=["3", "half"], choices=["3", "half"])
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[13])
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--rows", type=int, help="read the first training questions only")
    options = parser.parse_args()
    quiet_libraries()
    for seed in options.seeds:
        for student in options.only:
            for name in options.objectives:
                recipe = recipe_of(name, student, seed, options)
                progress = TerminalProgress(error_console())
                progress.note(recipe["name"], level="stage")
                run(load_recipe(recipe), output=options.output / recipe["name"], progress=progress)
                write_text(options.output / "summary.md", summarise(options.output, options))


if __name__ == "__main__":
    main()
