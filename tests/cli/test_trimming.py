"""`destilo trim` as it is typed: what it prints, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from destilo.cli import _main
from tests.factories import SENTENCES
from tests.trimming.test_run import write_source


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_source(tmp_path / "m", "wordpiece", "bert")
    (tmp_path / "es.txt").write_text("\n".join(SENTENCES * 30), encoding="utf-8")
    return tmp_path


def trim(place: Path, *more: str, output: str = "t") -> int:
    words = ["trim", str(place / "m"), "--corpus", str(place / "es.txt"), "-o"]
    return _main([*words, str(place / output), *more], debug=False)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_report_fits_the_terminal(
    columns: int,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert trim(place, "--size", "100") == 0
    out = capsys.readouterr().out
    assert all(len(line.rstrip()) <= columns for line in out.splitlines()[:-1])
    assert "100 pieces kept" in out
    assert out.splitlines()[-1] == f"wrote {place / 't'}"


def test_json_is_what_the_folder_holds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trim(place, "--json", "--held-out", f"other={place / 'es.txt'}") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((place / "t" / "trim.json").read_text())
    assert said["target"].startswith("coverage 0.9999")
    assert [one["name"] for one in said["held_out"]] == ["other"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "100", "--coverage", "0.9"], "either a coverage"),
        (["--size", "10"], "no room for"),
        (["--held-out", "nowhere.txt"], "--held-out: no such file"),
        (["--coverage", "2"], "up to 1"),
        (["--characters", "some"], "'some' is not one of"),
    ],
)
def test_bad_input_leaves_with_2(
    words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trim(place, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (place / "t").exists()


def test_a_folder_that_is_there_needs_force(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trim(place) == 0
    assert trim(place) == 2
    assert "--force" in capsys.readouterr().err
    assert trim(place, "--force") == 0


def test_help_and_mistakes_start_no_machinery(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom destilo.cli import _main\n"
        "_main(['trim', '--help'], debug=False)\n"
        "_main(['trim', 'm', '--corpus', 'nowhere', '-o', 'x'], debug=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--characters used" in done.stdout
