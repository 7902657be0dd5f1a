"""Caches as people see them: what is there, whether it is whole, and how it goes away."""

import subprocess
import sys
from pathlib import Path

import pytest

from destilo.errors import InputError
from destilo.runs import file_digest
from destilo.teacher.store import (
    Shard,
    cache_folder,
    delete_cache,
    find_cache,
    fingerprint,
    held,
    is_held,
    list_caches,
    read_listing,
    summarise,
    verify,
    write_listing,
)

FACTS = {"teacher": "beto", "task": "token-classification", "labels": ["O", "B-X"]}


def make_cache(root: Path, name: str = "0123456789abcdef", *, shards: int = 2) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    listed = {}
    for number in range(shards):
        path = folder / f"shard-{number:05d}-00.safetensors"
        path.write_bytes(bytes([number]) * (100 + number))
        listed[path.name] = Shard(file_digest(path), 10, 100 + number)
    write_listing(folder, FACTS | {"precision": "fp16"}, listed)
    return folder


def test_a_summary_is_for_people(tmp_path: Path) -> None:
    (one,) = list_caches(make_cache(tmp_path).parent)
    assert (one.teacher, one.task, one.n_labels) == ("beto", "token-classification", 2)
    assert (one.precision, one.examples, one.size_bytes) == ("fp16", 20, 201)
    assert one.bytes_per_example == pytest.approx(10.05)
    assert not one.strays
    assert not one.filling


def test_there_may_be_none(tmp_path: Path) -> None:
    assert list_caches(tmp_path / "nowhere") == []


def test_a_folder_with_anything_else_in_it_is_no_cache(tmp_path: Path) -> None:
    run = make_cache(tmp_path, "aaaaaaaaaaaaaaaa")
    (run / "manifest.json").write_text("{}", encoding="utf-8")
    named = make_cache(tmp_path, "ner-es")
    assert list_caches(tmp_path) == []
    with pytest.raises(InputError, match="No cache"):
        find_cache(tmp_path, named.name)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damage_is_named_and_repaired(damage: str, tmp_path: Path) -> None:
    folder = make_cache(tmp_path)
    path = folder / "shard-00001-00.safetensors"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "cut" else b"\x09" + b"\x01" * 100)
    assert verify(folder).damaged == (path.name,)
    check = verify(folder, repair=True)
    assert check.removed
    assert not check.whole
    assert verify(folder).whole
    assert list(read_listing(folder).shards) == ["shard-00000-00.safetensors"]


def test_files_in_no_listing_are_told_of(tmp_path: Path) -> None:
    folder = make_cache(tmp_path)
    (folder / ".shard-00002-00.safetensors.partial").write_bytes(b"half")
    (folder / "shard-00009-00.safetensors").write_bytes(b"lost")
    assert len(summarise(folder).strays) == len(verify(folder).strays) == 2
    with held(folder):  # they may be in the making
        assert verify(folder).whole
    verify(folder, repair=True)
    assert len(list(folder.glob("*.safetensors"))) == 2
    assert verify(folder).whole


@pytest.mark.parametrize("keep", [0, 10, -3])
def test_a_listing_that_is_cut_lists_nothing(keep: int, tmp_path: Path) -> None:
    folder = make_cache(tmp_path)
    text = (folder / "cache.json").read_text(encoding="utf-8")
    (folder / "cache.json").write_text(text[:keep], encoding="utf-8")
    assert not read_listing(folder).shards
    assert len(verify(folder).strays) == 2
    assert list_caches(tmp_path)[0].examples == 0


def test_what_is_being_filled_is_not_deleted(tmp_path: Path) -> None:
    folder = make_cache(tmp_path)
    with held(folder):
        assert is_held(folder)
        assert summarise(folder).filling
        with pytest.raises(InputError, match="being filled by another"):
            delete_cache(folder)
    delete_cache(folder)
    assert not folder.exists()


def test_who_waits_for_a_deleted_cache_begins_a_new_one(tmp_path: Path) -> None:
    folder = make_cache(tmp_path)
    code = f"""
from pathlib import Path
from destilo.teacher.store import held
with held(Path({str(folder)!r}), waiting=lambda: print("waiting", flush=True)):
    print((Path({str(folder)!r}) / ".lock").exists(), flush=True)
"""
    with held(folder):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "waiting\n"
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert other.communicate(timeout=60)[0] == "True\n"


def test_an_id_may_be_shortened_while_it_is_one(tmp_path: Path) -> None:
    one, _ = make_cache(tmp_path, "abcd" * 4), make_cache(tmp_path, "abce" * 4)
    assert find_cache(tmp_path, "abcd") == one
    with pytest.raises(InputError, match="2 ids"):
        find_cache(tmp_path, "abc")


def test_every_part_of_a_fingerprint_matters() -> None:
    parts = {"weights": "a", "labels": ["O"], "bf16": False}
    base = fingerprint(**parts)
    for name, value in {"weights": "x", "labels": ["P"], "bf16": True}.items():
        assert fingerprint(**parts | {name: value}) != base
    assert fingerprint(**dict(reversed(parts.items()))) == base


def test_the_place_of_caches_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DESTILO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("DESTILO_CACHE")
    assert cache_folder() == Path("~/.cache/destilo/teachers").expanduser()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="DESTILO_CACHE"), held(tmp_path / "file" / "cache"):
        pass


def test_nothing_here_loads_torch() -> None:
    code = "import sys, destilo.teacher.store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
