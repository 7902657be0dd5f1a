"""The report of a collection, from invented records and from the published figures."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from destilo.catalogue import published
from destilo.cli import app
from destilo.errors import InputError
from destilo.records import Collection
from destilo.report import build_collection_report, build_paper_report
from destilo.report.board import Cell, mean_cell
from destilo.report.collection_tables import collection_tables, cut
from destilo.report.measured import measured_board
from destilo.report.paper import paper_board
from destilo.runs import write_json
from tests.report.collections import (
    DATASETS,
    PROFILES,
    collection,
    profile,
    score,
    trial,
    unfinished,
)

SLUGS = [
    "table-1-inferences",
    "table-2-quality",
    "table-3-summary",
    "table-4-teachers",
    "table-5-classification",
    "table-6-tagging",
    "table-7-question-answering",
    "table-8-cache",
]


def sweep(folder: Path, made: Collection | None = None) -> Path:
    write_json(folder / "results.json", (made or collection()).model_dump(mode="json"))
    return folder


def rows(folder: Path, slug: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{slug}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def line(text: str, *starts: str) -> str:
    """The first table row that begins with these cells."""
    lead = "| " + " | ".join(starts) + " |"
    return next(one for one in text.splitlines() if one.startswith(lead))


def test_a_sweep_is_reported_whole(tmp_path: Path) -> None:
    made = build_collection_report(sweep(tmp_path))
    text = made.report.read_text(encoding="utf-8")
    assert [path.stem for path in made.tables] == SLUGS
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in made.pictures)
    assert [path.name for path in made.pictures] == [
        "figure-1.png",
        "figure-1-all-macs.png",
        "figure-1-time.png",
    ]
    header = line(text, "model", "stage", "xnli accuracy")
    # Two tests of one data set, each with its F1 and EM.
    assert "| qa mlqa f1 | qa mlqa em | qa xquad f1 | qa xquad em |" in header
    # Two seeds: 0.86 and 0.88 have the sample deviation 0.0141; one seed: its interval.
    assert "| 87.00 ± 1.41 (n = 2) | 78.00 [76.00, 80.00] |" in line(text, "small", "distillation")
    assert "| 90.00 [88.00, 92.00] |" in line(text, "large", "fine-tuning")
    assert "Failed: tiny on qa (distil, seed 1): out of memory" in text
    assert "nan" not in text


def test_the_score_is_a_mean_over_data_sets(tmp_path: Path) -> None:
    """QA counts once: (F1 on the one test + on the other) / 2, 10 points apart."""
    build_collection_report(sweep(tmp_path))
    found = {(row["model"], row["stage"]): row for row in rows(tmp_path, "table-3-summary")}
    assert found["large", "fine-tuning"]["score"] == "82.50"  # (90 + (80 + 70) / 2) / 2
    small = found["small", "distillation"]
    assert small["score"] == "80.00"  # (87 + (78 + 68) / 2) / 2
    assert small["speed-up by MACs"] == "4.00"
    assert small["speed-up by MACs of modules"] == "3.99"  # 80,003 / 20,003 = 3.9995, cut
    assert small["speed-up by time"] == "2.00"
    assert found["tiny", "distillation"]["score"] == "1 of 2 (failed)"
    assert found["small", "without distillation"]["score"] == "67.50"


def test_what_is_missing_says_why(tmp_path: Path) -> None:
    made = collection(
        trial("finetune", "teacher", "large", "xnli", 0.9),
        unfinished("small", "xnli", "pruned"),
        unfinished("small", "qa", "planned"),
        unfinished("tiny", "xnli", "failed", error="broken"),
        unfinished("tiny", "qa", "failed", error="broken"),
        unfinished("tiny", "qa", "planned", trial="another"),
    )
    build_collection_report(sweep(tmp_path, made))
    found = {(row["model"], row["stage"]): row for row in rows(tmp_path, "table-2-quality")}
    assert found["small", "distillation"]["xnli accuracy"] == "pruned"
    assert found["small", "distillation"]["qa mlqa f1"] == "not run"
    assert found["tiny", "distillation"]["xnli accuracy"] == "failed"
    assert found["tiny", "distillation"]["qa xquad em"] == "not run"  # another is planned
    assert found["large", "fine-tuning"]["qa mlqa f1"] == "not run"
    assert ("small", "without distillation") not in found  # was never asked for


def test_an_empty_sweep_is_reported_as_empty(tmp_path: Path) -> None:
    (tmp_path / "figure-1.png").write_bytes(b"old")
    made = Collection(
        name="empty", reference="large", datasets=DATASETS, teachers=("large",), students=("tiny",)
    )
    files = build_collection_report(sweep(tmp_path, made))
    text = files.report.read_text(encoding="utf-8")
    assert "No trial has been planned yet." in text
    assert "| large | fine-tuning | not run | not run |" in text
    assert "No model has both a score and a speed-up yet." in text
    assert files.pictures == ()
    assert not (tmp_path / "figure-1.png").exists()  # no stale picture stays
    assert len(files.tables) == 8


def test_students_with_and_without_distillation(tmp_path: Path) -> None:
    build_collection_report(sweep(tmp_path))
    small = rows(tmp_path, "table-5-classification")[0]
    assert list(small.values()) == ["small", "80.00", "87.00", "+7.00"]
    assert rows(tmp_path, "table-6-tagging") == []
    tiny = rows(tmp_path, "table-7-question-answering")[1]
    assert tiny["qa mlqa f1 FT"] == "not run"
    assert tiny["qa mlqa f1 KD"] == "failed"


def test_hours_with_and_without_a_cache(tmp_path: Path) -> None:
    """Settings say it, or the trial's recipe; where neither does, nothing is claimed."""
    folder = sweep(tmp_path)
    build_collection_report(folder)
    small, tiny = rows(tmp_path, "table-8-cache")
    assert list(small.values()) == ["small", "0.75", "2.0", "2.67"]  # (1 h + 0.5 h) / 2; 2 h
    assert tiny["cached, hours"] == "not run"
    recipe = folder / "trials" / "distil-student-tiny-xnli-1" / "recipe.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text("teacher: {model: x, cache: logits}\n", encoding="utf-8")
    build_collection_report(folder)
    assert rows(tmp_path, "table-8-cache")[1]["cached, hours"] == "1.0"


