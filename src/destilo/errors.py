"""What can go wrong, said so that the user knows what to do next.

Every error that a user can meet is a ``DestiloError``. Its message says what is wrong, where
(recipe key, or file and line) and what to do. The command line prints it without a traceback
and leaves with ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DestiloError(Exception):
    """Something failed that was not the user's input (exit code 1)."""

    exit_code = 1


class InputError(DestiloError):
    """The user's input cannot be used as it stands (exit code 2)."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe is not valid, or asks for something impossible."""


class DataError(InputError):
    """A data file cannot be read, or does not hold what its format promises."""


class ModelError(InputError):
    """A model folder or hub model cannot be used for what the recipe asks."""


class AlignmentError(DataError):
    """Teacher and student do not read the same text, so nothing can be paired."""


class CheckpointError(InputError):
    """A training checkpoint is damaged or belongs to another experiment."""


class TrainingError(DestiloError):
    """Training cannot go on (a loss that is not finite, for instance)."""


class TrialPruned(DestiloError):  # noqa: N818  (the name that searches have for it)
    """A training was stopped because others were better at the same point."""


def suggest(name: str, options: Iterable[str], *, kind: str) -> str:
    """Say that a name is unknown, what was probably meant, and what there is.

    Args:
        name: What the user wrote.
        options: The names that exist.
        kind: What the name stands for, such as ``"task"``.

    Returns:
        One sentence such as ``Unknown task 'x'. Did you mean 'y'? Available: y, z.``
    """
    known = list(options)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return f"Unknown {kind} '{name}'.{guess} Available: {', '.join(known)}."
