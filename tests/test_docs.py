"""What the documents tell the reader to type is there, and every recipe in them is valid."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

import destilo
from destilo.cli import app
from destilo.recipe.catalogue import shipped_names, sweep_names
from destilo.recipe.load import load_recipe, read_draft
from destilo.sweep import load_sweep

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "README.es.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (document, text)
        for document in DOCUMENTS
        for kind, text in _BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
        if kind == language
    ]


def _command_lines() -> list[tuple[str, str]]:
    return [
        (document, line.split("#")[0].strip())
        for document, text in _blocks("bash")
        for line in text.replace("\\\n", " ").split("\n")
        if line.strip() and not line.startswith("#")
    ]


@pytest.mark.parametrize(("document", "text"), _blocks("yaml"))
def test_every_recipe_in_the_documents_loads(document: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    if "datasets" in read_draft(path).value:
        assert load_sweep(path).spec.students
    else:
        assert load_recipe(path).digest


@pytest.mark.parametrize(("document", "text"), _blocks("python"))
def test_python_in_the_documents_uses_public_names(document: str, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if named and node.value.id == "destilo":  # type: ignore[attr-defined]  # just tested
            assert node.attr in destilo.__all__  # type: ignore[attr-defined]


@pytest.mark.parametrize(("document", "line"), _command_lines())
def test_every_command_in_the_documents_exists(document: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).exists()
        return
    if "destilo" not in words or words[0] == "python":
        return
    arguments = words[words.index("destilo") + 1 :]
    command = get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]  # a group
    command.make_context(arguments[0], arguments[1:], resilient_parsing=False)
    if arguments[0] in ("copy", "demo"):
        assert arguments[0] == "demo" or arguments[1] in [
            *shipped_names(),
            *sweep_names(),
        ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_map_of_files_is_complete() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "src" / "destilo").iterdir():
        if path.name.startswith("_") or path.suffix == ".typed":
            continue
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text or path.name in text
