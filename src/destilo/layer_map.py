"""Which layers of a teacher a student takes, or follows. Plain arithmetic on layer numbers."""

from __future__ import annotations

from collections.abc import Sequence

from destilo.errors import ModelError, suggest

LAYER_MAPS = ("uniform", "last", "first", "every:K")


def choose_layers(available: int, *, wanted: int, layer_map: str = "uniform") -> tuple[int, ...]:
    """Pick teacher layers for a student, numbered from 1.

    Args:
        available: Layers of the teacher.
        wanted: Layers of the student.
        layer_map: ``uniform`` spreads them so that the last is the teacher's last (12 -> 4:
            3, 6, 9, 12); ``last`` and ``first`` take one end; ``every:K`` takes K, 2K, 3K, ...

    Raises:
        ModelError: If the map does not fit.

    Example:
        >>> choose_layers(12, wanted=4)
        (3, 6, 9, 12)
        >>> choose_layers(24, wanted=6, layer_map="every:3")
        (3, 6, 9, 12, 15, 18)
    """
    if not 1 <= wanted <= available:
        raise ModelError(
            f"A student of {wanted} layers cannot be cut from a teacher of {available}. "
            f"Set student.layers to a number from 1 to {available}."
        )
    if layer_map == "uniform":
        return tuple(-(-available * number // wanted) for number in range(1, wanted + 1))
    if layer_map == "first":
        return tuple(range(1, wanted + 1))
    if layer_map == "last":
        return tuple(range(available - wanted + 1, available + 1))
    step = layer_map.removeprefix("every:")
    if not layer_map.startswith("every:") or not step.isdigit() or int(step) < 1:
        raise ModelError(suggest(layer_map, LAYER_MAPS, kind="layer map"))
    if int(step) * wanted > available:
        raise ModelError(
            f"'{layer_map}' for {wanted} layers reaches layer {int(step) * wanted}, but the "
            f"teacher has {available}. Use every:{available // wanted} or uniform."
        )
    return tuple(int(step) * number for number in range(1, wanted + 1))


def layers_above(top: int, available: int) -> str | None:
    """Name the layers above the last one that is followed, if any.

    Example:
        >>> layers_above(18, 24)
        'layers 19 to 24'
        >>> layers_above(5, 6)
        'layer 6'
    """
    if top >= available:
        return None
    return f"layer {available}" if top + 1 == available else f"layers {top + 1} to {available}"


def check_layers(numbers: Sequence[int], *, available: int) -> tuple[int, ...]:
    """Check explicit layer numbers (from 1, ascending, no repeats)."""
    wrong = [number for number in numbers if not 1 <= number <= available]
    if wrong or list(numbers) != sorted(set(numbers)) or not numbers:
        raise ModelError(
            f"student.layers {list(numbers)} must be ascending numbers from 1 to {available}, "
            "each once."
        )
    return tuple(numbers)


def pair_layers(
    layer_map: str | Sequence[tuple[int, int]], *, student: int, teacher: int
) -> tuple[tuple[int, int], ...]:
    """Say which teacher layer each student layer follows, numbered from 1.

    Args:
        layer_map: A name as in ``choose_layers`` for every student layer, or the pairs themselves
            as (student layer, teacher layer).
        student: Layers of the student.
        teacher: Layers of the teacher.

    Raises:
        ModelError: If the map does not fit.

    Example:
        >>> pair_layers("every:3", student=6, teacher=24)
        ((1, 3), (2, 6), (3, 9), (4, 12), (5, 15), (6, 18))
        >>> pair_layers([(3, 12)], student=3, teacher=12)
        ((3, 12),)
    """
    if isinstance(layer_map, str):
        if student > teacher:
            raise ModelError(
                f"'{layer_map}' gives each of the student's {student} layers one of the teacher's, "
                f"which has {teacher}. Write the pairs, such as [[{student}, {teacher}]]."
            )
        chosen = choose_layers(teacher, wanted=student, layer_map=layer_map)
        return tuple(enumerate(chosen, start=1))
    pairs = tuple((mine, theirs) for mine, theirs in layer_map)
    for side, available, numbers in (
        ("student", student, [mine for mine, _ in pairs]),
        ("teacher", teacher, [theirs for _, theirs in pairs]),
    ):
        wrong = [number for number in numbers if not 1 <= number <= available]
        if wrong:
            raise ModelError(
                f"The layer map names layer {wrong[0]} of a {side} that has {available}."
            )
    if len(set(pairs)) < len(pairs) or not pairs:
        raise ModelError(
            f"The layer map {[list(pair) for pair in pairs]} repeats a pair or is empty."
        )
    return pairs
