"""Imports go down the floors, never up or sideways between packages of one floor."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "adamantine"

FLOORS = {
    "errors": 0,
    "records": 0,
    "version": 0,
    "rules": 1,
    "codecs": 1,
    "workloads": 1,
    "report": 1,
    "backends": 2,
    "optim": 3,
    "train": 4,
    "study": 5,
    "cli": 6,
}
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in FLOORS
)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of the package that a file names in imports, wherever they stand in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {n.split(".")[1] for n in names if n.startswith("adamantine.")}


def test_every_part_has_a_floor() -> None:
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} <= FLOORS.keys()


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
