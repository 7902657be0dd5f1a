"""A Run: a folder whose manifest says what every stage read and wrote.

A stage has a *key*, a digest of everything that decides its result. It is finished when the
manifest says so under that key and its files have the sizes noted there. The manifest is written
last and by one rename, so a killed stage is simply not finished and is done again, going on from
its checkpoints.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from destilo.errors import DestiloError, InputError

MANIFEST = "manifest.json"
_UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SIGNS_OF_FULL = (
    f"os error {errno.ENOSPC}",  # safetensors
    f"os error {errno.EDQUOT}",
    "No space left",
    "unexpected pos",  # torch
    "iostream error",
    "PytorchStreamWriter failed",
)
"""What libraries that do not raise ``OSError`` say when they cannot write on."""


def digest(value: Any) -> str:
    """A short stable digest of JSON-ready values, insensitive to the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """A digest of a model folder's content: names and bytes, not the path."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return digest({path.name: file_digest(path) for path in files})


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all.

    A link keeps pointing where it did. What is no plain file (a terminal, a pipe, anything under
    ``/dev``) cannot be replaced, so it is written to.
    """
    if path.parts[:2] in (("/", "dev"), ("/", "proc")) or (path.exists() and not path.is_file()):
        with path.open("w", encoding="utf-8") as stream:
            stream.write(text)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, readable for people."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON of a Run.

    Raises:
        InputError: If it is missing or damaged, with what to do.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; is {path.parent} a finished run?") from None
    except ValueError as error:
        raise damaged(path, str(error)) from None


def damaged(path: Path, why: str) -> InputError:
    """The error for a file of a Run that cannot be read, with the least that mends it."""
    remedy = (
        "Type the run's command again with --force, which does every stage again."
        if path.name == MANIFEST
        else "Delete that file and type the run's command again; finished models are kept."
    )
    return InputError(f"{path} is damaged ({why}). {remedy}")


class Run:
    """A Run folder, open for writing.

    Args:
        path: The folder; made if it does not exist.
        writable: False for helpers of a process that writes (several processes in one training).

    Raises:
        InputError: If the folder cannot be written.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self.writable = writable
        if writable:
            with reported_io(path):
                try:
                    path.mkdir(parents=True, exist_ok=True)
                except FileNotFoundError as error:  # a place that takes no folders, such as /proc
                    raise PermissionError(errno.EPERM, error.strerror, str(path)) from error
                probe = path / ".writable"
                probe.touch()
                probe.unlink()

    def _manifest(self) -> dict[str, Any]:
        path = self.path / MANIFEST
        if not path.exists():
            return {"format": 1, "stages": {}}
        manifest: dict[str, Any] = read_json(path)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
            raise InputError(f"{path} is not a run's manifest. Choose another output folder.")
        return manifest

    @property
    def facts(self) -> Mapping[str, Any]:
        """What ``describe`` recorded."""
        return {key: value for key, value in self._manifest().items() if key != "stages"}

    def finished(self, stage: str, key: str) -> bool:
        """Whether a stage is done under this key and its outputs are there whole."""
        return self.unfinished(stage, key) is None

    def unfinished(self, stage: str, key: str) -> str | None:
        """Say why a stage has to be done: ``None`` if it has not, empty if it never was."""
        entry = self._manifest()["stages"].get(stage)
        if not isinstance(entry, dict):
            return ""
        if "again" in entry:
            return str(entry["again"])
        if entry.get("key") != key:
            return "its inputs have changed"
        for name in entry.get("outputs", ()):
            if not (self.path / name).exists():
                return f"{name} is gone"
        for name, size in entry.get("files", {}).items():
            if not (self.path / name).is_file():
                return f"{name} is gone"
            if (found := (self.path / name).stat().st_size) != size:
                return f"{name} is damaged: {found:,} bytes, not the {size:,} that were written"
        return None

    def known(self, stage: str) -> bool:
        """Whether the stage was ever finished, under whatever key."""
        return stage in self._manifest()["stages"]

    def finish(
        self, stage: str, key: str, *, outputs: list[str], seconds: float, **facts: Any
    ) -> None:
        """Record a stage as done: the last thing a stage does."""
        if not self.writable:
            return
        manifest = self._manifest()
        manifest["stages"][stage] = {
            "key": key,
            "outputs": outputs,
            "files": self._sizes(outputs),
            "seconds": round(seconds, 3),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        }
        write_json(self.path / MANIFEST, manifest)

    def _sizes(self, outputs: list[str]) -> dict[str, int]:
        """The bytes of every file, also of those in folders: what is cheap to compare."""
        files: list[Path] = []
        for output in (self.path / name for name in outputs):
            files += sorted(output.rglob("*")) if output.is_dir() else [output]
        return {
            file.relative_to(self.path).as_posix(): file.stat().st_size
            for file in files
            if file.is_file()
        }

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Record facts about the whole run (recipe digest, versions)."""
        if self.writable:
            write_json(self.path / MANIFEST, self._manifest() | dict(facts))

    def forget(self, stage: str, *, why: str = "") -> None:
        """Take a stage's entry back: its outputs are replaced, or hold no longer.

        Args:
            stage: The stage.
            why: Kept, so that it can be told when the stage is done again.
        """
        if self.writable and self.known(stage):
            manifest = self._manifest()
            del manifest["stages"][stage]
            if why:
                manifest["stages"][stage] = {"again": why}
            write_json(self.path / MANIFEST, manifest)

    def reopen(self) -> None:
        """Forget which stages are finished, so that all are done again.

        A manifest that cannot be read is written anew; a file of another program is left alone.
        """
        if not self.writable:
            return
        path = self.path / MANIFEST
        try:
            if path.exists():
                json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            path.unlink()
        write_json(path, self._manifest() | {"stages": {}})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from writing the same run.

        Raises:
            InputError: If another process holds it.
        """
        if not self.writable:
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(
                    f"{self.path} is being written by another destilo process. Wait for it, "
                    "or choose another output folder."
                ) from error
            yield


@contextmanager
def reported_io(path: Path) -> Iterator[None]:
    """Turn failures to write into messages that say what to do.

    Raises:
        InputError: If the place cannot be written.
        DestiloError: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if error.errno in _UNWRITABLE:
            raise InputError(
                f"{where} cannot be written: {error.strerror}. Choose another folder with -o."
            ) from error
        if error.errno in _FULL:
            raise DestiloError(_full(where)) from error
        raise
    except Exception as error:
        if isinstance(error, DestiloError) or not any(
            sign in str(error) for sign in _SIGNS_OF_FULL
        ):
            raise
        raise DestiloError(_full(path)) from error


def _full(where: object) -> str:
    return (
        f"The disk is full while writing {where}. Free some space and type the same command "
        "again: finished stages are kept, training goes on from its checkpoint."
    )


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Measure seconds: the list holds them afterwards."""
    seconds = [0.0]
    start = time.perf_counter()
    try:
        yield seconds
    finally:
        seconds[0] = time.perf_counter() - start
