"""Trials in a store that is not a folder: what one machine publishes, another fetches."""

import tempfile
from pathlib import Path

import pytest

from destilo.errors import InputError
from destilo.sweep.storage import RESULT, Storage

pytest.importorskip("fsspec")


def machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(path))


def test_a_plain_path_is_used_as_it_is(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert storage.is_shared
    assert storage.folder("trials/a") == tmp_path / "trials" / "a" == storage.fetch("trials/a")
    storage.publish("trials/a")
    assert list(tmp_path.iterdir()) == []


def test_what_is_published_is_fetched_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"file://{tmp_path / 'bucket'}")
    machine(tmp_path / "one", monkeypatch)
    folder = storage.folder("trials/a")
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "model.bin").write_bytes(b"weights")
    (folder / RESULT).write_text('{"result": 1}', encoding="utf-8")
    storage.publish("trials/a")

    machine(tmp_path / "two", monkeypatch)
    assert not storage.folder("trials/a").exists()
    assert storage.read_result("trials/a") == {"result": 1}
    fetched = storage.fetch("trials/a")
    assert fetched.is_relative_to(tmp_path / "two")
    assert (fetched / "student" / "model.bin").read_bytes() == b"weights"
    assert (fetched / RESULT).read_text(encoding="utf-8") == '{"result": 1}'


def test_what_is_not_there_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path / "one", monkeypatch)
    storage = Storage(f"file://{tmp_path / 'bucket'}")
    assert storage.read_result("trials/none") is None
    assert not storage.fetch("trials/none").exists()


def test_a_damaged_result_is_none(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    (tmp_path / "trials" / "a").mkdir(parents=True)
    (tmp_path / "trials" / "a" / RESULT).write_text('{"resu', encoding="utf-8")
    assert storage.read_result("trials/a") is None


def test_an_unknown_kind_of_store_is_named() -> None:
    with pytest.raises(InputError, match="nowhere"):
        Storage("nowhere://bucket").read_result("trials/a")
