"""Imports go down the floors, never up or sideways between packages of one floor."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "adamantine"

FLOORS = {
    "errors": 0,
    "records": 0,
    "version": 0,
    "codecs": 0,
    "rules": 1,
    "workloads": 1,
    "report": 1,
    "trackers": 1,
    "export": 1,
    "backends": 2,
    "optim": 3,
    "train": 4,
    "study": 5,
    "cli": 6,
}
ROOMS = {
    "backends": {
        "formats": 0,
        "dlpack": 1,
        "huge_pages": 0,
        "links": 0,
        "layout": 1,
        "modes": 0,
        "compiling": 0,
        "shards": 1,
        "step_scalars": 0,
        "codes": 2,
        "missed_steps": 1,
        "reference": 3,
        "lists": 4,
        "rows": 4,
        "cpu": 5,
        "gpu": 6,
    },
    "backends/cpu": {
        "compiling": 0,
        "threads": 1,
        "kernel": 1,
        "probe": 2,
        "table": 3,
        "rows": 3,
    },
    "backends/gpu": {
        "availability": 0,
        "streams": 0,
        "chunks": 0,
        "device_scalars": 1,
        "kernel": 0,
        "factors": 1,
        "step_words": 1,
        "arguments": 2,
        "table": 3,
    },
    "workloads": {
        "protocol": 0,
        "idx": 0,
        "importing": 0,
        "surfaces": 0,
        "data": 1,
        "mnist": 2,
        "text": 1,
        "digits": 1,
        "quadratic": 1,
        "check": 2,
        "user": 3,
        "registry": 4,
    },
    "cli": {
        "interrupt": 0,
        "options": 0,
        "output": 0,
        "compare": 1,
        "data": 1,
        "demo": 1,
        "listing": 1,
        "lr_find": 1,
        "trace": 1,
        "train": 1,
        "tune": 1,
        "report": 2,
        "export": 2,
        "app": 3,
    },
    "study": {
        "settings": 0,
        "statistics": 0,
        "runs": 1,
        "compare": 2,
        "tune": 2,
        "lr_find": 2,
        "trace": 2,
    },
    "trackers": {
        "protocol": 0,
        "identity": 0,
        "of_records": 1,
        "to_csv": 1,
        "to_mlflow": 1,
        "to_tensorboard": 1,
        "to_wandb": 1,
        "session": 2,
    },
    "optim/step": {
        "interrupts": 0,
        "outside": 0,
        "sharded": 0,
        "travel": 0,
        "scaling": 1,
        "updates": 1,
        "matrices": 2,
        "stats": 2,
        "totals": 2,
        "unchanged": 2,
        "members": 3,
        "plan": 4,
    },
    "optim": {
        "usage": 0,
        "state": 1,
        "step": 2,
        "in_backward": 3,
        "offload": 3,
        "step_options": 4,
        "base": 5,
        "sparse": 6,
        "schedule_free": 6,
        "matrices": 6,
        "classes": 7,
        "by_name": 8,
    },
}
"""Floors within a part."""
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in FLOORS
)


OF_ONE_KIND = {"rules", "optim/classes"}
"""Folders that grow with the optimizers: a file for each."""


def part_of(path: Path, depth: int = 0) -> str:
    return path.relative_to(PACKAGE).parts[depth].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """What of the package a file names in imports, wherever they stand in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.startswith("adamantine.")}


def imported_parts(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path)}


def test_every_part_has_a_floor() -> None:
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} <= FLOORS.keys()


def test_every_folder_says_what_its_rooms_are(subtests: pytest.Subtests) -> None:
    """A folder without ``__init__`` imports all the same, and is left out of the wheel."""
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        name = folder.relative_to(PACKAGE).as_posix()
        with subtests.test(name):
            said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
            assert said
            files = [p for p in folder.iterdir() if p.suffix in ("", ".py")]
            rooms = {p.stem for p in files if not p.name.startswith("_")}
            assert name in OF_ONE_KIND or rooms <= set(re.findall(r"\w+", said))


def test_imports_go_down(subtests: pytest.Subtests) -> None:
    for path in FILES:
        own = part_of(path)
        with subtests.test(str(path.relative_to(PACKAGE))):
            for other in imported_parts(path) - {own}:
                said = f"imports adamantine.{other}: name the module, not the package"
                assert other in FLOORS, said
                assert FLOORS[other] < FLOORS[own] or FLOORS[other] == FLOORS[own] == 0


def test_rules_need_nothing_but_python(subtests: pytest.Subtests) -> None:
    for path in (p for p in FILES if part_of(p) == "rules"):
        with subtests.test(path.stem):
            tops = {
                (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
            }
            assert not {t.split(".")[0] for t in tops} & {"torch", "numpy", "numba", "triton"}


def test_imports_between_rooms_go_down(subtests: pytest.Subtests) -> None:
    for part, rooms in ROOMS.items():
        folder, prefix = PACKAGE / part, f"adamantine.{part.replace('/', '.')}."
        assert {p.stem for p in folder.iterdir() if not p.name.startswith("__")} == rooms.keys()
        for path in (p for p in FILES if p.is_relative_to(folder) and p != folder / "__init__.py"):
            own = path.relative_to(folder).parts[0].removesuffix(".py")
            with subtests.test(str(path.relative_to(PACKAGE))):
                inside = (n.removeprefix(prefix) for n in imported(path) if n.startswith(prefix))
                found = {name.split(".")[0] for name in inside} & rooms.keys() - {own}
                assert not {room for room in found if rooms[room] >= rooms[own]}


def test_no_folder_is_too_full_to_find_something_in(subtests: pytest.Subtests) -> None:
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        name = folder.relative_to(PACKAGE).as_posix()
        with subtests.test(name):
            inside = [p for p in folder.iterdir() if not p.name.startswith("_")]
            assert len(inside) <= 16 or name in OF_ONE_KIND


def module_of(path: Path) -> str:
    return ".".join(("adamantine", *path.relative_to(PACKAGE).with_suffix("").parts))


def test_files_import_each_other_in_no_circle() -> None:
    """Those that import nothing, or only what is gone, go; so do those that nobody imports."""
    files = {module_of(path): path for path in FILES if path.stem != "__init__"}
    needed = {
        name: {
            other
            for found in imported(path)
            for other in (found, found.rpartition(".")[0])
            if other in files and other != name
        }
        for name, path in files.items()
    }
    while True:
        wanted = set().union(*needed.values())
        kept = {name for name, others in needed.items() if others and name in wanted}
        if kept == needed.keys():
            break
        needed = {name: needed[name] & kept for name in kept}
    assert not needed
