"""The examples of the pages about optimizers run."""

from __future__ import annotations

import doctest
import re
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from adamantine.optim.classes import muon
from adamantine.optim.state import matching
from adamantine.optim.usage import grouping, misuse, zeroing

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["groups", "checkpoints", "misuse", "step_options", "stats"])
def test_the_code_of_a_page_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    with warnings.catch_warnings():
        for block in blocks:
            exec(block, scope)
    assert len(blocks) >= 1 + (page != "stats")
    if page == "groups":
        assert capsys.readouterr().out.splitlines() == [
            "[['1.bias', '2.bias'], ['0.weight'], ['1.weight', '2.weight']]",
            "[(0.1, ['0.weight', '2.weight']), (0.0, ['1.weight', '1.bias', '2.bias'])]",
            "0.weight  50x8  adamw  embedding",
            "1.weight  8x8   muon   matrix",
            "1.bias    8     adamw  bias",
            "2.weight  8     adamw  fewer than two dimensions",
            "2.bias    8     adamw  bias",
            "3.weight  50x8  adamw  output layer",
            "3.bias    50    adamw  bias",
        ]


@pytest.mark.parametrize(
    "module", [grouping, matching, misuse, muon, zeroing], ids=lambda m: m.__name__
)
def test_the_examples_of_a_module_run(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
