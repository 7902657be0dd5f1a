import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from destilo.errors import RecipeError
from destilo.recipe.check import Finding, check_recipe, require_valid
from destilo.recipe.load import load_recipe
from tests.recipe.conftest import MakeModel

HUB = "teacher={model: org/encoder, finetune: {}}"
BERT = (
    "{model_type: bert, hidden_size: 32, num_hidden_layers: 4, num_attention_heads: 2, "
    "intermediate_size: 64}"
)


def findings(source: Any, *overrides: str) -> list[Finding]:
    return check_recipe(load_recipe(source, overrides=overrides))


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, [str(finding) for finding in found]
    return found[0]


def test_the_encoder_of_a_ready_teacher_has_its_shape(
    minimal: dict[str, Any], make_model: MakeModel
) -> None:
    teacher, fewer = make_model("teacher"), make_model("fewer", num_hidden_layers=4)
    other, deeper = make_model("other", model_type="electra"), make_model("d", num_hidden_layers=24)
    for encoder in (teacher, deeper):  # a teacher may be made from its encoder's first layers
        assert findings({**minimal, "teacher": {"model": teacher, "encoder": encoder}}) == []
    for encoder, what in ((fewer, "number of layers (4)"), (other, "architecture (electra)")):
        found = only(findings({**minimal, "teacher": {"model": teacher, "encoder": encoder}}))
        assert found.key == "teacher.encoder"
        assert what in found.message
    found = only(findings({**minimal, "teacher": {"model": teacher, "encoder": "./nowhere"}}))
    assert (found.key, "does not exist" in found.message) == ("teacher.encoder", True)


def test_a_name_that_is_nearly_in_the_catalogue_is_told(minimal: dict[str, Any]) -> None:
    teacher = {"model": "betocased", "finetune": {}}
    warnings = [one for one in findings({**minimal, "teacher": teacher}) if one.level == "warning"]
    assert "Did you mean 'beto-cased'?" in only(warnings).remedy
    teacher = {"model": "bert-base-uncased", "finetune": {}}
    assert not [one for one in findings({**minimal, "teacher": teacher}) if "mean" in one.remedy]


@pytest.mark.parametrize("kind", ["finetune", "config"])
def test_a_teacher_that_is_made_here_names_no_encoder(
    kind: str, minimal: dict[str, Any], make_model: MakeModel
) -> None:
    made = minimal["teacher"] if kind == "config" else {"model": make_model(), "finetune": {}}
    with pytest.raises(RecipeError, match="remove it"):
        load_recipe({**minimal, "teacher": {**made, "encoder": "org/encoder"}})


def test_a_good_recipe_has_no_findings(minimal: dict[str, Any]) -> None:
    assert findings(minimal) == []
    require_valid(load_recipe(minimal))


