"""Predicting with what a run wrote: from arguments, a file, standard input and Python."""

import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

import destilo
from destilo.cli import _main
from destilo.errors import InputError
from tests import tiny

torch.set_num_threads(1)
Made: TypeAlias = Callable[[str], Path]

ONE: dict[str, dict[str, str]] = {
    "ner": {"text": "Inés vive en Jaca ."},
    "classes": {"text": "La obra es preciosa."},
    "pairs": {"text": "Inés vive en Jaca.", "text_pair": "Inés nació en Jaca."},
    "questions": {"question": "¿Dónde vive Inés?", "context": "Inés vive en Jaca desde 1950."},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The run of a kind of task, trained when it is first asked for."""
    runs: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in runs:
            folder = tmp_path_factory.mktemp(kind)
            recipe = tiny.recipe(
                folder / "data",
                kind,
                n=24,
                unanswerable=kind == "questions",
                training__num_train_epochs=1,
            )
            destilo.run(destilo.load_recipe(recipe), output=folder / "run", until="evaluate")
            runs[kind] = folder / "run"
        return runs[kind]

    return make


def call(*arguments: str | Path) -> int:
    return _main([str(argument) for argument in arguments], debug=False)


def flags(values: dict[str, str]) -> list[str]:
    return [word for key, value in values.items() for word in (f"--{key.replace('_', '-')}", value)]


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


KINDS = ["questions", *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(ONE)[:-1])]


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_file_standard_input_and_python_agree(
    kind: str,
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, values = made(kind), ONE[kind]
    assert call("predict", run, *flags(values)) == 0
    [line] = capsys.readouterr().out.splitlines()
    content = "\ufeff" + json.dumps(values, ensure_ascii=False) + "\r\n\n"
    (tmp_path / "rows.jsonl").write_text(content, encoding="utf-8")
    target = tmp_path / "new" / "out.jsonl"
    assert call("predict", run, "-i", tmp_path / "rows.jsonl", "-o", target) == 0
    assert target.read_text(encoding="utf-8") == line + "\n"
    assert [path.name for path in target.parent.iterdir()] == ["out.jsonl"]
    for source in ([], ["-i", "-"]):
        feed(monkeypatch, content.encode())
        capsys.readouterr()
        assert call("predict", run, *source) == 0
        assert capsys.readouterr().out == line + "\n"
    assert destilo.Predictor.load(run)(**values) == json.loads(line)
    assert destilo.Predictor.load(run / "student")(**values) == json.loads(line)


@pytest.mark.parametrize("kind", ["questions", pytest.param("pairs", marks=pytest.mark.slow)])
def test_the_same_answers_as_the_runs_predictions(kind: str, made: Made) -> None:
    run = made(kind)
    predictor = destilo.Predictor.load(run)
    file = next((run.parent / "data").glob("test.*"))
    if kind == "questions":
        content = json.loads(file.read_text(encoding="utf-8"))["data"][0]["paragraphs"]
        inputs = [
            {"id": one["qas"][0]["id"], "question": one["qas"][0]["question"]}
            | {"context": one["context"]}
            for one in content
        ]
    else:
        inputs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for values in inputs:
            del values["label"]
    mine = list(predictor.stream((predictor.row(values) for values in inputs), batch_size=2))
    stored = (run / "predictions/student-test.jsonl").read_text(encoding="utf-8").splitlines()
    for one, line in zip(mine, stored, strict=True):
        kept = json.loads(line)
        for key in ("answer", "label", "start", "end"):
            assert one.get(key) == kept.get(key)


@pytest.mark.slow
def test_a_model_of_pairs_does_not_judge_half_a_pair(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("predict", made("pairs"), "--text", "Inés vive en Jaca.") == 2
    assert "needs text, text_pair" in capsys.readouterr().err


def test_a_context_of_many_windows_is_read_to_its_end(made: Made) -> None:
    predictor = destilo.Predictor.load(made("questions"))
    context = "Begoña volvió a Ronda. " * 400 + "Tomás vive en Mérida."
    answer = predictor(question="¿Dónde vive Tomás?", context=context)
    if answer["answer"]:
        assert context[answer["start"] : answer["end"]] == answer["answer"]
    rows = [predictor.row({"question": "¿Dónde?", "context": context})]
    examples = predictor.task.encode(rows, [predictor.tokenizer])
    assert len(examples) > 20
    assert int(examples[-1].unit_spans[-1][1]) == len(context)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"question": "a", "context": "b"}\n{"question": \n', "rows.jsonl:2: not JSON"),
        (b"[1]\n", "rows.jsonl:1: a line must hold a JSON object"),
        (b'\n\n{"question": "a"}\n', "rows.jsonl:3: 'context' is missing"),
        (b'{"question": "a", "context": 3}\n', "rows.jsonl:1: 'context' must be a text"),
        (b'{"question": " ", "context": "b"}\n', "rows.jsonl:1: 'question' must be a text"),
        (b'{"question": "\xff", "context": "b"}\n', "rows.jsonl is not a text file in UTF-8"),
    ],
)
def test_a_bad_line_is_named_and_nothing_half_written(
    content: bytes, said: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, target = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_bytes(content)
    assert call("predict", made("questions"), "-i", rows, "-o", target) == 2
    assert said in capsys.readouterr().err.replace("\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_bad_standard_input_is_named(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, said in ((b"{", "standard input:1: not JSON"), (b"\xff\n", "standard input is")):
        feed(monkeypatch, content)
        assert call("predict", made("questions")) == 2
        assert said in capsys.readouterr().err


def test_what_the_task_does_not_take_is_told(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made("questions")
    assert call("predict", run, "--text", "Hola") == 2
    assert "--text means nothing to this model" in capsys.readouterr().err
    assert call("predict", run, *flags(ONE["questions"]), "--text-pair", "Hola") == 2
    assert "--text-pair means nothing" in capsys.readouterr().err
    assert call("predict", run, "--question", "¿Quién?") == 2
    assert "question-answering needs question, context" in capsys.readouterr().err
    assert call("predict", run, "-i", tmp_path / "no.jsonl") == 2
    assert "does not exist" in capsys.readouterr().err
    assert call("predict", run, "-i", tmp_path) == 2
    (tmp_path / "plain").write_text("")
    assert call("predict", run, *flags(ONE["questions"]), "-o", tmp_path / "plain/x") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.slow
def test_a_question_to_a_model_that_tags_is_refused(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("predict", made("ner"), "--question", "¿Quién?", "--text", "Hola") == 2
    assert "token-classification needs tokens or text" in capsys.readouterr().err


def test_ids_are_passed_on_as_they_are(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, rows = made("questions"), tmp_path / "rows.jsonl"
    given: list[Any] = [7, None, "7", ["a", 1], 2.5]
    tiny.write_lines(rows, [ONE["questions"] | {"id": one, "more": 1} for one in given])
    assert call("predict", run, "-i", rows, "--batch-size", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == given
    assert destilo.Predictor.load(run)(id=7, **ONE["questions"])["id"] == 7


def test_a_link_stays_a_link_and_its_target_gets_the_lines(made: Made, tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "real.jsonl", tmp_path / "link.jsonl"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to("there/real.jsonl")
    assert call("predict", made("questions"), *flags(ONE["questions"]), "-o", link) == 0
    assert link.is_symlink()
    assert json.loads(target.read_text(encoding="utf-8"))["id"] == "0"
    assert len(list(tmp_path.rglob("*"))) == 3


def test_what_is_no_regular_file_is_written_to_and_stays(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert call("predict", made("questions"), *flags(ONE["questions"]), "-o", pipe) == 0
        assert json.loads(os.read(reader, 1 << 16))["id"] == "0"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert call("predict", made("questions"), *flags(ONE["questions"]), "-o", tmp_path) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_device_stays_a_device_and_a_full_one_is_told(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, number = tmp_path / "full", os.makedev(1, 7)
    try:
        os.mknod(full, stat.S_IFCHR | 0o600, number)
        full.open("w").close()
    except PermissionError:
        pytest.skip("devices can be made here by nobody, or not opened")
    assert call("predict", made("questions"), *flags(ONE["questions"]), "-o", full) == 1
    assert "disk is full" in capsys.readouterr().err
    assert full.is_char_device()


@pytest.mark.slow
def test_words_given_as_tokens_are_tagged_one_by_one(made: Made) -> None:
    predictor = destilo.Predictor.load(made("ner"))
    words = ["Íñigo", "vive", "en", "Écija", "."]
    assert len(predictor(tokens=words)["tags"]) == 5
    assert predictor(tokens=words) == predictor(text=" ".join(words))
    wrong: Any
    for wrong in ("Íñigo", [""], [], [3]):
        with pytest.raises(InputError, match=r"tokens|word"):
            predictor(tokens=wrong)


def test_a_run_without_a_student_says_how_to_finish_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.json").write_text('{"stages": {}}')
    assert call("predict", tmp_path, "--text", "a") == 2
    assert "no student yet" in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_model_is_told(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(made("questions") / "student", tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert call("predict", tmp_path / "model", *flags(ONE["questions"])) == 2
    assert "model" in capsys.readouterr().err
    (tmp_path / "model/destilo.json").unlink()
    assert call("predict", tmp_path / "model", *flags(ONE["questions"])) == 2
    assert "not a model that destilo wrote" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(made: Made, tmp_path: Path) -> None:
    line = json.dumps(ONE["questions"], ensure_ascii=False) + "\n"
    (tmp_path / "rows.jsonl").write_text(line * 3000, encoding="utf-8")
    command = [sys.executable, "-m", "destilo", "predict", str(made("questions"))]
    process = subprocess.Popen(
        [*command, "-i", str(tmp_path / "rows.jsonl"), "--batch-size", "4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=120) == 0
