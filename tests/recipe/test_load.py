import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destilo.errors import RecipeError
from destilo.recipe.catalogue import copy_recipe
from destilo.recipe.load import dump_recipe, load_recipe
from destilo.recipe.places import dotted
from destilo.recipe.schema import TrainingSpec
from destilo.recipe.yaml_text import write_yaml


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, content: str | bytes | Mapping[str, Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, Mapping):
            content = write_yaml(dict(content))
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def problems(source: Any, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        load_recipe(source, overrides=overrides)
    return str(raised.value).splitlines()


def line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_file_name_and_mapping_give_the_same_recipe(
    write: Any, minimal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("mine.yaml", minimal)
    recipe = load_recipe(path)
    assert recipe == load_recipe(str(path)) == load_recipe(minimal)
    monkeypatch.chdir(path.parent)
    assert load_recipe("mine.yaml").digest == recipe.digest
    assert load_recipe("demo").name == "demo"


def test_unknown_names_and_missing_files(tmp_path: Path) -> None:
    assert "Did you mean 'demo'?" in problems("demmo")[0]
    assert "no such recipe file" in problems("nothing/here.yaml")[0]
    assert "is a folder" in problems(tmp_path)[0]
    assert "no such recipe file" in problems("x" * 5000 + ".yaml")[0]
    assert "no such recipe file" in problems("nul\0l.yaml")[0]


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"- a\n- b\n", "`key: value`"),
        (b"just words", "`key: value`"),
        (b"task: caf\xe9\n", ":1: not UTF-8"),
    ],
)
def test_files_that_are_no_recipe(write: Any, content: bytes, hint: str) -> None:
    path = write("bad.yaml", content)
    [problem] = problems(path)
    assert problem.startswith(str(path))
    assert hint in problem


def test_a_byte_order_mark_and_crlf_do_no_harm(write: Any, minimal: dict[str, Any]) -> None:
    text = write_yaml(minimal).replace("\n", "\r\n")
    assert load_recipe(write("r.yaml", b"\xef\xbb\xbf" + text.encode())) == load_recipe(minimal)


def test_all_problems_are_told_at_once_with_file_line_key_and_remedy(write: Any) -> None:
    path = write(
        "r.yaml",
        "task: question-anwering\n"
        "data:\n"
        "  train: {format: synthetic}\n"
        "  validation: {fractoin: 0.1}\n"
        "student:\n"
        "  from: layers\n"
        "  layers: '3'\n"
        "objective:\n"
        "  - term: kll\n"
        "traning: {}\n"
        "evaluation: {baseline: yes}\n",
    )
    found = problems(path)
    assert len(found) == 7
    for line, key, hint in (
        (1, "task", "Did you mean 'question-answering'?"),
        (4, "data.validation.fraction", "is missing"),
        (4, "data.validation.fractoin", "Did you mean 'fraction'?"),
        (7, "student.layers", "Take the quotes away"),
        (9, "objective.0.term", "Did you mean 'kl'?"),
        (10, "traning", "Did you mean 'training'?"),
        (11, "evaluation.baseline", "Write true."),
    ):
        [problem] = [text for text in found if text.startswith(f"{path}:{line}: {key}: ")]
        assert hint in problem


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("data.labels=[0, 1]", "Write it in quotes: '0'."),
        ("task=masked-lm", "not available yet"),
        ("teacher.cache=hidden", "Available: off, logits"),
        ("objective=[]", "at least one entry"),
        ("objective={term: kl}", "a list"),
        ("training.seed=true", "must be a whole number, not true"),
        ("training.learning_rate=-1", "greater than 0"),
        ("training.learning_rate=.inf", "finite"),
        ("training.adam_beta1=1.5", "less than 1"),
        ("language=Spanish", "such as `es`"),
        ("student=3", "section"),
        ("teacher={}", "exactly one of `model`"),
        ("data.test.format=cvs", "Did you mean 'csv'?"),
        ("data.train.pth=x", "Did you mean 'path'?"),
        ("student.tokenizer={algorithm: bpe, vocab_size: 500}", "byte-level-bpe"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    minimal: dict[str, Any], override: str, hint: str
) -> None:
    found = problems(minimal, override)
    assert all(text.startswith(f"--set {override}: ") for text in found)
    assert any(hint in text for text in found), found


