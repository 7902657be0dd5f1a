"""What a student of another width begins with: as much of its teacher as its shape holds.

``svd`` turns the teacher's embeddings into the few directions that carry most of them (a truncated
singular value decomposition, which keeps the inner products of words as well as any table of
that width can); word, position and segment tables turn by the same rotation, so that their sum
still means the sum. Behind them, a layer's tensors are copied where their shapes agree.
``slice`` takes the first rows and columns of every tensor, embeddings and layers alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from destilo.models.student import state_of_layers


@dataclass(frozen=True, slots=True)
class InitReport:
    """Where each tensor of a student came from.

    Attributes:
        origins: By tensor name: ``copied``, ``svd``, ``sliced`` or ``random``.
        kept_variance: The share of the word embeddings' squared norm that the reduction keeps.
    """

    origins: Mapping[str, str]
    kept_variance: float | None = None

    def summary(self) -> str:
        """One sentence: how many tensors from where."""
        counts = {
            kind: sum(1 for origin in self.origins.values() if origin == kind)
            for kind in ("copied", "svd", "sliced", "random")
        }
        parts = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
        kept = self.kept_variance
        share = "" if kept is None else f"; embeddings keep {100 * kept:.1f}% of their variance"
        return f"student's tensors: {parts}{share}"


def initialise_from(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    *,
    method: str,
    layers: Sequence[int],
) -> InitReport:
    """Fill a student in place with what its teacher has and its shape can hold.

    Args:
        student: With random weights; of the teacher's architecture and vocabulary.
        teacher: Where the tensors come from; not changed.
        method: ``svd`` or ``slice``.
        layers: The teacher layer, from 1, for each layer of the student.

    Returns:
        Where each of the student's tensors came from.
    """
    theirs = state_of_layers(teacher, layers)
    tables = _tables(student) if method == "svd" else {}
    basis, kept = _basis(student, theirs, tables) if tables else (None, None)
    origins: dict[str, str] = {}
    with torch.no_grad():
        for name, tensor in student.state_dict().items():
            source = theirs.get(name)
            value: Tensor | None = None
            if source is None or source.ndim != tensor.ndim:
                origin = "random"
            elif source.shape == tensor.shape:
                value, origin = source, "copied"
            elif basis is not None and name in tables and len(source) >= len(tensor):
                value, origin = source[: len(tensor)] @ basis, "svd"
            elif method == "slice" and all(
                a >= b for a, b in zip(source.shape, tensor.shape, strict=True)
            ):
                value, origin = source[tuple(slice(size) for size in tensor.shape)], "sliced"
            else:
                origin = "random"
            if value is not None:
                tensor.copy_(value)
            origins[name] = origin
    return InitReport(origins, kept)


def _tables(student: PreTrainedModel) -> dict[str, torch.nn.Embedding]:
    """The embedding tables that are added up, by tensor name."""
    words = student.get_input_embeddings()
    assert isinstance(words, torch.nn.Embedding)
    return {
        f"{name}.weight": module
        for name, module in student.named_modules()
        if isinstance(module, torch.nn.Embedding) and module.embedding_dim == words.embedding_dim
    }


def _basis(
    student: PreTrainedModel,
    theirs: Mapping[str, Tensor],
    tables: Mapping[str, torch.nn.Embedding],
) -> tuple[Tensor | None, float | None]:
    """The directions [teacher's width, student's width] that carry most of the word table."""
    words = student.get_input_embeddings()
    name = next(key for key, module in tables.items() if module is words)
    source = theirs.get(name)
    width = tables[name].embedding_dim
    if source is None or source.shape[1] <= width:
        return None, None
    table = source.float()
    # The right singular vectors are the eigenvectors of the small square matrix E'E.
    values, vectors = torch.linalg.eigh(table.T @ table)
    kept = float(values[-width:].sum() / values.sum())
    return vectors[:, -width:].flip(1).to(source.dtype), kept
