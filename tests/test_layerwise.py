"""Layer-wise distillation from recipe to model: terms, tasks, stages, widths, tokenizers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import destilo
from destilo.errors import InputError, ModelError, RecipeError
from destilo.models.outputs import Wanted
from destilo.models.student import model_from_config
from destilo.pipeline.following import require_units
from destilo.progress import Silent
from destilo.recipe.check import check_recipe
from destilo.tasks import make_task
from destilo.teacher.alignment import AlignmentMode
from tests import tiny
from tests.training.killing import run_recipe

torch.set_num_threads(1)

LABELS_AND_KL = [{"term": "labels", "weight": 0.5}, {"term": "kl", "weight": 0.5}]
LAYERS = [
    {"term": "hidden-mse"},
    {"term": "hidden-cosine"},
    {"term": "embedding-mse"},
    {"term": "attention-mse"},
    {"term": "attention-relations"},
]
NARROW = {**tiny.CONFIG, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
ALL_NAMES = {
    "labels",
    "kl",
    "hidden-mse 1:2",
    "hidden-cosine 1:2",
    "embedding-mse",
    "attention-mse 1:2",
    "attention-relations 1:2",
}


def short(folder: Path, kind: str = "ner", **changes: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "n": 24,
        "training__num_train_epochs": 1,
        "objective": LABELS_AND_KL + LAYERS,
    }
    return tiny.recipe(folder, kind, **(defaults | changes))


def train(recipe: dict[str, Any], output: Path) -> Path:
    destilo.run(destilo.load_recipe(recipe), output=output, until="student")
    return output


def log(run: Path, name: str = "student") -> list[dict[str, Any]]:
    lines = (run / "training" / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "model.safetensors")


@pytest.mark.parametrize(
    "kind", ["ner", *(pytest.param(k, marks=pytest.mark.slow) for k in ("questions", "pairs"))]
)
def test_all_terms_train_together_and_are_logged_apart(kind: str, tmp_path: Path) -> None:
    run = train(short(tmp_path / "data", kind), tmp_path / "run")
    first = log(run)[0]
    assert set(first["terms"]) == ALL_NAMES
    start = json.loads((run / "preflight.json").read_text())["start"]
    assert set(start) == ALL_NAMES
    assert start["embedding-mse"] == pytest.approx(
        0.0, abs=1e-9
    )  # the teacher's own, to begin with
    assert start["hidden-mse 1:2"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ner", "questions", "pairs"])
def test_layers_across_tokenizers_are_compared_by_word(kind: str, tmp_path: Path) -> None:
    terms = LAYERS if kind != "pairs" else LAYERS[:3]
    recipe = short(
        tmp_path / "data",
        kind,
        objective=LABELS_AND_KL + terms,
        student__tokenizer={"algorithm": "byte-level-bpe", "vocab_size": 330},
    )
    first = log(train(recipe, tmp_path / "run"))[0]["terms"]
    assert all(value >= 0 for value in first.values())
    assert len(first) == len(LABELS_AND_KL + terms)


def test_by_word_within_one_tokenizer_leaves_out_what_is_no_word(tmp_path: Path) -> None:
    """A tagging row has two special positions, which words do not: other units, other values."""
    objective = [{"term": "labels"}, {"term": "hidden-mse"}]
    starts = []
    for mode in ("identity", "word"):
        recipe = short(tmp_path / "data", objective=objective, alignment=mode)
        run = train(recipe, tmp_path / mode)
        starts.append(json.loads((run / "preflight.json").read_text())["start"])
    assert starts[0]["labels"] == pytest.approx(starts[1]["labels"])
    assert starts[0]["hidden-mse 1:2"] != pytest.approx(starts[1]["hidden-mse 1:2"], rel=1e-3)


@pytest.mark.parametrize("projection", ["each", "shared"])
def test_a_projection_learns_and_is_never_in_the_saved_student(
    projection: str, tmp_path: Path
) -> None:
    recipe = short(
        tmp_path / "data",
        student={"from": "config", "config": NARROW, "init": "svd"},
        objective=[{"term": "labels"}, {"term": "hidden-mse", "projection": projection}],
    )
    run = train(recipe, tmp_path / "run")
    shapes = {name: tuple(value.shape) for name, value in weights(run).items()}
    assert not any("projection" in name for name in shapes)
    assert (32, 16) not in shapes.values()
    values = [record["terms"]["hidden-mse 1:2"] for record in log(run) if "terms" in record]
    assert values[-1] < values[0]


@pytest.mark.parametrize("init", ["svd", "slice"])
def test_where_each_tensor_came_from_is_reported(init: str, tmp_path: Path) -> None:
    student = {"from": "config", "config": NARROW, "init": init}
    run = train(
        short(tmp_path / "data", student=student, objective=LABELS_AND_KL), tmp_path / "run"
    )
    report = json.loads((run / "training" / "student" / "init.json").read_text())
    assert set(report["origins"]) >= set(weights(run))
    words = report["origins"]["bert.embeddings.word_embeddings.weight"]
    assert words == {"svd": "svd", "slice": "sliced"}[init]
    layer = report["origins"]["bert.encoder.layer.0.attention.self.query.weight"]
    assert layer == {"svd": "random", "slice": "sliced"}[init]


STAGES = [
    {"objective": [{"term": "hidden-mse"}], "training": {"learning_rate": 1e-3}},
    {"objective": LABELS_AND_KL},
]


def staged(folder: Path, **changes: Any) -> dict[str, Any]:
    recipe = short(folder, stages=STAGES, training__save_steps=2, **changes)
    del recipe["objective"]
    return recipe


def test_stages_are_trained_in_turn_each_with_its_own_terms_and_schedule(tmp_path: Path) -> None:
    run = train(staged(tmp_path / "data"), tmp_path / "run")
    first, second = log(run, "student-stage-1"), log(run)
    assert set(first[0]["terms"]) == {"hidden-mse 1:2"}
    assert set(second[0]["terms"]) == {"labels", "kl"}
    assert max(record["learning_rate"] for record in first) == pytest.approx(1e-3)
    assert not any("validation" in record for record in first)  # no metric without a head
    start = json.loads((run / "preflight.json").read_text())["start"]
    assert set(start) == {"hidden-mse 1:2 (stage 1)", "labels (stage 2)", "kl (stage 2)"}


@pytest.mark.parametrize("call", [5, 8])
def test_killed_in_either_stage_it_ends_with_the_same_weights(call: int, tmp_path: Path) -> None:
    """3 steps of the teacher, 3 of each stage: call 5 is in the first, 8 in the second."""
    recipe = staged(tmp_path / "data", student__dropout=0.1)
    assert run_recipe(recipe, tmp_path / "whole") == 0
    assert run_recipe(recipe, tmp_path / "killed", moment="step", call=call) != 0
    assert run_recipe(recipe, tmp_path / "killed") == 0
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_killed_between_two_stages_it_goes_on_with_the_second_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    recipe, run = staged(tmp_path / "data"), tmp_path / "run"
    assert run_recipe(recipe, run, moment="kept", call=1) != 0
    assert run_recipe(recipe, run) == 0
    assert run_recipe(recipe, tmp_path / "whole") == 0
    one, other = weights(tmp_path / "whole"), weights(run)
    assert all(torch.equal(one[name], other[name]) for name in one)
    left = {path.name for path in (run / "training" / "student-stage-1").iterdir()}
    assert left == {path.name for path in (tmp_path / "whole/training/student-stage-1").iterdir()}


@pytest.mark.slow
def test_projections_resume_with_the_student(tmp_path: Path) -> None:
    recipe = short(
        tmp_path / "data",
        student={"from": "config", "config": NARROW, "init": "svd"},
        training__num_train_epochs=3,
        training__save_steps=2,
    )
    assert run_recipe(recipe, tmp_path / "whole") == 0
    assert run_recipe(recipe, tmp_path / "killed", moment="step", call=9) != 0
    assert run_recipe(recipe, tmp_path / "killed") == 0
    assert log(tmp_path / "whole") == log(tmp_path / "killed")
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_written_recipe_with_stages_loads_again(tmp_path: Path) -> None:
    recipe = destilo.load_recipe(staged(tmp_path / "data"))
    run = tmp_path / "run"
    destilo.run(recipe, output=run, until="data")
    assert destilo.load_recipe(run / "recipe.yaml").digest == recipe.digest


def _parameters(settings: dict[str, Any]) -> int:
    with torch.device("meta"):
        model = model_from_config(
            settings, "question-answering", labels=(), vocab_size=50_262, pad_id=1
        )
    return sum(weight.numel() for weight in model.parameters())


def test_the_papers_pair_has_the_papers_sizes() -> None:
    """51M and 355M in the paper (section 4), 6.9 times fewer."""
    recipe = destilo.load_recipe("spanish-tinyroberta")
    assert isinstance(recipe.student.config, dict)
    student = _parameters(recipe.student.config)
    large = {
        **recipe.student.config,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
    }
    teacher = _parameters(large)
    assert student == 51_211_778
    assert round(teacher / 1e6, 1) == 354.3
    assert round(teacher / student, 1) == 6.9


def test_attention_between_the_one_unit_of_a_text_is_refused() -> None:
    attention = Wanted(relations=frozenset({1}))
    classes = make_task("text-classification", labels=("sí", "no"))
    tags = make_task("token-classification", labels=("B-LOC", "O"))
    require_units(classes, AlignmentMode.IDENTITY, attention)
    require_units(classes, AlignmentMode.WORD, Wanted(hidden=frozenset({1})))
    require_units(tags, AlignmentMode.WORD, attention)
    with pytest.raises(InputError, match="no attention"):
        require_units(classes, AlignmentMode.WORD, attention)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "student": {"from": "config", "config": {**NARROW, "num_attention_heads": 4}},
                "objective": [{"term": "attention-mse"}],
            },
            "average_heads",
        ),
        ({"objective": [{"term": "hidden-mse", "layer_map": [[1, 3]]}]}, "layer 3 of a teacher"),
        (
            {
                "teacher__config": {**tiny.CONFIG, "model_type": "deberta-v2"},
                "objective": [{"term": "labels"}, {"term": "attention-mse"}],
            },
            "more than query times key",
        ),
        (
            {
                "student": {
                    "from": "config",
                    "config": {**NARROW, "model_type": "electra"},
                    "init": "svd",
                },
                "objective": [{"term": "hidden-mse"}],
            },
            "is electra and the teacher bert",
        ),
    ],
)
def test_what_check_cannot_know_is_refused_before_a_teacher_is_trained(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with models of the hub, whose configuration is not here when a recipe is checked."""
    monkeypatch.setattr("destilo.pipeline.stages.require_valid", lambda _: None)
    recipe = destilo.load_recipe(short(tmp_path / "data", **changes))
    with pytest.raises((ModelError, RecipeError), match=message):
        destilo.run(recipe, output=tmp_path / "run", until="teacher")
    assert not (tmp_path / "run" / "training" / "teacher").exists()


