"""A run's folder: what is finished, what is not, and who may write."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from destilo.errors import DestiloError, InputError
from destilo.runs import (
    MANIFEST,
    Run,
    digest,
    folder_digest,
    read_json,
    reported_io,
    write_json,
    write_text,
)


def test_a_digest_is_of_values_not_of_their_order() -> None:
    assert digest({"a": 1, "b": [2, "ñ"]}) == digest({"b": [2, "ñ"], "a": 1})
    assert len({digest(value) for value in (1, "1", [1], {"a": 1}, None, 1.5)}) == 6


def test_a_folders_digest_is_of_its_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"abc")
    assert folder_digest(tmp_path / "one") == folder_digest(tmp_path / "two")
    (tmp_path / "two" / "weights").write_bytes(b"abd")
    assert folder_digest(tmp_path / "one") != folder_digest(tmp_path / "two")


def test_a_file_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "folder" / "file.json"
    write_json(file, {"á": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    full_disk = pytest.raises(DestiloError, match=r"disk is full.*same command again")
    with full_disk, reported_io(tmp_path):
        write_text(file, "half")
    assert read_json(file) == {"á": 1}


def test_links_and_devices_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "real.md"
    target.write_text("old")
    for link in (tmp_path / "link.md", tmp_path / "second.md"):
        link.symlink_to(target)
        write_text(link, f"through {link.name}")
        assert link.is_symlink()
        assert target.read_text() == f"through {link.name}"
    (tmp_path / "dangling.md").symlink_to(tmp_path / "there" / "new.md")
    write_text(tmp_path / "dangling.md", "new")
    assert (tmp_path / "there" / "new.md").read_text() == "new"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "ñ")
    assert os.read(reader, 10).decode() == "ñ"
    os.close(reader)
    assert pipe.is_fifo()
    with (tmp_path / "shell.md").open("a+") as stream:  # what `>> shell.md` makes of /dev/stdout
        stream.write("first ")
        stream.flush()
        write_text(Path(f"/dev/fd/{stream.fileno()}"), "second")
        assert (tmp_path / "shell.md").stat().st_ino == os.fstat(stream.fileno()).st_ino
    with pytest.raises(InputError, match="cannot be written"), reported_io(tmp_path):
        write_text(tmp_path / "there", "a folder")


def test_what_is_missing_or_damaged_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "no.json")
    (tmp_path / "bad.json").write_text('{"a":')
    with pytest.raises(InputError, match=r"bad\.json is damaged.*Delete that file"):
        read_json(tmp_path / "bad.json")
    (tmp_path / MANIFEST).write_text('{"a":')
    with pytest.raises(InputError, match=r"manifest\.json is damaged.*--force"):
        read_json(tmp_path / MANIFEST)


def test_a_stage_is_finished_under_its_key_while_its_outputs_are_there(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert not run.finished("data", "k1")
    (run.path / "data.json").write_text("{}")
    run.finish("data", "k1", outputs=["data.json"], seconds=1.23456)
    assert Run(run.path).finished("data", "k1")
    assert not run.finished("data", "k2")
    assert run.known("data")
    (run.path / "data.json").unlink()
    assert not run.finished("data", "k1")


def test_a_stage_whose_files_are_not_whole_is_not_finished(tmp_path: Path) -> None:
    run = Run(tmp_path)
    model = tmp_path / "student"
    (model / "more").mkdir(parents=True)
    contents = {"weights": b"abc", "more/config": b"{}"}
    for name, content in contents.items():
        (model / name).write_bytes(content)
    assert run.unfinished("student", "k") == ""
    run.finish("student", "k", outputs=["student"], seconds=0)
    assert run.unfinished("student", "k") is None
    assert run.unfinished("student", "other") == "its inputs have changed"
    (model / "notes").write_text("of one's own")
    assert run.finished("student", "k")
    for name, content in contents.items():
        (model / name).write_bytes(content[:1])
        said = f"student/{name} is damaged: 1 bytes, not the {len(content)} that were written"
        assert run.unfinished("student", "k") == said
        (model / name).unlink()
        assert run.unfinished("student", "k") == f"student/{name} is gone"
        (model / name).write_bytes(content)
        assert run.finished("student", "k")
    run.forget("student", why="the reason")
    assert run.unfinished("student", "k") == "the reason"


def test_forgetting_one_stage_keeps_the_others_and_facts(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.describe({"task": "x"})
    for stage in ("data", "student"):
        run.finish(stage, "k", outputs=[], seconds=0)
    run.forget("student")
    run.forget("never")
    assert (run.finished("data", "k"), run.finished("student", "k")) == (True, False)
    run.reopen()
    assert not run.finished("data", "k")
    assert read_json(tmp_path / MANIFEST)["task"] == "x"


@pytest.mark.parametrize("stages", ['{"data": 3}', '{"data": {}}', '{"data": {"key": "k"}}'])
def test_a_strange_entry_is_not_a_finished_stage(stages: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(f'{{"stages": {stages}}}')
    assert not Run(tmp_path).finished("data", "other")


def test_reopening_mends_a_damaged_manifest_and_leaves_foreign_ones_alone(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"stages"')
    with pytest.raises(InputError, match="--force"):
        Run(tmp_path).finished("data", "k")
    Run(tmp_path).reopen()
    assert read_json(tmp_path / MANIFEST)["stages"] == {}
    foreign = json.dumps({"name": "a web page", "icons": []})
    (tmp_path / MANIFEST).write_text(foreign)
    with pytest.raises(InputError, match="not a run's manifest"):
        Run(tmp_path).reopen()
    assert (tmp_path / MANIFEST).read_text() == foreign


@pytest.mark.parametrize("place", ["plain/run", "plain", "/proc/nowhere/run", "x" * 300])
def test_a_folder_that_cannot_be_written_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*-o"):
        Run(tmp_path / place)


def test_a_helper_writes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", writable=False)
    with run.locked():
        run.finish("data", "k", outputs=[], seconds=0)
        run.describe({"a": 1})
        run.reopen()
        run.forget("data")
    assert not run.path.exists()


def _hold(path: Path, ready: object, release: object) -> None:
    with Run(path).locked():
        ready.set()  # type: ignore[attr-defined]  # an event
        release.wait(30)  # type: ignore[attr-defined]  # an event


def test_only_one_process_writes_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, release))
    other.start()
    assert ready.wait(60)
    with pytest.raises(InputError, match="another destilo process"), Run(tmp_path).locked():
        pass
    other.kill()
    other.join()
    with Run(tmp_path).locked():
        pass
