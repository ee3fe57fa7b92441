"""By what a run is known again: the same in every process that tells of it."""

import hashlib
import json
import re
import secrets
from pathlib import Path
from typing import Any

from adamantine.errors import CheckpointError
from adamantine.records import finite

TOKEN = ".tracked"
"""File in a study's folder with what tells it from the same study in another folder."""


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits of anything that JSON can hold."""
    said = json.dumps(finite(parts), sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def token_of(folder: Path | None) -> str:
    """The folder's own, made at first; without a folder nothing goes on, and each has its own."""
    new = secrets.token_hex(8)
    if folder is None:
        return new
    path = folder / TOKEN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            made = path.with_name(f"{TOKEN}.{new}")
            made.write_text(new, encoding="utf-8")
            made.replace(path)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def slug(name: str, identity: str) -> str:
    """A name that a file may have, and that is no other run's."""
    plain = re.sub(r"[^\w.=,+-]+", "-", name).strip("-.")[:80]
    return f"{plain}-{identity[:8]}"