@pytest.mark.parametrize(
    ("overrides", "key", "hint"),
    [
        # objective and teacher
        (["teacher=", "student={from: config, config: " + BERT + "}"], "objective.1.term", "none"),
        (["objective=[{term: kl, weight: 0}]"], "objective", "all weights are 0"),
        (["teacher.weight=0"], "teacher", "sum to 0"),
        (["objective=[{term: labels}]", "data.unlabelled.format=synthetic"], "data.unlabelled", ""),
        (["teacher.config.hidden_size=33"], "teacher.config", "such as 34"),
        (["teacher.config.hidden_size=null"], "teacher.config", "hidden_size missing"),
        (["teacher.config.num_hidden_layers=four"], "teacher.config.num_hidden_layers", "whole"),
        (["teacher.config.model_type=brt"], "teacher.config", "Did you mean 'bert'?"),
        (["teacher.config.model_type=null"], "teacher.config", "model_type"),
        # student
        (["student.layers=5"], "student.layers", "Use at most 4"),
        (["student.layers=[1, 5]"], "student.layers", "layer 5"),
        (["student.layers=[2, 2]"], "student.layers", "once"),
        (["student.layers=[3, 1]"], "student.layers", "order"),
        (["student.layers=null"], "student", "Add `layers"),
        (["student.layer_map=every"], "student.layer_map", "Unknown layer map"),
        (["student.layer_map=unifrom"], "student.layer_map", "Did you mean 'uniform'?"),
        (["student.layer_map=every:0"], "student.layer_map", "from 1"),
        (["student.layer_map=every:3"], "student.layer_map", "Use every:2"),
        (["student.of=encoder"], "student.of", "of: teacher"),
        (["student.model=org/x"], "student.model", "means nothing"),
        (["student={from: checkpoint}"], "student", "needs `model`"),
        (["student={from: checkpoint, model: org/x, layers: [1]}"], "student.layers", "number"),
        (["student={from: config}"], "student", "needs `config`"),
        (["student.tokenizer=own"], "student.tokenizer", "no tokenizer of its own"),
        (["student.tokenizer=./nowhere"], "student.tokenizer", "not a folder"),
        (["student={from: checkpoint, model: ./nowhere}"], "student.model", "does not exist"),
        # alignment
        (
            [
                "alignment=identity",
                "student.tokenizer={algorithm: unigram, vocab_size: 500}",
            ],
            "alignment",
            "alignment: word",
        ),
        # lengths
        (["teacher.config.max_position_embeddings=256"], "encoding.max_length", "256 or less"),
        (["profile.sequence_length=600"], "profile.sequence_length", "512 or less"),
        (["encoding.doc_stride=317"], "encoding.doc_stride", "leaves 317"),
        (["encoding={max_length: 64, doc_stride: 8}"], "encoding.doc_stride", "leaves 0"),
        # evaluation and training
        (["evaluation.select_by=sqad_f1"], "evaluation.select_by", "Did you mean 'squad_f1'?"),
        (["evaluation.select_by=macro_f1"], "evaluation.select_by", "squad_em"),
        (["evaluation.splits=[validation, test]"], "evaluation.splits.1", "Unknown split"),
        (["training.max_steps=0"], "training.max_steps", "-1"),
        (["teacher.finetune.max_steps=0"], "teacher.finetune.max_steps", "-1"),
        (
            ["objective=null", "stages=[{objective: [{term: kl}], training: {max_steps: 0}}]"],
            "stages.0.training.max_steps",
            "-1",
        ),
        # data
        (["data.train={format: squad, path: gone.json}"], "data.train.path", "does not exist"),
        (["data.train={format: squad, path: .}"], "data.train.path", "is a folder"),
        (["data.train={format: squad}"], "data.train", "Add `path"),
        (["data.train={format: conll, path: x}"], "data.train.format", "cannot serve"),
        (["data.train={format: hub}"], "data.train", "OWNER/DATASET"),
        (["data.train={format: hub, name: a/b, path: x}"], "data.train.path", "means nothing"),
        (["data.train.path=x"], "data.train.path", "means nothing"),
        (["data.train.split=trian"], "data.train.split", "Did you mean 'train'?"),
        (["data.train.scheme=iob1"], "data.train.scheme", "only tags"),
        (["data.train.columns={context: x}"], "data.train.columns", "means nothing"),
        (["data.labels=[a, b]"], "data.labels", "no labels"),
        (
            ["data.train={format: hub, name: a/b, columns: {qestion: q}}"],
            "data.train.columns.qestion",
            "Did you mean 'question'?",
        ),
    ],
)
def test_the_impossible_is_refused_with_its_key_and_the_remedy(
    minimal: dict[str, Any], overrides: list[str], key: str, hint: str
) -> None:
    found = [finding for finding in findings(minimal, *overrides) if finding.level == "error"]
    matching = [finding for finding in found if finding.key == key]
    assert matching, [str(finding) for finding in found]
    assert hint in str(matching[0])
    assert matching[0].remedy
    with pytest.raises(RecipeError) as raised:
        require_valid(load_recipe(minimal, overrides=overrides))
    assert len(str(raised.value).splitlines()) == len(found)


def test_a_finding_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "extends: demo\nstudent:\n  layers: 99\nevaluation: {select_by: acc}\n", encoding="utf-8"
    )
    layers, metric = findings(path)
    assert str(layers).startswith(f"{path}:3: student.layers: ")
    assert str(metric).startswith(f"{path}:4: evaluation.select_by: ")
    from_override = only(findings("demo", "student.layers=99"))
    assert from_override.where == "--set student.layers=99"


def test_a_student_from_layers_needs_a_teacher(minimal: dict[str, Any]) -> None:
    found = findings(minimal, "teacher=", "objective=[{term: labels}]")
    assert [finding.key for finding in found] == ["student.from", "student.tokenizer"]


def test_a_teacher_that_nothing_looks_at_is_a_warning(minimal: dict[str, Any]) -> None:
    finding = only(findings(minimal, "objective=[{term: labels}]"))
    assert (finding.level, finding.key) == ("warning", "teacher")
    require_valid(load_recipe(minimal, overrides=["objective=[{term: labels}]"]))


def test_hub_models_are_not_asked_for(minimal: dict[str, Any]) -> None:
    assert findings(minimal, HUB, "student.layers=11") == []


