"""Shared by the tests of studies."""

import pytest

from adamantine.study.tune import tuning


@pytest.fixture
def always_look(monkeypatch):
    """A search is looked at after every step, not twice a second."""
    monkeypatch.setattr(tuning, "SECONDS_BETWEEN_REPORTS", 0.0)
