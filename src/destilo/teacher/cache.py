"""Teacher outputs on disk, one row per example, so that a teacher is run once for many students.

A row holds the teacher's logits per *unit*: a classified row, a tagged word (at its first piece),
a word of a question's window (start and end pooled over its pieces) with "no answer" as unit 0.
Units are what any student can be compared in, whatever its tokenizer, batch size or order.

A row is found by its content: the teacher's pieces and the unit of each. What else decides the
outputs (the teacher's weights, precision, heads) is the cache's *fingerprint* and names its folder.

Files: ``cache.json`` lists shards with their hashes; a shard is a safetensors file that appears
whole. Readers see what was listed when they opened it; one writer at a time adds shards. A shard
that is not what was written is left out, and its rows are missing until they are filled again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from destilo.errors import ModelError
from destilo.models.outputs import Outputs
from destilo.runs import Run, digest, file_digest, write_json
from destilo.tasks.base import Encoding, Example, HeadKind
from destilo.teacher.alignment import UnitIndex, own_units, pool_to_units

PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}
_LISTING, _KEY_BYTES = "cache.json", 16


@dataclass(frozen=True, slots=True)
class CachedRow:
    """What is kept of one example.

    Attributes:
        units: [n], the units that have a piece in the teacher's tokenizer; for a classified row
            [1], the row itself.
        logits: Per head: ROW [1, classes], UNIT [n, classes], SPAN [n].
    """

    units: NDArray[np.int64]
    logits: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row stands: its shard, its units and its values there."""

    shard: int
    units: slice
    values: slice


@dataclass
class TeacherCache:
    """Cached outputs of one teacher under one fingerprint; open it with ``open_cache``.

    Attributes:
        folder: Of this fingerprint.
        kinds: The task's heads.
        n_classes: Classes of the heads that have them; 0 for question answering.
        damaged: Names of shards that were not what had been written.
    """

    folder: Path
    kinds: Mapping[str, HeadKind]
    n_classes: int
    damaged: tuple[str, ...] = ()
    _places: dict[bytes, _Place] = field(default_factory=dict)
    _units: list[NDArray[np.int64]] = field(default_factory=list)
    _values: list[torch.Tensor] = field(default_factory=list)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def row(self, key: bytes) -> CachedRow:
        """The cached outputs of an example.

        Raises:
            KeyError: If it is not there.
        """
        place = self._places[key]
        units = self._units[place.shard][place.units]
        values = self._values[place.shard][place.values]
        logits: dict[str, torch.Tensor] = {}
        at = 0
        for name, kind in self.kinds.items():
            size = len(units) * (1 if kind is HeadKind.SPAN else self.n_classes)
            part = values[at : at + size]
            logits[name] = part if kind is HeadKind.SPAN else part.view(len(units), -1)
            at += size
        return CachedRow(units, logits)

    def _read_shard(self, path: Path) -> None:
        with safe_open(
            str(path), framework="pt"
        ) as file:  # values stay on disk until they are read
            keys, counts = file.get_tensor("keys").numpy(), file.get_tensor("counts").tolist()
            self._units.append(file.get_tensor("units").numpy().astype(np.int64))
            self._values.append(file.get_tensor("values"))
        shard, unit_at, value_at = len(self._units) - 1, 0, 0
        per_unit = sum(
            1 if kind is HeadKind.SPAN else self.n_classes for kind in self.kinds.values()
        )
        for key, count in zip(keys, counts, strict=True):
            size = count * per_unit
            self._places[key.tobytes()] = _Place(
                shard, slice(unit_at, unit_at + count), slice(value_at, value_at + size)
            )
            unit_at, value_at = unit_at + count, value_at + size


def cache_folder() -> Path:
    """Where caches lie, for every run: ``DESTILO_CACHE``, or a folder of the user's own."""
    return Path(os.environ.get("DESTILO_CACHE") or "~/.cache/destilo/teachers").expanduser()


def weights_digest(model: torch.nn.Module) -> str:
    """A digest of a model's weights, by content: names, shapes and bytes."""
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def fingerprint(**parts: Any) -> str:
    """A digest of everything that decides a teacher's outputs, beside the examples."""
    return digest({"format": 1, **parts})


def example_key(encoding: Encoding) -> bytes:
    """What identifies an example for its teacher: pieces, segments and the unit of each piece."""
    content = hashlib.sha256()
    types = encoding.token_type_ids
    for part in (encoding.input_ids, encoding.units, *(() if types is None else (types,))):
        content.update(len(part).to_bytes(8, "little"))
        content.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return content.digest()[:_KEY_BYTES]


def open_cache(folder: Path, *, kinds: Mapping[str, HeadKind], n_classes: int) -> TeacherCache:
    """Open a cache for reading: every shard that is listed and whole.

    Args:
        folder: Of one fingerprint; it need not exist yet.
        kinds: The task's heads.
        n_classes: Of the heads with classes.
    """
    cache, damaged = TeacherCache(folder, kinds, n_classes), []
    for name, expected in _listing(folder).items():
        path = folder / name
        if not path.is_file() or file_digest(path) != expected:
            damaged.append(name)
            continue
        cache._read_shard(path)
    cache.damaged = tuple(damaged)
    return cache


