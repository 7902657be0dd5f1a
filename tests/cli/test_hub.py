"""The hub: looked for once where a recipe needs it, and not waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from destilo.cli.hub import is_reachable, needs_hub, stay_offline_without_hub
from destilo.recipe.load import load_recipe
from tests import tiny

NOBODY = {"model": "nadie/nada", "finetune": {}}
OFF = "HF_HUB_OFFLINE"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (OFF, "HF_ENDPOINT", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("destilo.cli.hub.getproxies", dict)


@pytest.fixture
def closed() -> str:
    """An address where nothing answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_what_is_here_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(tiny.recipe(tmp_path))
    assert not needs_hub(recipe)
    monkeypatch.setattr("destilo.cli.hub.is_reachable", lambda _: pytest.fail("looked up"))
    stay_offline_without_hub(recipe)
    (tmp_path / "model").mkdir()
    here = {"model": str(tmp_path / "model"), "finetune": {}}
    assert not needs_hub(load_recipe(tiny.recipe(tmp_path, teacher=here)))


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": NOBODY},
        {"teacher": [{"model": "nadie/nada"}]},
        {"teacher__tokenizer": "nadie/nada"},
        {"student": {"from": "checkpoint", "model": "nadie/nada"}},
        {"data__train": {"format": "hub", "name": "nadie/nada"}},
        {"data__test": {"uno": {"format": "hub", "name": "nadie/nada"}}},
    ],
)
def test_what_is_not_here_needs_the_hub(changes: dict[str, Any], tmp_path: Path) -> None:
    assert needs_hub(load_recipe(tiny.recipe(tmp_path, **changes)))


def test_a_hub_that_answers_is_left_alone_and_one_that_does_not_is_not_waited_for(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(tiny.recipe(tmp_path, teacher=NOBODY))
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        stay_offline_without_hub(recipe)
        assert not os.environ[OFF]
    monkeypatch.setenv("HF_ENDPOINT", closed)
    started = time.monotonic()
    stay_offline_without_hub(recipe)
    assert os.environ[OFF] == "1"
    assert time.monotonic() - started < 6


def test_behind_a_proxy_the_hub_is_taken_for_granted(
    closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("destilo.cli.hub.getproxies", lambda: {"http": "http://proxy:8080"})
    assert is_reachable(closed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["teacher={model: nadie/nada, finetune: {}}", "data.train={format: hub, name: nadie/nada}"],
)
def test_without_network_there_is_the_message_alone(
    change: str, tmp_path: Path, closed: str
) -> None:
    recipe = tiny.write_recipe(tmp_path, "ner", n=24)
    command = [sys.executable, "-m", "destilo", "run", str(recipe), "-o", str(tmp_path / "run")]
    environment = {
        name: value for name, value in os.environ.items() if "proxy" not in name.lower() and value
    } | {"HF_ENDPOINT": closed, "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--set", change], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("==>")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error:")
    assert "nadie/nada" in lines[0]
