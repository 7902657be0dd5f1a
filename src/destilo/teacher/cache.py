"""Teacher outputs on disk, one row per example, so that a teacher is run once for many students.

A row holds the teacher's logits per *unit*: a classified row, a tagged word (at its first piece),
a word of a question's window (start and end pooled over its pieces) with "no answer" as unit 0.
Units are what any student can be compared in, whatever its tokenizer, batch size or order.

A row is found by its content: the teacher's pieces and the unit of each. What else decides the
outputs (the teacher's weights, precision, heads) is the cache's *fingerprint* and names its folder.

A shard is a safetensors file that appears whole and is then listed. Readers see what was listed
when they opened it; one writer at a time adds shards. A shard that is not what was written is left
out, and its rows are missing until they are filled again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from destilo.data.batching import pad
from destilo.errors import ModelError
from destilo.models.outputs import Outputs
from destilo.runs import file_digest
from destilo.tasks.base import Encoding, Example, HeadKind
from destilo.teacher.alignment import UnitIndex, first_pieces, pool_to_units
from destilo.teacher.store import (
    Shard,
    is_whole,
    read_listing,
    remove_damaged,
    write_listing,
)

PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}
_KEY_BYTES = 16
_SMALL = np.iinfo(np.int16).max

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class CachedRow:
    """What is kept of one example.

    Attributes:
        units: [n], the units that have a piece in the teacher's tokenizer; for a classified row
            [1], the row itself.
        logits: Per head: ROW [1, classes], UNIT [n, classes], SPAN [n].
    """

    units: NDArray[np.integer[Any]]
    logits: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class _OpenShard:
    """The arrays of one shard, which stay on disk until they are read."""

    units: NDArray[np.integer[Any]]
    logits: Mapping[str, Floats]


@dataclass
class TeacherCache:
    """Cached outputs of one teacher under one fingerprint; open it with ``open_cache``.

    Attributes:
        folder: Of this fingerprint.
        kinds: The task's heads.
        damaged: Names of shards that were not what had been written.
    """

    folder: Path
    kinds: Mapping[str, HeadKind]
    damaged: tuple[str, ...] = ()
    _places: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)
    _shards: list[_OpenShard] = field(default_factory=list)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def row(self, key: bytes) -> CachedRow:
        """The cached outputs of an example.

        Raises:
            KeyError: If it is not there.
        """
        number, start, stop = self._places[key]
        shard = self._shards[number]
        logits = {name: values[start:stop] for name, values in shard.logits.items()}
        return CachedRow(shard.units[start:stop], logits)

    def batch(self, keys: Sequence[bytes]) -> dict[str, torch.Tensor]:
        """The logits of several examples, padded with 0.

        Args:
            keys: Of the examples.

        Returns:
            Per head: ROW [batch, classes], UNIT [batch, units, classes], SPAN [batch, units]; and
            ``attention_mask`` [batch, units], true where a row has a unit.
        """
        rows = [self.row(key) for key in keys]
        counts = np.array([len(row.units) for row in rows])
        longest = int(counts.max())
        result = {"attention_mask": torch.from_numpy(np.arange(longest) < counts[:, None])}
        for name, kind in self.kinds.items():
            shape = rows[0].logits[name].shape[1:]
            values = np.zeros((len(rows), longest, *shape), dtype=np.float32)
            for number, row in enumerate(rows):
                values[number, : len(row.units)] = row.logits[name]
            result[name] = torch.from_numpy(values[:, 0] if kind is HeadKind.ROW else values)
        return result

    def _read_shard(self, path: Path) -> None:
        with safe_open(str(path), framework="pt") as file:  # which maps the file into memory
            keys, counts = file.get_tensor("keys").numpy(), file.get_tensor("counts").numpy()
            units = file.get_tensor("units").numpy()
            logits = {name: file.get_tensor(f"logits.{name}").numpy() for name in self.kinds}
        number = len(self._shards)
        self._shards.append(_OpenShard(units, logits))
        ends = np.cumsum(counts, dtype=np.int64)
        starts = ends - counts
        for key, start, end in zip(keys, starts.tolist(), ends.tolist(), strict=True):
            self._places[key.tobytes()] = (number, start, end)


def weights_digest(model: torch.nn.Module) -> str:
    """A digest of a model's weights, by content: names, shapes and bytes."""
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return content.hexdigest()


def example_key(encoding: Encoding) -> bytes:
    """What identifies an example for its teacher: pieces, segments and the unit of each piece."""
    content = hashlib.sha256()
    types = encoding.token_type_ids
    for part in (encoding.input_ids, encoding.units, *(() if types is None else (types,))):
        content.update(len(part).to_bytes(8, "little"))
        content.update(np.ascontiguousarray(part, dtype=np.int64).data)
    return content.digest()[:_KEY_BYTES]


def open_cache(folder: Path, *, kinds: Mapping[str, HeadKind]) -> TeacherCache:
    """Open a cache for reading: every shard that is listed and whole.

    Args:
        folder: Of one fingerprint; it need not exist yet.
        kinds: The task's heads.
    """
    cache, damaged = TeacherCache(folder, kinds), []
    for name, shard in read_listing(folder).shards.items():
        if is_whole(folder / name, shard):
            cache._read_shard(folder / name)
        else:
            damaged.append(name)
    cache.damaged = tuple(damaged)
    return cache


