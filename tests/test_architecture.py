"""The architecture itself: imports go downwards, one module prints, torch stays in its place."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "destilo"

# From the bottom up; within a level a part may import those to its left.
LEVELS = (
    ("errors", "records", "rows", "progress", "layer_map", "layer_reading"),
    ("catalogue", "recipe", "runs"),
    ("tasks", "data", "models", "trimming"),
    ("teacher", "objective"),
    ("training", "evaluation", "predict", "counting", "timing", "profiling"),
    ("figures", "report"),  # of one run, from its files alone
    ("pipeline",),
    ("sweep",),
    ("terminal", "cli"),
    ("__init__", "__main__"),  # the public names, and `python -m destilo`
)
RANK = {part: rank for rank, part in enumerate(part for level in LEVELS for part in level)}
HEAVY = ("torch", "transformers", "accelerate", "datasets", "pyarrow", "matplotlib", "onnxruntime")
READING = ("destilo.recipe.load", "destilo.recipe.check")
LIGHT = ("catalogue", "recipe", "runs", "data", "tasks", "report", "cli", "terminal", *LEVELS[0])

MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """All that a module imports, inside functions too, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}"
            if node.module == "destilo":
                for alias in node.names:
                    yield f"destilo.{alias.name}", node.lineno
            else:
                yield str(node.module), node.lineno


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: not function bodies, not TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import_time(child)


def test_every_part_has_a_level() -> None:
    assert {part_of(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards_only(path: Path) -> None:
    part = part_of(path)
    for name, line in imported(ast.parse(path.read_text(encoding="utf-8"))):
        if not name.startswith("destilo."):
            continue
        other = name.split(".")[1]
        if other in RANK and other != part:
            assert RANK[other] < RANK[part], f"{path}:{line}: {part} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints_and_configures_logging(path: Path) -> None:
    if part_of(path) in ("cli", "terminal"):  # terminal is how the command line prints
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "logging.basicConfig"), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if part_of(path) in LIGHT],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_light_modules_import_nothing_heavy_at_module_level(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in at_import_time(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, line in imported(node):
                assert name.split(".")[0] not in HEAVY, f"{path}:{line}"


def test_tasks_never_import_torch() -> None:
    for path in (PACKAGE / "tasks").rglob("*.py"):
        for name, line in imported(ast.parse(path.read_text(encoding="utf-8"))):
            assert name.split(".")[0] not in ("torch", "transformers"), f"{path}:{line}"


def test_nothing_below_the_pipeline_takes_a_recipe() -> None:
    for path in MODULES:
        if RANK["runs"] < RANK[part_of(path)] < RANK["pipeline"]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = {alias.name for alias in node.names}
                    assert "Recipe" not in names, f"{path}:{node.lineno}"  # parts of one are fine
                    assert not node.module.startswith(READING), f"{path}:{node.lineno}"


def test_the_objective_knows_neither_tasks_nor_tokenizers() -> None:
    for path in (PACKAGE / "objective").rglob("*.py"):
        for name, line in imported(ast.parse(path.read_text(encoding="utf-8"))):
            allowed = ("destilo.errors", "destilo.models.outputs", "destilo.objective")
            if name.startswith("destilo."):
                assert name.startswith(allowed), f"{path}:{line}: {name}"


def test_importing_every_light_module_loads_nothing_heavy() -> None:
    names = [
        "destilo." + str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")
        for path in MODULES
        if part_of(path) in LIGHT and path.stem != "__init__"
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
