"""Shared by the tests of studies."""

import pytest


@pytest.fixture
def always_look(monkeypatch):
    """A search is looked at after every step, not twice a second."""
    monkeypatch.setattr("adamantine.study.tuning.SECONDS_BETWEEN_VIEWS", 0.0)
