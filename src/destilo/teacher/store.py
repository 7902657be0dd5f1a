"""The folders that caches lie in: what is listed, whether it is whole, who may write, clean up.

A cache is a folder named by its fingerprint. ``cache.json`` lists its shards with their hashes and
says for people whose outputs they are. The listing is replaced in one piece and carries a hash of
itself: what it does not vouch for is not used. Readers take no lock, since a listed shard never
changes; whoever adds or removes shards holds ``.lock``, which the system frees when it dies.

Nothing here loads torch, so that caches are listed and cleaned up in no time.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from destilo.errors import InputError
from destilo.runs import digest, file_digest, read_json, write_json

LISTING = "cache.json"
FORMAT = 2
_LOCK = ".lock"
_OWN = (LISTING, f".{LISTING}.partial", ".writable")
_ID = re.compile(r"[0-9a-f]{16}")
_SHARD = re.compile(r"\.?shard-.+\.safetensors(\.partial)?")

HALF_PRECISION_ERROR = 2.0**-11
"""How far a stored half-precision logit is from the teacher's, as a share of it, at most."""

HALF_PRECISION_STEP = 2.0**-25
"""The same as a number, for logits below 2^-14, where half precision has equal steps."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a cache as it was written.

    Attributes:
        sha256: Of its content.
        examples: Rows in it.
        size_bytes: Its length.
    """

    sha256: str
    examples: int
    size_bytes: int


@dataclass(frozen=True)
class Listing:
    """What ``cache.json`` says.

    Attributes:
        facts: Whose outputs these are: all that the fingerprint covers, and names for people.
        shards: By file name, in the order in which they were written.
        filled_at: When the last one was added, in ISO 8601.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[str, Shard] = field(default_factory=dict)
    filled_at: str = ""


def cache_folder() -> Path:
    """Where caches lie, for every run: ``DESTILO_CACHE``, or a folder of the user's own."""
    return Path(os.environ.get("DESTILO_CACHE") or "~/.cache/destilo/teachers").expanduser()


def fingerprint(**parts: Any) -> str:
    """A digest of everything that decides a teacher's outputs, beside the examples."""
    return digest({"format": FORMAT, **parts})


def read_listing(folder: Path) -> Listing:
    """What is listed in a cache; nothing where the listing is missing or not as it was written."""
    try:
        content = read_json(folder / LISTING)
        if content.pop("sha256") != digest(content):
            return Listing()
        shards = {str(name): Shard(**value) for name, value in content["shards"].items()}
        return Listing(content["facts"], shards, content["filled_at"])
    except (InputError, OSError, KeyError, AttributeError, TypeError, ValueError):
        return Listing()  # nothing that is listed can be trusted: all is filled again


def write_listing(folder: Path, facts: Mapping[str, Any], shards: Mapping[str, Shard]) -> None:
    """Replace the listing, as the last step of adding a shard."""
    content: dict[str, Any] = {
        "facts": dict(facts),
        "filled_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "shards": {
            name: {
                "sha256": shard.sha256,
                "examples": shard.examples,
                "size_bytes": shard.size_bytes,
            }
            for name, shard in shards.items()
        },
    }
    write_json(folder / LISTING, content | {"sha256": digest(content)})


def is_whole(path: Path, shard: Shard) -> bool:
    """Whether a file is, byte for byte, what was written."""
    try:
        return path.stat().st_size == shard.size_bytes and file_digest(path) == shard.sha256
    except OSError:
        return False


def note_use(folder: Path) -> None:
    """Remember that a cache was read just now, where the place can be written."""
    with suppress(OSError):
        os.utime(folder / LISTING)