class TestOverrides:
    def test_values_are_yaml_and_sections_are_made(self, minimal: dict[str, Any]) -> None:
        recipe = load_recipe(
            minimal,
            overrides=[
                "training.learning_rate=3e-5",
                "objective.0.weight=0.25",
                "data.unlabelled={format: synthetic, split: unlabelled}",
                "teacher.finetune.seed=3",
                "name=no",
            ],
        )
        assert recipe.training.learning_rate == 3e-5
        assert recipe.objective[0].weight == 0.25
        assert recipe.data.unlabelled is not None
        assert recipe.teachers[0].finetune is not None
        assert recipe.teachers[0].finetune.seed == 3
        assert recipe.name == "no"

    def test_the_last_one_wins_and_the_source_is_left_alone(self, minimal: dict[str, Any]) -> None:
        overrides = ["training.seed=1", "training={seed: 2}", "training.max_steps=5"]
        recipe = load_recipe(minimal, overrides=overrides)
        assert (recipe.training.seed, recipe.training.max_steps) == (2, 5)
        assert "training" not in minimal

    def test_null_takes_a_key_back_to_its_default(self, minimal: dict[str, Any]) -> None:
        recipe = load_recipe(minimal | {"training": {"seed": 5}}, overrides=["training.seed=null"])
        assert recipe.training.seed == TrainingSpec().seed
        assert load_recipe(minimal, overrides=["teacher="]).teacher is None

    @pytest.mark.parametrize(
        ("override", "hint"),
        [
            ("training.sed=1", "Did you mean 'seed'?"),
            ("traning.seed=1", "Did you mean 'training'?"),
            ("objective.5.weight=1", "Name an entry: 0 to 1"),
            ("objective.-1.weight=1", "Name an entry"),
            ("objective.first.weight=1", "Name an entry"),
            ("task.name=1", "not a section"),
            ("training.seed", "key.path=value"),
            ("=1", "key.path=value"),
            ("training..seed=1", "key.path=value"),
            ("training.seed=[1", "not valid YAML"),
            ("extends=demo", "in the recipe file only"),
        ],
    )
    def test_errors_name_the_override(
        self, minimal: dict[str, Any], override: str, hint: str
    ) -> None:
        found = problems(minimal, override)
        assert found[0].startswith(f"--set {override}")
        assert hint in found[0]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["seed", "save_steps", "logging_steps"]),
            st.integers(min_value=1, max_value=10**9),
        )
    )
    def test_setting_a_key_equals_writing_it(
        self, minimal: dict[str, Any], training: dict[str, int]
    ) -> None:
        overrides = [f"training.{key}={value}" for key, value in training.items()]
        written = load_recipe(minimal | {"training": training})
        assert load_recipe(minimal, overrides=overrides).digest == written.digest


class TestExtends:
    def test_sections_merge_and_lists_are_replaced(
        self, write: Any, minimal: dict[str, Any]
    ) -> None:
        base = minimal | {"name": "base", "training": {"seed": 1, "max_steps": 9}}
        write("base.yaml", base)
        child = write(
            "child.yaml",
            "extends: base.yaml\ntraining: {seed: 2}\nobjective: [{term: jsd}]\n",
        )
        recipe = load_recipe(child)
        assert (recipe.training.seed, recipe.training.max_steps) == (2, 9)
        assert [term.term for term in recipe.objective] == ["jsd"]
        assert recipe.name is None

    def test_null_removes_what_the_base_says(self, write: Any, minimal: dict[str, Any]) -> None:
        write("base.yaml", minimal | {"training": {"seed": 1}})
        child = write(
            "child.yaml",
            "extends: base.yaml\n"
            "training: {seed: null}\n"
            "data: {validation: {format: null, split: null, fraction: 0.2}}\n",
        )
        recipe = load_recipe(child)
        assert recipe.training.seed == TrainingSpec().seed
        assert recipe.data.validation.model_dump() == {"fraction": 0.2, "seed": 13}

    def test_errors_name_the_file_they_stand_in(self, write: Any, minimal: dict[str, Any]) -> None:
        base = write("base.yaml", minimal | {"training": {"sed": 1, "bf16": 3}})
        child = write("child.yaml", "extends: base.yaml\ntraining:\n  bf16: 4\n")
        in_base, in_child = sorted(problems(child))
        assert in_base.startswith(f"{base}:{line_of(base, 'sed')}: training.sed")
        assert in_child.startswith(f"{child}:3: training.bf16")

    def test_a_shipped_recipe_can_be_extended_from_python(self) -> None:
        recipe = load_recipe({"extends": "demo", "training": {"seed": 99}})
        assert recipe.training.seed == 99
        assert recipe.digest == load_recipe("demo", overrides=["training.seed=99"]).digest

    def test_circles_and_missing_bases_are_refused(self, write: Any) -> None:
        a = write("a.yaml", "extends: b.yaml\n")
        b = write("b.yaml", "task: x\nextends: a.yaml\n")
        [problem] = problems(a)
        assert problem.startswith(f"{b}:2: extends: ")
        assert "a.yaml -> b.yaml -> a.yaml" in problem
        lost = write("c.yaml", "extends: lost.yaml\n")
        assert problems(lost)[0].startswith(f"{lost}:1: extends: ")
        assert "one recipe" in problems(write("d.yaml", "extends: [demo]\n"))[0]


