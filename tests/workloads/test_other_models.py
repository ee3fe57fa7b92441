"""Other people's models and data as workloads: the examples, from their files."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {
    "huggingface_text": ("transformers", ("Scores", "workload")),
    "lightning_module": ("lightning", ("workload",)),
    "image_folder": ("PIL", ("Scores", "workload", "images_in", "pixels_of")),
}
"""What each needs, and what in it a user has to write around the model and the data."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_user_writes_25_lines_at_most(name: str) -> None:
    tree = ast.parse((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))
    own = [part for part in tree.body if getattr(part, "name", "") in EXAMPLES[name][1]]
    assert len(own) == len(EXAMPLES[name][1])
    for part in ast.walk(ast.Module(own, [])):
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part):
            del part.body[0]
    assert sum(len(ast.unparse(part).splitlines()) for part in own) <= 25
    assert sum(part.end_lineno - part.lineno + 1 for part in own) <= 32  # with its documentation


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("huggingface_text", marks=pytest.mark.slow),
        "lightning_module",
        pytest.param("image_folder", marks=pytest.mark.slow),
    ],
)
def test_an_example_is_compared_from_its_file(name: str, tmp_path: Path) -> None:
    """With an optimizer of another package, whose settings are given and searched."""
    for needed in (EXAMPLES[name][0], "transformers", "pytorch_optimizer"):
        pytest.importorskip(needed)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "adamantine", "compare", "adamw:lr=0.01"),
            *("pytorch_optimizer:Prodigy:lr=1", "--workload", f"examples.{name}:workload"),
            *("--space", "pytorch_optimizer:Prodigy:weight_decay=0|0.1"),
            *("--space", "pytorch_optimizer:Prodigy:lr=0.5|1"),
            *("--seeds", "2", "--budget", "2", "--tuning-seeds", "1", "--epochs", "1"),
            *("--looks", "1", "--jobs", "1", "--out", str(tmp_path / "out"), "--json"),
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    study = json.loads(done.stdout)
    ours, theirs = study["contestants"]
    assert theirs["optimizer"] == "pytorch_optimizer.Prodigy"
    assert {trial["settings"]["lr"] for trial in theirs["trials"]} == {0.5, 1}
    assert {trial["settings"]["weight_decay"] for trial in theirs["trials"]} <= {0, 0.1}
    assert ours["metric"]["value"] > 0.2
    assert study["verdict"][0]["about"] == "decision"