def test_layers_above_the_map_are_named(tmp_path: Path) -> None:
    """A teacher from the hub is not known to `check`, so the run itself says it."""
    recipe = short(tmp_path / "data", objective=[{"term": "hidden-mse", "layer_map": [[1, 1]]}])
    told: list[str] = []

    class Listener(Silent):
        def note(self, message: str, *, level: str = "info") -> None:
            told.append(f"{level}: {message}")

    destilo.run(
        destilo.load_recipe(recipe), output=tmp_path / "run", until="student", progress=Listener()
    )
    assert any(
        "warning: no layer of the student follows layer 2 of the teacher" in x for x in told
    ), told


_MODERN = {**tiny.CONFIG, "model_type": "modernbert", "num_hidden_layers": 4}
"""By default layers 1 and 4 see the whole text."""


def _findings(recipe: dict[str, Any]) -> list[str]:
    return [str(one) for one in check_recipe(destilo.load_recipe(recipe))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": [{"term": "hidden-mse", "layer_map": "every:3"}]}, "every:3"),
        ({"objective": [{"term": "hidden-mse", "layer_map": [[2, 2]]}]}, "layer 2 of a student"),
        ({"objective": [{"term": "hidden-mse", "layer_map": [[1, 3]]}]}, "layer 3 of a teacher"),
        (
            {
                "student": {"from": "config", "config": {**NARROW, "num_attention_heads": 4}},
                "objective": [{"term": "attention-mse"}],
            },
            "average_heads: true",
        ),
        (
            {
                "student": {"from": "config", "config": NARROW},
                "objective": [{"term": "hidden-mse", "projection": "none"}],
            },
            "Write `each` or `shared`",
        ),
        ({"objective": [{"term": "attention-relations", "relation_heads": 5}]}, "divisor of 32"),
        ({"student": {"from": "layers", "layers": 1, "init": "svd"}}, "from: config"),
        (
            {
                "student": {
                    "from": "config",
                    "config": {**NARROW, "model_type": "electra"},
                    "init": "svd",
                }
            },
            "is electra and the teacher bert.*model_type: bert",
        ),
        (
            {
                "student": {
                    "from": "config",
                    "config": NARROW,
                    "init": "slice",
                    "layer_map": "every:3",
                }
            },
            "student.init: .*reaches layer 3.*init: random",
        ),
        (
            {"objective": [{"term": "hidden-mse", "layer_map": [[1, 1]]}]},
            "nothing follows layer 2 of the teacher",
        ),
        (
            {
                "teacher__config": _MODERN,
                "student": {"from": "layers", "layers": [1, 2]},
                "objective": [{"term": "attention-mse", "layer_map": [[1, 4], [2, 4]]}],
            },
            "layer 2 of the student looks at its neighbours",
        ),
        (
            {
                "teacher__config": _MODERN,
                "objective": [{"term": "attention-mse", "layer_map": [[1, 3]]}],
            },
            "layer 3 of the teacher looks at its neighbours",
        ),
        (
            {
                "teacher__config": {**tiny.CONFIG, "model_type": "deberta-v2"},
                "objective": [{"term": "attention-mse"}],
            },
            "the student .deberta-v2. are more than query times key",
        ),
        (
            {
                "teacher__config": {**tiny.CONFIG, "model_type": "albert", "inner_group_num": 2},
                "objective": [{"term": "embedding-mse"}],
            },
            "inner_group_num 2",
        ),
        (
            {
                "student": {"from": "config", "config": {**NARROW, "num_hidden_layers": 3}},
                "objective": [{"term": "hidden-mse"}],
            },
            r"Write the pairs, such as \[\[3, 2\]\]",
        ),
        ({"objective": [{"term": "hidden-mse"}]}, "no term of the last training reaches"),
    ],
)
def test_check_refuses_or_warns_before_anything_is_loaded(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    found = _findings(short(tmp_path / "data", **changes))
    assert any(re.search(message, one) for one in found), found


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"term": "kl", "layer_map": "last"}, "no layer_map"),
        ({"term": "hidden-mse", "temperature": 2.0}, "no temperature"),
        ({"term": "hidden-mse", "compare": "probabilities"}, "no compare"),
        ({"term": "hiden-mse"}, "hidden-mse"),
        ({"term": "hidden-mse", "layer_map": [[1]]}, "layer_map: must hold pairs"),
        ({"term": "hidden-mse", "layer_map": [1, 2]}, "must hold pairs"),
        ({"term": "hidden-mse", "layer_map": [[1, 2, 3]]}, "must hold pairs"),
        ({"term": "hidden-mse", "layer_map": [[0, 0]]}, "whole numbers from 1"),
        ({"term": "hidden-mse", "layer_map": []}, "layer_map: is an empty list"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    term: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        destilo.load_recipe(short(tmp_path / "data", objective=[term]))


def test_stages_and_an_objective_are_not_both_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="remove `objective`"):
        destilo.load_recipe(short(tmp_path / "data", stages=STAGES))