def test_speed_ups_compare_alike_shapes_only() -> None:
    longer = profile("small", macs=20_000, latency_ms=4.0, sequence_length=512)
    made = collection(
        trial("finetune", "teacher", "large", "xnli", 0.9),
        trial("distil", "student", "small", "xnli", 0.8, profile=longer),
    )
    board = measured_board(made)
    assert board.sizes["small"].by_macs is None
    assert board.conditions == ("cpu, 1 thread, 1 × 128", "cpu, 1 thread, 1 × 512")
    table = collection_tables(board)[0]
    small = dict(zip(table.header, table.plain[1], strict=True))
    assert small["cpu, 1 thread, 1 × 512: inferences/s"] == "250"
    assert small["cpu, 1 thread, 1 × 128: inferences/s"] == "not run"


def test_the_papers_protocol_has_a_column_where_it_was_used() -> None:
    by_paper = PROFILES["large"].model_copy(
        update={"protocol": "speedy-gonzales", "n_kept": 3, "paper_inferences_per_s": 130.0}
    )
    made = collection(trial("finetune", "teacher", "large", "xnli", 0.9, profile=by_paper))
    table = collection_tables(measured_board(made))[0]
    assert table.header[-1].endswith("by the paper's protocol")
    assert table.plain[0][-1] == "130"


def test_means_keep_their_spread() -> None:
    """Independent spreads of 3 and 4 points: sqrt(9 + 16) / 2 = 2.5."""
    one, other = Cell(0.5, deviation=0.03, n_seeds=3), Cell(0.7, deviation=0.04, n_seeds=2)
    mean = mean_cell([one, other])
    assert mean.value == pytest.approx(0.6)
    assert mean.deviation == pytest.approx(0.025)
    assert mean.n_seeds == 2
    low = mean_cell([Cell(0.5, low=0.47, high=0.53), Cell(0.7, low=0.66, high=0.74)]).low
    assert low == pytest.approx(0.575)
    assert mean_cell([one, Cell(0.7)]).markdown() == "60.00"  # no spread of a part is known
    assert mean_cell([one]) is one
    assert mean_cell([Cell(), Cell()]).plain() == "not run"


