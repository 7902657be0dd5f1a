"""The same sweep on a real cluster of two nodes, one of which is killed under it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from destilo.sweep import load_sweep, run_sweep
from destilo.sweep.executors import InProcess
from destilo.sweep.work import Outcome, Task
from tests import tiny

pytest.importorskip("ray", reason='Ray is an extra: pip install "destilo[ray]"')

ROOT = Path(__file__).parents[2]
TOKENIZER = {"algorithm": "wordpiece", "vocab_size": 200}


class Unseen:
    def planned(self, tasks: list[Task]) -> None:
        pass

    def begun(self, task: Task) -> None:
        pass

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        pass

    def selected(self, dataset: str, teacher: str) -> None:
        pass


def sweep_file(folder: Path) -> Path:
    value = tiny.recipe(folder / "data", "ner")
    narrow = tiny.CONFIG | {"hidden_size": 16}
    sweep = {
        "base": {key: value[key] for key in ("task", "data", "encoding", "training", "profile")},
        "datasets": {"ner": {"evaluation": {"bootstrap_samples": 20}}},
        "teachers": {
            "wide": {"config": tiny.CONFIG, "tokenizer": TOKENIZER},
            "narrow": {"config": narrow, "tokenizer": TOKENIZER},
        },
        "students": {"one-layer": {"from": "layers", "layers": 1}},
        "finetune": {"training": {"num_train_epochs": 1}, "grid": {"learning_rate": [1e-3, 5e-3]}},
        "distil": {"grid": {"temperature": [1.0, 2.0]}},
    }
    path = folder / "sweep.json"
    path.write_text(json.dumps(sweep, ensure_ascii=False), encoding="utf-8")
    return path


def on_cluster(sweep: Path, output: Path, *options: str) -> dict[str, Any]:
    """In a process of its own: a cluster's nodes talk over addresses that tests may not use."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweep.cluster", str(sweep), str(output), *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def figures(folder: Path) -> tuple[Any, Any]:
    """All that was measured, but for times."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    trials = {
        (one["trial"], one["role"]): {
            key: value for key, value in one.items() if key not in ("seconds", "profile")
        }
        for one in found["trials"]
    }
    return found["selected_teachers"], trials


@pytest.mark.slow
def test_two_nodes_of_which_one_dies_end_where_one_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DESTILO_CACHE", raising=False)
    sweep = sweep_file(tmp_path)
    answer = on_cluster(sweep, tmp_path / "cluster", "--kill-after", "3")
    assert answer["failed"] == []
    assert answer["killed_at"] is not None

    def make(storage: Any) -> Any:
        from contextlib import nullcontext

        return nullcontext(InProcess(storage))

    run_sweep(load_sweep(sweep), output=tmp_path / "alone", make_executor=make, watcher=Unseen())
    assert figures(tmp_path / "cluster") == figures(tmp_path / "alone")

    # What had ended before the node died was not begun again.
    before = [one["trial"] for one in answer["ended"][:3] if one["verb"] == "train"]
    for trial in before:
        log = tmp_path / "cluster" / "trials" / trial / "training" / "student" / "log.jsonl"
        assert log.stat().st_mtime < answer["killed_at"]
