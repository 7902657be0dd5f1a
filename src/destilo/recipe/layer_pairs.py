"""Which layers a term of a recipe compares."""

from __future__ import annotations

from collections.abc import Sequence

from destilo.layer_map import pair_layers
from destilo.recipe.schema import Recipe, TermSpec


def layer_pairs(
    spec: TermSpec, *, student: int, teacher: int, origin: str | Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Pair the layers of a term, numbered from 1.

    Args:
        spec: The term; its ``layer_map`` may leave the choice open.
        student: Layers of the student.
        teacher: Layers of the teacher.
        origin: The teacher layers that the student's were cut from, or the map that chose them.

    Returns:
        (student layer, teacher layer) for each comparison; none for ``embedding-mse``.

    Raises:
        ModelError: If the map does not fit the models.

    Reference:
        MiniLM (Wang et al. 2020), section 3.1, for relations of the last layer alone.
    """
    if spec.term == "embedding-mse":
        return ()
    if isinstance(spec.layer_map, tuple):
        return pair_layers(spec.layer_map, student=student, teacher=teacher)
    if spec.layer_map is not None:
        return pair_layers(spec.layer_map, student=student, teacher=teacher)
    if spec.term == "attention-relations":
        return ((student, teacher),)
    if not isinstance(origin, str):
        pairs = [(mine, theirs) for mine, theirs in enumerate(origin, start=1)]
        return pair_layers(pairs, student=student, teacher=teacher)
    return pair_layers(origin, student=student, teacher=teacher)


def origin_of_layers(recipe: Recipe, teacher: int) -> str | Sequence[int]:
    """The teacher layers that a student is cut from, or the map that chooses them."""
    student = recipe.student
    if student.from_ != "layers" or teacher != 0:
        return "uniform"
    return student.layers if isinstance(student.layers, tuple) else student.layer_map