class CacheWriter:
    """Adds rows to a cache, a shard at a time, in a folder that the caller holds.

    Shards hold whole batches, so that a filling which goes on after a kill makes the same batches,
    and with them the same values to the bit, as one that was never stopped.

    Args:
        folder: Of one fingerprint; what is damaged in it is removed first.
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
        self._precision, self._rows_per_shard = precision, rows_per_shard
        self._keys: list[bytes] = []
        self._units: list[NDArray[np.int64]] = []
        self._logits: dict[str, list[torch.Tensor]] = {}
        remove_damaged(folder)

    def add(
        self,
        keys: Sequence[bytes],
        units: Sequence[NDArray[np.int64]],
        logits: Mapping[str, torch.Tensor],
    ) -> None:
        """Keep the rows of one batch.

        Args:
            keys: One a row.
            units: One array a row.
            logits: Per head [all units of the batch] or [all units, classes], on the CPU.
        """
        self._keys += keys
        self._units += units
        for name, values in logits.items():
            self._logits.setdefault(name, []).append(values)
        if len(self._keys) >= self._rows_per_shard:
            self.flush()

    def flush(self) -> None:
        """Write what is kept as a shard, and list it."""
        if not self._keys:
            return
        tensors = {
            "keys": torch.frombuffer(bytearray(b"".join(self._keys)), dtype=torch.uint8).view(
                -1, _KEY_BYTES
            ),
            "counts": torch.tensor([len(units) for units in self._units], dtype=torch.int32),
            "units": torch.from_numpy(_compact(np.concatenate(self._units))),
            **{f"logits.{name}": self._rounded(torch.cat(v)) for name, v in self._logits.items()},
        }
        listed = read_listing(self._folder).shards
        start = hashlib.sha256(self._keys[0]).hexdigest()[:8]
        name = f"shard-{len(listed):05d}-{start}.safetensors"
        partial = self._folder / f".{name}.partial"
        save_file(tensors, str(partial))
        shard = Shard(file_digest(partial), len(self._keys), partial.stat().st_size)
        partial.replace(self._folder / name)
        write_listing(self._folder, self._facts, {**listed, name: shard})
        self._keys, self._units, self._logits = [], [], {}

    def _rounded(self, values: torch.Tensor) -> torch.Tensor:
        if not bool(torch.isfinite(values).all()):
            raise ModelError("The teacher gives logits that are not finite numbers.")
        rounded = values.to(PRECISIONS[self._precision])
        if not bool(torch.isfinite(rounded).all()):
            raise ModelError(
                "The teacher's logits do not fit half precision. Set `cache_precision: fp32`."
            )
        return rounded


def _compact(units: NDArray[np.int64]) -> NDArray[np.integer[Any]]:
    return units.astype(np.int16 if units.max(initial=0) <= _SMALL else np.int32)


def unit_logits(
    outputs: Outputs, encodings: Sequence[Encoding], kinds: Mapping[str, HeadKind]
) -> tuple[list[NDArray[np.int64]], dict[str, torch.Tensor]]:
    """Read a batch's outputs per unit, the units of all rows in one line.

    Args:
        outputs: The teacher's, in its own positions.
        encodings: What it read, row by row.
        kinds: The task's heads.

    Returns:
        The units of each row that have a piece (of a classified row one, the row itself), and per
        head in float32: ROW [batch, classes], UNIT [units, classes], SPAN [units].
    """
    if all(kind is HeadKind.ROW for kind in kinds.values()):
        units = [np.zeros(1, dtype=np.int64) for _ in encodings]
        return units, {name: outputs.heads[name].float() for name in kinds}
    pieces = [first_pieces(encoding) for encoding in encodings]
    units = [mine for mine, _ in pieces]
    rows = np.repeat(np.arange(len(units)), [len(mine) for mine in units])
    positions = np.concatenate([where for _, where in pieces])
    columns = np.concatenate(units)
    device = outputs.attention_mask.device
    at = torch.from_numpy(np.stack([rows, positions, columns])).to(device)
    result = {}
    for name, kind in kinds.items():
        logits = outputs.heads[name]
        if kind is HeadKind.UNIT:
            result[name] = logits[at[0], at[1]].float()
        else:
            spans = torch.from_numpy(pad([one.units for one in encodings], value=-1)).to(device)
            index = UnitIndex(at[0], at[1], spans, 1 + int(columns.max(initial=0)), spans >= 0)
            pooled = pool_to_units(logits, index)
            result[name] = pooled[at[0], at[2]].float()
    return units, result


def teacher_encoding(row: CachedRow) -> Encoding:
    """The row as an encoding in which every unit is one position, for the alignment."""
    units = row.units.astype(np.int64)
    return Encoding(input_ids=np.zeros(len(units), dtype=np.int64), units=units)


def missing(
    cache: TeacherCache, examples: Sequence[Example], *, encoding: int
) -> dict[bytes, Example]:
    """Examples that the cache does not hold, by key, each content once; long ones first."""
    wanted: dict[bytes, Example] = {}
    for example in examples:
        key = example_key(example.encodings[encoding])
        if key not in cache:
            wanted.setdefault(key, example)
    long_first = sorted(wanted.items(), key=lambda item: -len(item[1].encodings[encoding]))
    return dict(long_first)