class TestModelFolders:
    def test_layers_and_positions_are_read(
        self, minimal: dict[str, Any], make_model: MakeModel
    ) -> None:
        teacher = f"teacher={{model: {make_model()}}}"
        assert findings(minimal, teacher, "student.layers=6") == []
        assert only(findings(minimal, teacher, "student.layers=7")).key == "student.layers"
        assert only(findings(minimal, teacher, "encoding.max_length=513")).remedy.endswith(
            "512 or less."
        )

    def test_roberta_has_two_positions_less_than_it_says(
        self, minimal: dict[str, Any], make_model: MakeModel
    ) -> None:
        folder = make_model(model_type="roberta", max_position_embeddings=514)
        teacher = f"teacher={{model: {folder}, finetune: {{}}}}"
        assert findings(minimal, teacher, "encoding.max_length=512") == []
        assert only(findings(minimal, teacher, "encoding.max_length=513")).level == "error"

    def test_distilbert_keys(self, minimal: dict[str, Any], make_model: MakeModel) -> None:
        folder = make_model(
            model_type="distilbert", architectures=["DistilBertForQuestionAnswering"], n_layers=3
        )
        found = findings(minimal, f"teacher={{model: {folder}}}", "student.layers=4")
        assert "has 3" in only(found).message

    def test_deberta_without_absolute_positions_has_no_limit(
        self, minimal: dict[str, Any], make_model: MakeModel
    ) -> None:
        folder = make_model(model_type="deberta-v2", position_biased_input=False)
        teacher = f"teacher={{model: {folder}, finetune: {{}}}}"
        assert findings(minimal, teacher, "encoding.max_length=1000") == []

    def test_an_encoder_needs_finetune(
        self, minimal: dict[str, Any], make_model: MakeModel
    ) -> None:
        folder = make_model(architectures=["BertForMaskedLM"])
        finding = only(findings(minimal, f"teacher={{model: {folder}}}"))
        assert "never trained" in finding.message
        assert "finetune" in finding.remedy
        assert findings(minimal, f"teacher={{model: {folder}, finetune: {{}}}}") == []

    @pytest.mark.parametrize(
        ("architectures", "hint"),
        [
            (["BertForTokenClassification"], "model for token-classification"),
            (["BertModel"], "encoder (BertModel)"),
            (None, "does not say"),
        ],
    )
    def test_a_head_of_another_kind(
        self, minimal: dict[str, Any], make_model: MakeModel, architectures: Any, hint: str
    ) -> None:
        folder = make_model(architectures=architectures)
        assert hint in only(findings(minimal, f"teacher={{model: {folder}}}")).message

    @pytest.mark.parametrize(
        ("labels", "hint"),
        [
            ("[B, A]", None),  # another order: permuted when it is loaded
            ("[A, B, C]", "has 2 labels, `data.labels` has 3. Unknown to the model: C."),
            ("[A, C]", "Unknown to the model: C. Not in the data: B."),
        ],
    )
    def test_labels_must_be_the_same_set(
        self, minimal: dict[str, Any], make_model: MakeModel, labels: str, hint: str | None
    ) -> None:
        folder = make_model(
            architectures=["BertForSequenceClassification"], id2label={"0": "A", "1": "B"}
        )
        source = {"format": "hub", "name": "a/b"}
        recipe = minimal | {
            "task": "text-classification",
            "data": {"train": source, "validation": source},
        }
        found = findings(recipe, f"teacher={{model: {folder}}}", f"data.labels={labels}")
        assert (found == []) if hint is None else (hint in only(found).message)

    def test_a_folder_without_tokenizer_is_refused(
        self, minimal: dict[str, Any], make_model: MakeModel
    ) -> None:
        folder = make_model(tokenizer=None)
        finding = only(findings(minimal, f"teacher={{model: {folder}}}"))
        assert "would build an empty one" in finding.message
        other = make_model("other")
        assert findings(minimal, f"teacher={{model: {folder}, tokenizer: {other}}}") == []

    def test_identity_needs_the_same_tokenizer(
        self, minimal: dict[str, Any], make_model: MakeModel
    ) -> None:
        same = '{"model": 1, "truncation": {"max_length": 5}}'
        own = '{"model": 1}'
        teacher = f"teacher={{model: {make_model('t', tokenizer=own)}}}"
        for name, tokenizer, expected in (
            ("a", same, []),
            ("b", '{"model": 2}', ["alignment"]),
        ):
            student = (
                f"student={{from: checkpoint, model: {make_model(name, tokenizer=tokenizer)}}}"
            )
            found = findings(minimal, teacher, student, "alignment=identity")
            assert [finding.key for finding in found] == expected

    @pytest.mark.parametrize(
        ("content", "hint"),
        [("{", "cannot be read as JSON"), ("[]", "not a JSON object"), (None, "no config.json")],
    )
    def test_damaged_folders(
        self, minimal: dict[str, Any], tmp_path: Path, content: str | None, hint: str
    ) -> None:
        if content is not None:
            (tmp_path / "config.json").write_text(content, encoding="utf-8")
        finding = only(findings(minimal, f"teacher={{model: {tmp_path}}}"))
        assert hint in finding.message
        assert finding.key == "teacher.model"

    def test_an_unknown_architecture_gets_the_list(
        self, minimal: dict[str, Any], make_model: MakeModel
    ) -> None:
        folder = make_model(model_type="gpt2")
        finding = only(findings(minimal, f"teacher={{model: {folder}}}"))
        assert "Unknown model_type 'gpt2'" in finding.message
        assert "modernbert" in finding.remedy


def test_checking_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from destilo.recipe.load import load_recipe\n"
        "from destilo.recipe.check import require_valid\n"
        "require_valid(load_recipe('demo'))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
