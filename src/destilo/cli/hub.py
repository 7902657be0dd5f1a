"""Whether a run needs the hub, and whether the hub can be reached.

The libraries try every file again and again, with half a minute of waiting, before they say that
there is no network. One look beforehand lets them use what is in their cache, or fail at once.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from destilo.recipe.data_spec import Source
from destilo.recipe.paths import is_file, is_folder

if TYPE_CHECKING:
    from destilo.recipe.schema import Recipe

_ENDPOINT = "https://huggingface.co"
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_PATIENCE_SECONDS = 5.0
_NOT_A_NAME = ("teacher", "own")


def stay_offline_without_hub(recipe: Recipe) -> None:
    """Tell the libraries to work from their cache where a recipe needs a hub that is not there.

    To be called before they are imported, since they read their environment then. Nothing is
    looked up for a recipe whose models and data are all here.
    """
    if not any(os.environ.get(name) for name in _OFFLINE) and needs_hub(recipe):
        use_cache_without_hub()


def use_cache_without_hub() -> None:
    """Look for the hub, and if it is not there, tell the libraries to use their cache alone."""
    if any(os.environ.get(name) for name in _OFFLINE):
        return
    if not is_reachable(os.environ.get("HF_ENDPOINT") or _ENDPOINT):
        os.environ["HF_HUB_OFFLINE"] = "1"


def needs_hub(recipe: Recipe) -> bool:
    """Whether a recipe names a model, a tokenizer or data that is no file or folder here."""
    if any(source.format == "hub" and not _is_here(source.name) for source in _sources(recipe)):
        return True
    student = recipe.student
    names = [student.model, student.config, student.tokenizer]
    for teacher in recipe.teachers:
        names += [teacher.model, teacher.config, teacher.tokenizer, teacher.encoder]
    return any(
        isinstance(name, str) and name not in _NOT_A_NAME and not _is_here(name) for name in names
    )


def _sources(recipe: Recipe) -> Iterator[Source]:
    data = recipe.data
    yield from data.tests.values()
    yield data.train
    if isinstance(data.validation, Source):
        yield data.validation
    if data.unlabelled is not None:
        yield data.unlabelled


def _is_here(name: str | None) -> bool:
    return name is None or is_file(name) or is_folder(name)


def is_reachable(endpoint: str) -> bool:
    """Whether something answers at the endpoint; taken for granted behind a proxy."""
    address = urlsplit(endpoint)
    if address.hostname is None or {"all", address.scheme} & set(getproxies()):
        return True
    port = address.port or (80 if address.scheme == "http" else 443)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for pause in (0.5, 1.0, 0.0):  # a network may stumble once
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            socket.create_connection((address.hostname, port), timeout=left).close()
        except OSError:
            time.sleep(pause)
        else:
            return True
    return False
