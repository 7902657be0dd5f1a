"""Files and folders as a recipe names them.

``pathlib`` raises where a folder may not be entered or a name is too long; what cannot be reached
is here simply not there, and told as such.
"""

from __future__ import annotations

import os
from pathlib import Path


def is_file(path: str | Path) -> bool:
    """Tell whether a file can be reached."""
    return os.path.isfile(path)  # noqa: PTH113  (see above)


def is_folder(path: str | Path) -> bool:
    """Tell whether a folder can be reached."""
    return os.path.isdir(path)  # noqa: PTH112  (see above)


def looks_local(source: str) -> bool:
    """Tell a path from the name of a hub model (``name`` or ``owner/name``)."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or source.endswith("/")


def seen_from(folder: Path, text: str) -> str:
    """Resolve a path that exists; leave what may be the name of a hub model, or is missing."""
    if text.startswith("~"):
        return str(Path(text).expanduser())
    path = folder / text
    return str(path.resolve()) if text and (is_file(path) or is_folder(path)) else text