def test_the_published_figures_alone(tmp_path: Path) -> None:
    made = build_paper_report(tmp_path / "paper")
    text = made.report.read_text(encoding="utf-8")
    assert "All 17 rows of the printed Table 3" in text
    assert [path.stem for path in made.tables] == SLUGS
    assert len(made.pictures) == 3
    assert "Hypervolume: **" in text
    assert "| all: the mean | 85.73 | ALBETO base-8, distillation |" in text
    assert "not run" not in text


def test_the_papers_board_agrees_with_its_table_3() -> None:
    board = paper_board()
    for row in published.summary():
        entry = next(
            one for one in board.entries if (one.stage, one.model) == (row.stage, row.model)
        )
        size, mean = board.sizes[row.model], board.score(entry).value
        assert mean is not None
        assert size.parameters is not None
        assert round(size.parameters / 1e6) == row.parameters_millions
        assert size.by_modules == row.speedup
        assert cut(100 * mean) == row.score


def test_published_rows_stand_below_a_sweeps_own(tmp_path: Path) -> None:
    folder = sweep(tmp_path, collection(reference="beto-cased"))
    text = build_collection_report(folder, paper=True).report.read_text(encoding="utf-8")
    assert line(text, "BETO cased (published)", "fine-tuning", "81.98", "not published")
    assert line(text, "large", "fine-tuning", "90.00 [88.00, 92.00]")
    assert "were measured elsewhere" in text
    found = {row["model"]: row for row in rows(tmp_path, "table-3-summary")}
    assert found["ALBETO tiny (published)"]["speed-up by MACs of modules"] == "18.05"
    assert found["ALBETO tiny (published)"]["score"] == "1 of 2 (not published)"
    balance = text[text.index("## The balance") :]
    assert "(published)" not in balance  # the sweep's own models alone
    assert "(published)" not in build_collection_report(folder).report.read_text(encoding="utf-8")


def test_other_data_sets_are_not_mixed_up(tmp_path: Path) -> None:
    mine = DATASETS[0].model_copy(update={"name": "parmex"})
    made = collection(
        trial("finetune", "teacher", "large", "parmex", 0.9), datasets=(mine,), selected_teachers={}
    )
    text = build_collection_report(sweep(tmp_path, made), paper=True).report.read_text("utf-8")
    assert line(text, "BETO cased (published)", "fine-tuning", "not published")
    assert "not to this collection's reference" in text


def test_the_command_line(tmp_path: Path) -> None:
    run = CliRunner().invoke
    folder = sweep(tmp_path / "sweep")
    assert run(app, ["report", str(folder), "--within", "20"]).exit_code == 0
    assert "within 20% of the teacher" in (folder / "report.md").read_text(encoding="utf-8")
    assert run(app, ["report", str(folder), "--paper"]).exit_code == 0
    assert run(app, ["report", "--paper", "-o", str(tmp_path / "paper")]).exit_code == 0
    assert (tmp_path / "paper" / "report.md").is_file()
    wrong = [[], ["--paper"], [str(tmp_path / "nothing")], ["--paper", str(tmp_path)]]
    wrong.append([str(folder), "-o", str(tmp_path / "elsewhere")])  # a sweep's is in its folder
    for arguments in wrong:
        assert isinstance(run(app, ["report", *arguments]).exception, InputError)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"name": 3}', encoding="utf-8")
    with pytest.raises(InputError, match=r"results\.json is damaged"):
        build_collection_report(tmp_path)
    with pytest.raises(InputError, match="not the folder of a sweep"):
        build_collection_report(tmp_path / "nowhere")


def test_scores_without_an_interval_are_written_bare() -> None:
    never = score(0.5).model_copy(update={"low": float("nan"), "high": float("nan")})
    made = collection(
        trial("finetune", "teacher", "large", "xnli", 0.5, tests={"test": {"accuracy": never}})
    )
    table = collection_tables(measured_board(made))[1]
    assert table.markdown[0][2] == "50.00"
