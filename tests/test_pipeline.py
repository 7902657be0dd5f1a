"""From a recipe to a whole run: what is made, what is skipped, what is done again."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AlbertConfig, AlbertModel, AutoModelForSequenceClassification

import destilo
from destilo.errors import DestiloError, InputError
from destilo.models.vocabulary import train_tokenizer
from destilo.recipe.schema import Recipe
from destilo.report import build_report
from tests import tiny

torch.set_num_threads(1)


class Watcher:
    """Remembers what a user is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def note(self, message: str, *, level: str = "info") -> None:
        self.notes.append((level, message))

    def begin(self, name: str, total: int, *, done: int = 0) -> None: ...

    def advance(self, amount: int = 1, *, figures: Mapping[str, float] | None = None) -> None: ...

    def end(self) -> None: ...

    def of(self, level: str) -> list[str]:
        return [message for kind, message in self.notes if kind == level]

    @property
    def done(self) -> list[str]:
        return [message.split()[0] for message in self.of("stage")]


def load(recipe: Mapping[str, Any], *overrides: str) -> Recipe:
    return destilo.load_recipe(recipe, overrides=overrides)


def go(recipe: Recipe, output: Path, *, until: str = "report", force: bool = False) -> Watcher:
    watcher = Watcher()
    destilo.run(recipe, output=output, until=until, force=force, progress=watcher)
    return watcher


def short(folder: Path, kind: str = "ner", **changes: Any) -> dict[str, Any]:
    return tiny.recipe(folder, kind, **({"n": 24, "training__num_train_epochs": 1} | changes))


def weights(run: Path, model: str = "student") -> dict[str, torch.Tensor]:
    return load_file(run / model / "model.safetensors")


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A recipe with two tests and a baseline, and its finished run."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = short(folder / "data", evaluation__baseline=True, description="first")
    recipe["data"]["test"] = {"near": recipe["data"]["test"], "far": recipe["data"]["validation"]}
    result = destilo.run(load(recipe), output=folder / "run")
    assert result.evaluation is not None
    assert result.evaluation.split == "test-near"
    return recipe, folder / "run"


@pytest.fixture
def copied(finished: tuple[dict[str, Any], Path], tmp_path: Path) -> tuple[dict[str, Any], Path]:
    recipe, run = finished
    shutil.copytree(run, tmp_path / "run")
    return recipe, tmp_path / "run"


