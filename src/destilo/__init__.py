"""destilo: distil a large transformer encoder into a small, fast model, and prove that it is good.

The names below are loaded when they are first used, so that importing destilo costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from destilo.errors import DestiloError, InputError
    from destilo.pipeline import RunResult, run
    from destilo.predict import Predictor
    from destilo.recipe.check import check_recipe
    from destilo.recipe.load import load_recipe
    from destilo.recipe.schema import Recipe

_HOMES = {
    "DestiloError": "destilo.errors",
    "InputError": "destilo.errors",
    "Predictor": "destilo.predict",
    "Recipe": "destilo.recipe.schema",
    "RunResult": "destilo.pipeline",
    "check_recipe": "destilo.recipe.check",
    "load_recipe": "destilo.recipe.load",
    "run": "destilo.pipeline",
}

__all__ = [
    "DestiloError",
    "InputError",
    "Predictor",
    "Recipe",
    "RunResult",
    "__version__",
    "check_recipe",
    "load_recipe",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'destilo' has no attribute '{name}'")
