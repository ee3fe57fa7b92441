"""``docs/optimizers.md`` is what the code says, and the code says enough."""

from __future__ import annotations

import re

import generate
import pytest

from adamantine.optim import RuleOptimizer

every_optimizer = pytest.mark.parametrize("cls", generate.optimizers(), ids=lambda c: c.__name__)


def test_the_page_is_up_to_date() -> None:
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), (
        "run python docs/generate.py"
    )


@every_optimizer
def test_docstrings_have_all_that_the_page_needs(cls: type[RuleOptimizer]) -> None:
    text = generate.sections(cls)
    for title in ("Good for", "Not for", "State", "References", "Raises"):
        assert len(text[title]) > 10, title
    assert any("\\theta_t &=" in formula for formula in generate.formulas(cls))


@every_optimizer
def test_every_setting_is_described_once(cls: type[RuleOptimizer]) -> None:
    described = [
        n for names, _ in generate.entries(generate.sections(cls)["Parameters"]) for n in names
    ]
    assert sorted(described) == sorted([*generate.settings_of(cls), "params", "options"])


@every_optimizer
def test_the_state_is_as_large_as_it_says(cls: type[RuleOptimizer]) -> None:
    said = re.match(r"(\d+) bytes a parameter", generate.sections(cls)["State"])
    assert said is not None
    assert int(said[1]) == generate.state_bytes(cls)
