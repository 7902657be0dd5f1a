"""Where the trials of a sweep lie: a folder that every worker sees, or an object store."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from destilo.errors import InputError
from destilo.runs import digest

RESULT = "trial.json"
"""The file of a trial that is written last."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder of folders. A plain path is used as it is; a URL is copied from and to.

    Attributes:
        root: A path, or a URL that fsspec knows (``s3://bucket/sweeps/one``).
    """

    root: str

    @property
    def is_shared(self) -> bool:
        """Whether it is a plain path."""
        return "://" not in self.root

    def folder(self, name: str) -> Path:
        """Where a folder of it is, or will be, on this machine."""
        if self.is_shared:
            return Path(self.root) / name
        return Path(tempfile.gettempdir()) / f"destilo-{digest(self.root)}" / name

    def fetch(self, name: str) -> Path:
        """Bring a folder here, unless it is; it need not exist."""
        target = self.folder(name)
        if self.is_shared or (target / RESULT).exists():
            return target
        system, remote = self._remote(name)
        if system.exists(remote):
            for found in system.find(remote):
                relative = PurePosixPath(found).relative_to(PurePosixPath(remote))
                (target / relative).parent.mkdir(parents=True, exist_ok=True)
                system.get_file(found, str(target / relative))
        return target

    def publish(self, name: str) -> None:
        """Copy a folder to the store, the file that says it is finished last."""
        if self.is_shared:
            return
        folder = self.folder(name)
        system, remote = self._remote(name)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in sorted(files, key=lambda one: one.name == RESULT):
            target = f"{remote}/{path.relative_to(folder).as_posix()}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(path), target)

    def read_result(self, name: str) -> Any:
        """What a trial's last file holds; ``None`` where there is none, or it is damaged."""
        if self.is_shared:
            path = self.folder(name) / RESULT
            text = path.read_text(encoding="utf-8") if path.exists() else ""
        else:
            system, remote = self._remote(f"{name}/{RESULT}")
            text = system.cat_file(remote).decode() if system.exists(remote) else ""
        try:
            return json.loads(text)
        except ValueError:
            return None

    def _remote(self, name: str) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError:
            raise InputError(
                f"{self.root} needs fsspec and the package of its store (s3fs, gcsfs, ...): "
                'pip install "destilo[ray]" s3fs'
            ) from None
        try:
            system, path = fsspec.core.url_to_fs(f"{self.root.rstrip('/')}/{name}")
        except (ValueError, ImportError) as error:
            raise InputError(f"--storage {self.root}: {error}") from None
        return system, str(path)