def _listing(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / _LISTING).read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in content["shards"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}  # nothing that is listed can be trusted: all is filled again


class CacheWriter:
    """Adds rows to a cache, a shard at a time; one writer at a time holds the folder.

    Args:
        folder: Of one fingerprint; made if needed.
        facts: What the fingerprint covers, for people who read ``cache.json``.
        precision: ``fp16`` or ``fp32``.
        rows_per_shard: A kill loses what a shard has not reached.
    """

    def __init__(
        self,
        folder: Path,
        *,
        facts: Mapping[str, Any],
        precision: str = "fp16",
        rows_per_shard: int = 2048,
    ) -> None:
        self._folder, self._facts = folder, dict(facts)
        self._dtype, self._rows_per_shard = PRECISIONS[precision], rows_per_shard
        self._keys: list[bytes] = []
        self._units: list[NDArray[np.int64]] = []
        self._values: list[torch.Tensor] = []
        self._lock = Run(folder).locked()

    def __enter__(self) -> CacheWriter:
        self._lock.__enter__()
        whole = {
            name: value
            for name, value in _listing(self._folder).items()
            if (path := self._folder / name).is_file() and file_digest(path) == value
        }
        for stray in self._folder.glob("*.safetensors"):
            if stray.name not in whole:
                stray.unlink()
        self._write_listing(whole)
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._flush()
        self._lock.__exit__(*error)

    def add(self, key: bytes, row: CachedRow) -> None:
        """Keep one row."""
        self._keys.append(key)
        self._units.append(row.units)
        self._values.append(torch.cat([part.reshape(-1) for part in row.logits.values()]))
        if len(self._keys) >= self._rows_per_shard:
            self._flush()

    def _flush(self) -> None:
        if not self._keys:
            return
        values = torch.cat(self._values).to(self._dtype)
        if not bool(torch.isfinite(values).all()):
            raise ModelError(
                "The teacher's logits do not fit half precision. Set `cache_precision: fp32`."
            )
        tensors = {
            "keys": torch.frombuffer(bytearray(b"".join(self._keys)), dtype=torch.uint8).view(
                -1, _KEY_BYTES
            ),
            "counts": torch.tensor([len(units) for units in self._units], dtype=torch.int64),
            "units": torch.from_numpy(np.concatenate(self._units).astype(np.int32)),
            "values": values,
        }
        listing = _listing(self._folder)
        name = (
            f"shard-{len(listing):05d}-{hashlib.sha256(self._keys[0]).hexdigest()[:8]}.safetensors"
        )
        partial = self._folder / f".{name}.partial"
        save_file(tensors, str(partial))
        shard = file_digest(partial)
        partial.replace(self._folder / name)
        self._write_listing({**listing, name: shard})
        self._keys, self._units, self._values = [], [], []

    def _write_listing(self, shards: Mapping[str, str]) -> None:
        write_json(self._folder / _LISTING, {"facts": self._facts, "shards": dict(shards)})


def rows_of_batch(
    outputs: Outputs, encodings: Sequence[Encoding], kinds: Mapping[str, HeadKind]
) -> list[CachedRow]:
    """Read a batch's outputs per unit.

    Args:
        outputs: The teacher's, in its own positions.
        encodings: What it read, row by row.
        kinds: The task's heads.
    """
    index = own_units(encodings).to(outputs.attention_mask.device)
    if all(kind is HeadKind.ROW for kind in kinds.values()):
        units = [np.zeros(1, dtype=np.int64) for _ in encodings]
    else:
        units = [np.unique(one.units[one.units >= 0]) for one in encodings]
    heads = {name: _per_unit(outputs, name, kinds[name], index, units) for name in kinds}
    return [
        CachedRow(mine, {name: values[row].float().cpu() for name, values in heads.items()})
        for row, mine in enumerate(units)
    ]


def _per_unit(
    outputs: Outputs,
    name: str,
    kind: HeadKind,
    index: UnitIndex,
    units: Sequence[NDArray[np.int64]],
) -> Sequence[torch.Tensor]:
    logits = outputs.heads[name]
    if kind is HeadKind.ROW:
        return [row[None] for row in logits]
    if kind is HeadKind.UNIT:
        return torch.split(logits[index.rows, index.positions], [len(one) for one in units])
    columns = 1 + max(int(one.max(initial=0)) for one in units)
    pooled = pool_to_units(logits, UnitIndex(*_spans_only(index), columns, index.keep))
    return [pooled[row, torch.from_numpy(one)] for row, one in enumerate(units)]


def _spans_only(index: UnitIndex) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return index.rows, index.positions, index.spans


def teacher_encoding(row: CachedRow) -> Encoding:
    """The row as an encoding in which every unit is one position, for the alignment."""
    return Encoding(input_ids=np.zeros(len(row.units), dtype=np.int64), units=row.units)


def missing(cache: TeacherCache, examples: Sequence[Example], *, encoding: int) -> list[int]:
    """Examples that the cache does not hold, each content once; long ones first."""
    seen: set[bytes] = set()
    wanted = []
    for number, example in enumerate(examples):
        key = example_key(example.encodings[encoding])
        if key not in cache and key not in seen:
            seen.add(key)
            wanted.append(number)
    return sorted(wanted, key=lambda number: -len(examples[number].encodings[encoding]))