class TestPaths:
    def test_seen_from_the_file_where_they_exist_there(
        self, write: Any, tmp_path: Path, minimal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("exp/here.json", "{}")
        (tmp_path / "exp" / "teacher").mkdir()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        squad = {"format": "squad", "path": ["here.json", "there.json"]}
        recipe = load_recipe(
            write(
                "exp/r.yaml",
                minimal
                | {
                    "data": {"train": squad, "validation": {"fraction": 0.1}},
                    "teacher": {"model": "org/name"},
                },
            )
        )
        assert recipe.data.train.paths == (str(tmp_path / "exp" / "here.json"), "there.json")
        assert recipe.teachers[0].model == "org/name"
        assert recipe.student.tokenizer == "teacher"  # the word, whatever folders there are

    def test_overrides_and_mappings_are_seen_from_here(
        self, write: Any, tmp_path: Path, minimal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write("exp/r.yaml", minimal)
        write("exp/x.json", "{}")
        write("x.json", "{}")
        monkeypatch.chdir(tmp_path)
        for source in (path, minimal):
            recipe = load_recipe(source, overrides=["data.train={format: squad, path: x.json}"])
            assert recipe.data.train.path == str(tmp_path / "x.json")

    def test_home_is_understood(self, minimal: dict[str, Any]) -> None:
        recipe = load_recipe(minimal, overrides=["teacher={model: ~/no-such-model}"])
        assert recipe.teachers[0].model == os.path.expanduser("~/no-such-model")  # noqa: PTH111  (independent of ours)

    def test_columns_are_no_paths(
        self, write: Any, minimal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write("r.yaml", minimal)
        write("answer", "")
        monkeypatch.chdir(path.parent)
        override = "data.train={format: jsonl, path: t.jsonl, columns: {answers: answer}}"
        assert load_recipe(path, overrides=[override]).data.train.columns == {"answers": "answer"}


class TestDump:
    def test_what_is_dumped_loads_back(self, write: Any, minimal: dict[str, Any]) -> None:
        recipe = load_recipe(
            minimal | {"name": "3e-5", "description": "no\nañadir: «sí»"},
            overrides=["teacher.config.pad_token_id=null", "data.train.size=5"],
        )
        back = load_recipe(write("r.yaml", dump_recipe(recipe)))
        assert back == recipe
        assert back.digest == recipe.digest

    def test_defaults_are_written_out(self, minimal: dict[str, Any]) -> None:
        assert "learning_rate: 5.0e-05" in dump_recipe(load_recipe(minimal))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(name=st.text(min_size=1), rate=st.floats(min_value=1e-12, max_value=1e6))
    def test_any_name_and_number_survive(
        self, tmp_path: Path, minimal: dict[str, Any], name: str, rate: float
    ) -> None:
        recipe = load_recipe(minimal | {"name": name, "training": {"learning_rate": rate}})
        path = tmp_path / "dumped.yaml"
        path.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
        assert load_recipe(path) == recipe


def test_places_are_kept_and_are_no_part_of_the_recipe(write: Any, minimal: dict[str, Any]) -> None:
    path = write("r.yaml", minimal)
    recipe = load_recipe(path, overrides=["training.seed=13"])
    assert recipe.place_of("student", "layers") == f"{path}:{line_of(path, 'layers: 2')}"
    assert recipe.place_of("training", "seed") == "--set training.seed=13"
    bare = load_recipe(minimal)
    assert bare.place_of("student", "layers") == dotted(("student", "layers"))
    assert recipe == bare
    assert recipe.digest == bare.digest


def test_comments_and_key_order_do_not_change_the_digest(tmp_path: Path) -> None:
    copied = copy_recipe("demo", tmp_path)
    lines = copied.read_text(encoding="utf-8").splitlines()
    bare = [line.split("  #")[0] for line in lines if not line.startswith("#")]
    copied.write_text("\n".join(bare), encoding="utf-8")
    assert load_recipe(copied).digest == load_recipe("demo").digest
