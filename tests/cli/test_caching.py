"""What the commands on caches say, and how they leave."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import destilo
from destilo.cli import _main
from destilo.teacher.store import held
from tests import tiny
from tests.teacher.test_store import make_cache

ID = "0123456789abcdef"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("DESTILO_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"


def call(*arguments: str | Path) -> int:
    return _main(["cache", *map(str, arguments)], debug=False)


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert call(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_cache_is_built_listed_verified_and_deleted(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = tiny.recipe(tmp_path / "data", "ner", n=12, training__num_train_epochs=1)
    destilo.run(destilo.load_recipe(value), output=tmp_path / "run", until="teacher")
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert call("build", path) == 2
    assert "fine-tunes its teacher" in " ".join(capsys.readouterr().err.split())
    (built,) = said(capsys, "build", path, "-o", tmp_path / "run", "--quiet")
    assert built["computed"] == built["examples"] > 0
    (listed,) = said(capsys, "list")["caches"]
    assert listed["id"] == built["id"]
    assert listed["teacher"] == "bert of 2 layers, made in a run"
    assert (listed["task"], listed["n_labels"]) == ("token-classification", 5)
    assert listed["examples"] == built["examples"]
    assert said(capsys, "verify")[0]["whole"]
    assert said(capsys, "delete", built["id"][:6], "--yes") == [built["id"]]
    assert said(capsys, "list")["caches"] == []
    assert not list(root.iterdir())


def test_the_list_is_for_people(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    assert "teacher.cache: logits" in capsys.readouterr().out
    (make_cache(root, ID) / "shard-00007-00.safetensors").touch()
    assert call("list") == 0
    captured = capsys.readouterr()
    for part in (ID, "beto", "token-classification", "fp16", "201 B", "2^-11"):
        assert part in captured.out
    assert "1 files in no listing" in captured.err


def test_another_folder_may_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_cache(tmp_path / "other", ID)
    assert len(said(capsys, "list", "--folder", tmp_path / "other")["caches"]) == 1
    assert said(capsys, "list")["caches"] == []


def test_damage_leaves_with_2_until_it_is_repaired(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_cache(root, ID)
    (folder / "shard-00000-00.safetensors").write_bytes(b"x" * 100)
    assert call("verify") == 2
    assert f"{ID}/shard-00000-00.safetensors: damaged" in "".join(
        capsys.readouterr().err.split("\n")
    )
    assert call("verify", ID[:4], "--repair") == 0
    assert "removed" in capsys.readouterr().err
    assert call("verify") == 0
    assert "1 files, all as they were written" in capsys.readouterr().out


def test_deleting_wants_to_know_what_and_whether(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_cache(root, ID)
    assert call("delete") == 2
    assert call("delete", "ffff", "--yes") == 2
    assert "No cache in" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody answers
    assert call("delete", "--all") == 1
    told = capsys.readouterr().err
    assert "nothing was deleted" in told
    assert "interrupted" not in told
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert call("delete", "--all") == 1
    with held(folder):
        assert call("delete", "--all", "--yes") == 2
        assert "being filled" in " ".join(capsys.readouterr().err.split())
    assert folder.exists()
    assert call("delete", "--all", "--yes") == 0
    assert not folder.exists()


def test_what_lists_caches_loads_no_torch(root: Path) -> None:
    make_cache(root, ID)
    program = """
import sys
from destilo.cli import _main
for words in (["list"], ["verify"], ["delete", "--all", "--yes"], ["build", "--help"]):
    assert _main(["cache", *words], debug=False) == 0
sys.exit(", ".join({"torch", "transformers"} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["build", "list", "verify", "delete"])
def test_every_help_fits_a_terminal(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    assert f"Usage: destilo cache {command}" in text
