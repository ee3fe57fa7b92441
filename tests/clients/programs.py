"""The programs of ``docs/clients.md``, each runnable with our optimizers and with torch's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "clients.md"
MODULES = ("adamantine", "torch.optim")

_BLOCK = re.compile(r"```python(.*?)\n(.*?)```", re.DOTALL)


def blocks() -> dict[str, tuple[str, str]]:
    """Heading to (what follows ``python`` on the fence, the code)."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    found = {}
    for section in sections:
        heading = section.split("\n", 1)[0]
        ((note, code),) = _BLOCK.findall(section)
        found[heading] = (note.strip(), code)
    return found


def with_import_from(module: str, code: str) -> str:
    """Swap the one import line."""
    swapped, times = re.subn(r"^from adamantine import", f"from {module} import", code, flags=re.M)
    assert times == 1
    return swapped


def run(code: str, filename: str = "<docs/clients.md>") -> dict[str, Any]:
    """Execute a program; return its names."""
    names: dict[str, Any] = {"__name__": "program", "__file__": filename}
    exec(compile(code, filename, "exec"), names)
    return names


def assert_same_losses(ours: list[float], theirs: list[float]) -> None:
    """50 losses or more, equal to 1e-4, of a training that did something."""
    assert len(ours) == len(theirs) >= 50, (len(ours), len(theirs))
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    assert worst < 1e-4, f"losses differ by {worst:.2g}"
    assert abs(ours[-1] - ours[0]) > 1e-2, f"{ours[0]} to {ours[-1]}: nothing was trained"