@contextmanager
def held(folder: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Be the one who may add to a cache or remove from it; made if needed.

    Args:
        folder: Of one cache.
        waiting: Called once if another process holds it, which is then waited for. Without it
            nobody waits.

    Raises:
        InputError: If another process holds it and nobody waits, or it cannot be written.
    """
    with _locked_file(folder, waiting=waiting):
        yield


@contextmanager
def _locked_file(folder: Path, *, waiting: Callable[[], None] | None) -> Iterator[TextIOWrapper]:
    while True:
        with _open_lock(folder) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    raise InputError(
                        f"{folder} is being filled by another destilo process. Wait for it, or "
                        "stop it first."
                    ) from None
                waiting()
                waiting = _quietly
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(folder / _LOCK, file):
                yield file
                return
            # The folder was deleted while this process waited: begin again with a new one.


def _open_lock(folder: Path) -> TextIOWrapper:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / _LOCK).open("w")
    except OSError as error:
        raise InputError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Set DESTILO_CACHE "
            "to a folder that can."
        ) from error


def _quietly() -> None:
    return None


def is_held(folder: Path) -> bool:
    """Whether a process is adding to a cache, or removing from it, at this moment."""
    try:
        with (folder / _LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody has ever held it
        return False
    return False


def _is_still(path: Path, file: TextIOWrapper) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def remove_damaged(folder: Path) -> tuple[str, ...]:
    """Take every shard that is not whole, and every stray file, out of a cache that is held.

    Returns:
        The names of the listed shards that are gone.
    """
    listing = read_listing(folder)
    kept = {name: one for name, one in listing.shards.items() if is_whole(folder / name, one)}
    for stray in _files(folder):
        if stray.name not in kept:
            stray.unlink()
    if len(kept) < len(listing.shards):
        write_listing(folder, listing.facts, kept)
    return tuple(name for name in listing.shards if name not in kept)


def _files(folder: Path) -> list[Path]:
    """Everything in a cache beside its listing and lock."""
    return sorted(path for path in folder.iterdir() if path.name not in _OWN and path.name != _LOCK)


def _strays(folder: Path, listing: Listing) -> tuple[str, ...]:
    """Files that the listing does not name; a shard in the making is none."""
    if is_held(folder):
        return ()
    return tuple(path.name for path in _files(folder) if path.name not in listing.shards)


def is_cache(folder: Path) -> bool:
    """Whether a folder is a cache or the rest of one, and nothing else that is of worth."""
    return (
        bool(_ID.fullmatch(folder.name))
        and folder.is_dir()
        and all(_SHARD.fullmatch(path.name) for path in _files(folder))
    )


@dataclass(frozen=True)
class CacheSummary:
    """One cache, for people.

    Attributes:
        id: Its folder's name, a digest of what decides the outputs.
        folder: Where it lies.
        teacher: The model's name in the recipe that filled it.
        task: The teacher's task.
        n_labels: Classes of its heads; 0 where it answers questions.
        precision: Of the stored logits.
        examples: Rows.
        size_bytes: Of its shards.
        filled_at: When the last shard was added.
        used_at: When a run last read it or added to it.
        filling: Whether a process is at work on it.
        strays: Files that its listing does not name: a killed process left them, or the listing
            is damaged.
    """

    id: str
    folder: Path
    teacher: str
    task: str
    n_labels: int
    precision: str
    examples: int
    size_bytes: int
    filled_at: str
    used_at: str
    filling: bool
    strays: tuple[str, ...]

    @property
    def bytes_per_example(self) -> float:
        return self.size_bytes / self.examples if self.examples else 0.0


def list_caches(root: Path) -> list[CacheSummary]:
    """Every cache below a folder, the last used first."""
    if not root.is_dir():
        return []
    return sorted(
        map(summarise, filter(is_cache, root.iterdir())), key=lambda one: one.used_at, reverse=True
    )


def summarise(folder: Path) -> CacheSummary:
    """What one cache holds, by its listing."""
    listing = read_listing(folder)
    facts = listing.facts
    when = (folder / LISTING if (folder / LISTING).exists() else folder).stat().st_mtime
    return CacheSummary(
        id=folder.name,
        folder=folder,
        teacher=str(facts.get("teacher", "unknown")),
        task=str(facts.get("task", "unknown")),
        n_labels=len(facts.get("labels", ())),
        precision=str(facts.get("precision", "unknown")),
        examples=sum(shard.examples for shard in listing.shards.values()),
        size_bytes=sum(shard.size_bytes for shard in listing.shards.values()),
        filled_at=listing.filled_at,
        used_at=datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds"),
        filling=is_held(folder),
        strays=_strays(folder, listing),
    )


@dataclass(frozen=True)
class CacheCheck:
    """What re-reading a cache has found.

    Attributes:
        id: Its folder's name.
        shards: How many are listed.
        damaged: Listed, and gone or not as they were written.
        strays: There, and not listed; all of them where the listing itself is damaged.
        removed: Whether these were taken out.
    """

    id: str
    shards: int
    damaged: tuple[str, ...]
    strays: tuple[str, ...]
    removed: bool = False

    @property
    def whole(self) -> bool:
        return not self.damaged and not self.strays


def verify(folder: Path, *, repair: bool = False) -> CacheCheck:
    """Hash every shard of a cache anew.

    Args:
        folder: Of the cache.
        repair: Remove what is damaged or stray; the next run makes what it misses.

    Raises:
        InputError: If it is to be repaired while someone fills it.
    """
    listing = read_listing(folder)
    damaged = tuple(
        name for name, shard in listing.shards.items() if not is_whole(folder / name, shard)
    )
    strays = _strays(folder, listing)
    removing = repair and bool(damaged or strays)
    if removing:
        with held(folder):
            remove_damaged(folder)
    return CacheCheck(folder.name, len(listing.shards), damaged, strays, removing)


def delete_cache(folder: Path) -> None:
    """Remove a cache; whoever reads it at this moment keeps what it has opened.

    Raises:
        InputError: If another process is filling it.
    """
    with held(folder):
        (folder / LISTING).unlink(missing_ok=True)  # first: an interrupted removal lists nothing
        shutil.rmtree(folder)


def find_cache(root: Path, name: str) -> Path:
    """The folder of a cache by its id or the beginning of it.

    Raises:
        InputError: If none or several begin so.
    """
    known = [one.folder for one in list_caches(root)]
    found = [folder for folder in known if folder.name.startswith(name)]
    if len(found) == 1 and name:
        return found[0]
    if not found:
        raise InputError(
            f"No cache in {root} has an id that begins with '{name}'. `destilo cache list` shows "
            "them."
        )
    raise InputError(
        f"'{name}' is the beginning of {len(found)} ids: "
        f"{', '.join(sorted(folder.name for folder in found))}. Give more of it."
    )