# -- what is made ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in tiny.TASKS]
)
def test_every_task_runs_to_its_report(kind: str, tmp_path: Path) -> None:
    recipe = load(short(tmp_path / "data", kind, evaluation__baseline=True))
    result = destilo.run(recipe, output=tmp_path / "run")
    measured = {(one.model, one.split) for one in result.evaluations}
    models, splits = ("teacher", "student", "baseline"), ("validation", "test")
    assert measured == {(model, split) for model in models for split in splits}
    assert {one.model for one in result.profiles} == set(models)
    assert all(one.n_rows == 12 for one in result.evaluations)
    for model, split in measured:
        file = tmp_path / "run" / "predictions" / f"{model}-{split}.jsonl"
        assert len(file.read_text(encoding="utf-8").splitlines()) == 12
    for one in result.evaluations:
        assert (one.fidelity is None) == (one.model == "teacher")
    for name in ("report.md", "preflight.json", "training/student/curve.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_several_named_tests_are_all_measured(finished: tuple[dict[str, Any], Path]) -> None:
    result = json.loads((finished[1] / "evaluation.json").read_text())["results"]
    splits = ["validation", "test-near", "test-far"]
    assert [one["split"] for one in result if one["model"] == "student"] == splits


def test_the_recipe_in_the_run_is_the_recipe(finished: tuple[dict[str, Any], Path]) -> None:
    recipe, run = finished
    assert destilo.load_recipe(run / "recipe.yaml").digest == load(recipe).digest
    assert json.loads((run / "manifest.json").read_text())["recipe"] == load(recipe).digest


def test_preflight_scores_the_teacher_and_the_start(finished: tuple[dict[str, Any], Path]) -> None:
    found = json.loads((finished[1] / "preflight.json").read_text())
    assert found["metric"] == "f1"
    assert len(found["teacher_scores"]) == 1
    assert set(found["start"]) == {"labels", "kl"}
    assert found["chance"] == 0.0  # no span is the most frequent class


@pytest.mark.slow
def test_a_poor_teacher_is_warned_about(tmp_path: Path) -> None:
    finetune = {"max_steps": 1, "learning_rate": 1e-9}
    recipe = short(tmp_path / "data", "pos", teacher__finetune=finetune)
    watcher = go(load(recipe), tmp_path / "run", until="student")
    assert any("no better than a trivial predictor" in text for text in watcher.of("warning"))


def test_a_run_answers_as_its_predictions_say(finished: tuple[dict[str, Any], Path]) -> None:
    recipe, run = finished
    predictor = destilo.Predictor.load(run)
    lines = Path(recipe["data"]["test"]["near"]["path"]).read_text(encoding="utf-8")
    blocks = [block.split("\n") for block in lines.strip().split("\n\n")]
    rows = [predictor.row({"tokens": [line.split()[0] for line in block]}) for block in blocks]
    stored = (run / "predictions/student-test-near.jsonl").read_text(encoding="utf-8")
    for mine, line in zip(predictor.predict(rows), stored.splitlines(), strict=True):
        assert mine["tags"] == json.loads(line)["tags"]


# -- what is done again ------------------------------------------------------------------


def test_a_finished_run_is_skipped_but_for_its_report(copied: tuple[dict[str, Any], Path]) -> None:
    recipe, run = copied
    watcher = go(load(recipe), run)
    assert watcher.done == ["report"]
    assert [text.split(":")[0] for text in watcher.of("skip")] == [
        "data",
        "teacher",
        "student",
        "baseline",
        "evaluate",
        "profile",
    ]


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("description=second", []),
        pytest.param("training.save_steps=7", [], marks=pytest.mark.slow),
        pytest.param("training.report_to=tensorboard", [], marks=pytest.mark.slow),
        ("data.leak_check=warn", ["data"]),
        pytest.param("evaluation.bootstrap_samples=20", ["evaluate"], marks=pytest.mark.slow),
        pytest.param("profile.samples=3", ["profile"], marks=pytest.mark.slow),
        pytest.param("evaluation.baseline=false", ["evaluate", "profile"], marks=pytest.mark.slow),
        ("data.test=null", ["data", "evaluate"]),
        pytest.param(
            "objective=[{term: kl}]",
            ["student", "evaluate", "profile"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "student.dropout=0.5",
            ["student", "baseline", "evaluate", "profile"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "teacher.finetune.max_steps=2",
            ["teacher", "student", "baseline", "evaluate", "profile"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "data.train.limit=20",
            ["data", "teacher", "student", "baseline", "evaluate", "profile"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_key_that_matters_does_its_stages_again(
    override: str, again: list[str], copied: tuple[dict[str, Any], Path]
) -> None:
    recipe, run = copied
    changed = load(recipe, override)
    watcher = go(changed, run)
    assert watcher.done == [*again, "report"]
    assert destilo.load_recipe(run / "recipe.yaml").digest == changed.digest
    assert go(changed, run).done == ["report"]


@pytest.mark.slow
def test_force_does_everything_again_with_the_same_result(
    copied: tuple[dict[str, Any], Path],
) -> None:
    recipe, run = copied
    before = weights(run)
    (run / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json is damaged.*--force"):
        go(load(recipe), run)
    watcher = go(load(recipe), run, force=True, until="student")
    assert watcher.done == ["data", "teacher", "student"]
    assert same(weights(run), before)


def test_outputs_that_are_gone_are_made_again(copied: tuple[dict[str, Any], Path]) -> None:
    recipe, run = copied
    (run / "profile.json").unlink()
    scores = (run / "evaluation.json").read_bytes()
    (run / "evaluation.json").write_bytes(scores[:-100])
    watcher = go(load(recipe), run)
    assert watcher.done == ["evaluate", "profile", "report"]
    assert "evaluate again (evaluation.json is damaged: " in watcher.of("stage")[0]
    assert "profile again (profile.json is gone)" in watcher.of("stage")
    assert (run / "evaluation.json").read_bytes() == scores


def test_a_model_that_is_not_whole_is_made_again(copied: tuple[dict[str, Any], Path]) -> None:
    recipe, run = copied
    before = weights(run)
    (run / "student/model.safetensors").unlink()
    tokenizer = run / "baseline/tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes()[:500])
    watcher = go(load(recipe), run, until="baseline")
    assert watcher.done == ["student", "baseline"]
    first, second = watcher.of("stage")
    assert first == "student again (student/model.safetensors is gone)"
    assert second.startswith("baseline again (baseline/tokenizer.json is damaged: 500 bytes")
    assert same(weights(run), before)
    assert not (run / "evaluation.json").exists()  # it was that of the models before
    assert destilo.run(load(recipe), output=run, until="evaluate").evaluation is not None


def test_what_was_measured_for_another_recipe_is_not_reported(
    copied: tuple[dict[str, Any], Path],
) -> None:
    recipe, run = copied
    models = {name: weights(run, name) for name in ("teacher", "student", "baseline")}
    other = load(recipe, "training.seed=7", "description=second")
    result = destilo.run(other, output=run, until="data")
    assert (result.evaluations, result.profiles) == ((), ())
    for name in ("evaluation.json", "profile.json", "report.md", "quality_speed.png"):
        assert not (run / name).exists()
    assert not list((run / "predictions").iterdir())
    text = build_report(run).report.read_text(encoding="utf-8")
    assert other.digest in text
    assert "has not been evaluated yet" in text
    assert "no training log of this recipe's models" in text
    assert "no distillation was started" in text
    assert all(same(weights(run, name), models[name]) for name in models)
    watcher = go(load(recipe), run, until="evaluate")  # its models are still there
    assert watcher.of("stage") == ["evaluate again (its inputs have changed)"]


@pytest.mark.slow
def test_a_baseline_of_before_is_not_reported(copied: tuple[dict[str, Any], Path]) -> None:
    recipe, run = copied
    go(load(recipe, "evaluation.baseline=false"), run)
    assert "training/baseline" not in (run / "report.md").read_text(encoding="utf-8")
    assert "training/student" in (run / "report.md").read_text(encoding="utf-8")
    assert not list((run / "predictions").glob("baseline-*"))
    assert go(load(recipe), run, until="baseline").done == []  # but it is kept


def test_a_preflight_of_before_is_not_reported(copied: tuple[dict[str, Any], Path]) -> None:
    recipe, run = copied
    assert (run / "preflight.json").exists()
    go(load(recipe, "objective=[{term: labels}]"), run, until="data")
    assert not (run / "preflight.json").exists()


@pytest.mark.slow
def test_a_model_of_other_settings_is_never_taken_for_finished(
    copied: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = copied
    before = weights(run)
    other = load(recipe, "training.seed=14", "teacher.finetune.seed=13")

    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # stopped when the other student is just written
        patched.setattr("destilo.pipeline.training._compare_reloaded", stop)
        with pytest.raises(KeyboardInterrupt):
            go(other, run, until="student")
    assert not same(weights(run), before)
    assert "student" in go(load(recipe), run, until="student").done
    assert same(weights(run), before)


@pytest.mark.slow
def test_a_teacher_whose_content_changed_is_followed_again(
    finished: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe, run = finished
    folder = tmp_path / "teacher"
    shutil.copytree(run / "teacher", folder)
    ready = {**recipe, "teacher": {"model": str(folder)}}
    go(load(ready), tmp_path / "run", until="student")
    shutil.move(folder, tmp_path / "moved")  # the same content elsewhere is the same teacher
    ready["teacher"] = {"model": str(tmp_path / "moved")}
    assert go(load(ready), tmp_path / "run", until="student").done == []
    shutil.copy(run / "student/destilo.json", tmp_path / "moved/notes.json")
    assert go(load(ready), tmp_path / "run", until="student").done == ["student"]


def test_two_processes_do_not_write_one_run(copied: tuple[dict[str, Any], Path]) -> None:
    from destilo.runs import Run

    recipe, run = copied
    with Run(run).locked(), pytest.raises(InputError, match="being written by another"):
        go(load(recipe), run)


# -- teachers and students ---------------------------------------------------------------


def test_a_teachers_labels_in_another_order_are_permuted(
    finished: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe, run = finished
    folder = tmp_path / "teacher"
    shutil.copytree(run / "teacher", folder)
    config = json.loads((folder / "config.json").read_text())
    names = [config["id2label"][key] for key in sorted(config["id2label"], key=int)]
    order = list(reversed(range(len(names))))
    config["id2label"] = {str(place): names[index] for place, index in enumerate(order)}
    config["label2id"] = {name: int(key) for key, name in config["id2label"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = state[name][order].contiguous()
    from safetensors.torch import save_file

    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    recipe = {**recipe, "teacher": {"model": str(folder)}}
    result = destilo.run(load(recipe), output=tmp_path / "run", until="evaluate")
    original = json.loads((run / "evaluation.json").read_text())["results"]
    expected = {
        one["split"]: one["scores"]["f1"]["value"] for one in original if one["model"] == "teacher"
    }
    for one in result.evaluations:
        if one.model == "teacher":
            assert one.main.value == expected[one.split]
    assert same(weights(tmp_path / "run"), weights(run))


def test_a_teacher_of_other_labels_is_refused(
    finished: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe = short(tmp_path / "data", "pos", teacher={"model": str(finished[1] / "teacher")})
    with pytest.raises(InputError, match=r"(?s)ADP.*finetune"):
        go(load(recipe), tmp_path / "run", until="student")


def test_an_unknown_stage_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    recipe = load(short(tmp_path / "data"))
    with pytest.raises(InputError, match="Did you mean 'evaluate'"):
        destilo.run(recipe, output=tmp_path / "run", until="evaluat")
    assert not (tmp_path / "run").exists()


def test_the_baseline_of_a_ready_teacher_starts_from_its_encoder(tmp_path: Path) -> None:
    recipe = load(short(tmp_path / "data"))
    go(recipe, tmp_path / "encoder", until="teacher")
    again = short(tmp_path / "data", training__seed=5, training__learning_rate=3e-3)
    go(load(again), tmp_path / "tuned", until="teacher")
    ready, encoder = (str(tmp_path / name / "teacher") for name in ("tuned", "encoder"))
    still: dict[str, Any] = {"evaluation__baseline": True, "training__learning_rate": 1e-12}
    recipe = load(short(tmp_path / "data", teacher={"model": ready, "encoder": encoder}, **still))
    go(recipe, tmp_path / "run", until="baseline")
    first = "bert.embeddings.word_embeddings.weight"
    for model, origin in (("student", ready), ("baseline", encoder)):
        original = load_file(Path(origin) / "model.safetensors")[first]
        assert torch.allclose(weights(tmp_path / "run", model)[first], original, atol=1e-6), model
    watcher = go(load(recipe.model_dump(by_alias=True)), tmp_path / "run", until="baseline")
    assert watcher.done == []
    watcher = go(
        load(recipe.model_dump(by_alias=True), f"teacher.encoder={ready}"),
        tmp_path / "run",
        until="baseline",
    )
    assert watcher.done == ["baseline"]


def test_the_baseline_of_a_teacher_of_first_layers_starts_from_those(tmp_path: Path) -> None:
    go(load(short(tmp_path / "data")), tmp_path / "encoder", until="teacher")
    encoder = str(tmp_path / "encoder" / "teacher")  # two layers
    tuned = short(tmp_path / "data", student={"from": "checkpoint", "model": encoder, "layers": 1})
    tuned |= {"objective": [{"term": "labels"}]}
    tuned.pop("teacher")
    go(load(tuned), tmp_path / "tuned", until="student")
    still: dict[str, Any] = {"evaluation__baseline": True, "training__learning_rate": 1e-12}
    teacher = {"model": str(tmp_path / "tuned" / "student"), "encoder": encoder}
    recipe = load(short(tmp_path / "data", teacher=teacher, student__layers=1, **still))
    go(recipe, tmp_path / "run", until="baseline")
    original = load_file(Path(encoder) / "model.safetensors")
    made = weights(tmp_path / "run", "baseline")
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    assert torch.allclose(made[name], original[name], atol=1e-6)
    assert not any(".layer.1." in key for key in made)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ner", "questions", "pairs"])
@pytest.mark.parametrize("algorithm", ["byte-level-bpe", "unigram"])
def test_a_student_may_have_a_tokenizer_of_its_own(
    kind: str, algorithm: str, tmp_path: Path
) -> None:
    size = {"byte-level-bpe": 330, "unigram": 90}[algorithm]
    recipe = short(
        tmp_path / "data",
        kind,
        student__tokenizer={"algorithm": algorithm, "vocab_size": size},
        evaluation__baseline=True,
    )
    result = destilo.run(load(recipe), output=tmp_path / "run")
    assert result.evaluation is not None
    assert result.evaluation.fidelity is not None
    assert result.evaluation.fidelity.n_units > 0
    student, baseline = (
        (tmp_path / "run" / name / "tokenizer.json").read_text() for name in ("student", "baseline")
    )
    assert student == baseline


@pytest.mark.slow
def test_two_teachers_with_weights_one_with_another_tokenizer(tmp_path: Path) -> None:
    recipe = short(tmp_path / "data")
    other = {
        **recipe["teacher"],
        "tokenizer": {"algorithm": "byte-level-bpe", "vocab_size": 330},
        "weight": 3.0,
    }
    recipe["teacher"] = [recipe["teacher"], other]
    result = destilo.run(load(recipe), output=tmp_path / "run")
    assert {one.model for one in result.evaluations} == {"teacher", "teacher-2", "student"}
    record = json.loads((tmp_path / "run/training/student/log.jsonl").read_text().split("\n")[0])
    terms = record["terms"]
    assert set(terms) == {"labels", "kl@1", "kl@2"}
    expected = 0.5 * terms["labels"] + 0.5 * (0.25 * terms["kl@1"] + 0.75 * terms["kl@2"])
    assert record["loss"] == pytest.approx(expected)
    recipe["teacher"][1]["weight"] = 1.0  # changes the student, not the teachers
    assert go(load(recipe), tmp_path / "run", until="student").done == ["student"]


@pytest.mark.slow
def test_an_albert_checkpoint_with_fewer_turns(tmp_path: Path) -> None:
    texts = [row["text"] for row in tiny.class_rows(40, seed=1)]
    tokenizer = train_tokenizer(
        texts, algorithm="unigram", vocab_size=80, model_type="albert", max_length=64
    )
    config = AlbertConfig(
        vocab_size=len(tokenizer),
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    AlbertModel(config).save_pretrained(tmp_path / "albert")
    tokenizer.save_pretrained(tmp_path / "albert")
    student = {"from": "checkpoint", "model": str(tmp_path / "albert"), "layers": 2}
    recipe = short(tmp_path / "data", "classes", student=student)
    destilo.run(load(recipe), output=tmp_path / "run", until="evaluate")
    made = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/student")
    assert made.config.num_hidden_layers == 2


@pytest.mark.slow
def test_a_student_from_a_configuration_without_a_teacher(tmp_path: Path) -> None:
    recipe = short(tmp_path / "data", "classes")
    del recipe["teacher"]
    recipe["objective"] = [{"term": "labels"}]
    recipe["student"] = {
        "from": "config",
        "config": tiny.CONFIG,
        "tokenizer": {"algorithm": "wordpiece", "vocab_size": 120},
    }
    result = destilo.run(load(recipe), output=tmp_path / "run")
    assert {one.model for one in result.evaluations} == {"student"}


@pytest.mark.slow
def test_unlabelled_rows_and_a_share_of_the_training_rows_for_validation(tmp_path: Path) -> None:
    tiny.write_lines(
        tmp_path / "more.jsonl", [{"text": row["text"]} for row in tiny.class_rows(30, seed=8)]
    )
    recipe = short(
        tmp_path / "data",
        "classes",
        n=40,
        data__unlabelled={"format": "jsonl", "path": str(tmp_path / "more.jsonl")},
        data__validation={"fraction": 0.25},
        objective=[{"term": "kl", "temperature": 2.0}],
    )
    go(load(recipe), tmp_path / "run", until="evaluate")
    data = json.loads((tmp_path / "run/data.json").read_text())["splits"]
    assert {name: split["rows"] for name, split in data.items()} == {
        "train": 30,
        "validation": 10,
        "test": 12,
        "unlabelled": 30,
    }
    last = json.loads((tmp_path / "run/training/student/log.jsonl").read_text().split("\n")[-3])
    assert last["step"] == 8  # 60 rows in batches of 8


def test_the_no_answer_threshold_is_tuned_and_kept_with_the_model(tmp_path: Path) -> None:
    recipe = short(tmp_path / "data", "questions", unanswerable=True)
    result = destilo.run(load(recipe), output=tmp_path / "run", until="evaluate")
    for one in result.evaluations:
        saved = json.loads((tmp_path / "run" / one.model / "destilo.json").read_text())
        assert saved["no_answer"] is True
        assert one.settings["no_answer_threshold"] == saved["no_answer_threshold"]
    predictor = destilo.Predictor.load(tmp_path / "run")
    assert predictor.task.settings()["no_answer_threshold"] == saved["no_answer_threshold"]
    # a teacher that is used as it is gets its own threshold as well
    ready = {**recipe, "teacher": {"model": str(tmp_path / "run/teacher")}}
    again = destilo.run(load(ready), output=tmp_path / "ready", until="evaluate")
    first, second = (
        next(one for one in found.evaluations if one.model == "teacher")
        for found in (result, again)
    )
    assert first.settings == second.settings
    assert first.main == second.main


# -- what is refused ---------------------------------------------------------------------


def test_windows_longer_than_the_model_are_refused_before_training(tmp_path: Path) -> None:
    recipe = load(short(tmp_path / "data", encoding__max_length=80))
    with pytest.raises(InputError, match=r"max_length.*64"):
        go(recipe, tmp_path / "run")


def test_a_run_of_another_task_is_replaced_by_force_alone(
    copied: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe, run = copied
    named = load({**recipe, "name": "names-of-places"})
    go(named, run, until="data")
    files = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    other = load(short(tmp_path / "data", "classes"))
    said = (
        r"'names-of-places' of another task, token-classification.*text-classification.*-o.*force"
    )
    with pytest.raises(InputError, match=said):
        go(other, run, until="data")
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == files
    go(other, run, until="data", force=True)
    assert destilo.load_recipe(run / "recipe.yaml").task == "text-classification"
    assert destilo.Predictor.load(run).task.name == "token-classification"  # until it is replaced


def test_a_profile_without_its_device_is_refused_before_the_first_step(
    copied: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = copied
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    elsewhere = load(recipe, "profile.device=cuda")
    with pytest.raises(InputError, match=r"profile\.device is cuda.*to cpu"):
        go(elsewhere, run)
    assert destilo.load_recipe(run / "recipe.yaml").digest == load(recipe).digest
    assert (run / "profile.json").exists()
    assert go(elsewhere, run, until="evaluate").done == []


def test_a_leak_stops_the_run_where_it_is_an_error(tmp_path: Path) -> None:
    recipe = short(tmp_path / "data", data__leak_check="error")
    recipe["data"]["test"] = recipe["data"]["train"]
    with pytest.raises(InputError, match=r"train.*leak_check"):
        go(load(recipe), tmp_path / "run")
    assert not (tmp_path / "run" / "data.json").exists()


def test_a_full_disk_is_told_as_such_and_the_run_goes_on(
    finished: tuple[dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = finished
    messages = (
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "[enforce fail at inline_container.cc:672] . unexpected pos 44800 vs 44688",
        "basic_ios::clear: iostream error",
    )
    for message in messages:
        with monkeypatch.context() as patched:

            def fail(*args: Any, text: str = message, **kwargs: Any) -> None:
                raise RuntimeError(text)

            patched.setattr("destilo.training.loop.save_checkpoint", fail)
            with pytest.raises(DestiloError, match=r"disk is full .*same command again") as caught:
                go(load(recipe), tmp_path / "run", until="teacher")
        assert caught.value.exit_code == 1
    go(load(recipe), tmp_path / "run", until="teacher")
    assert same(weights(tmp_path / "run", "teacher"), weights(run, "teacher"))
