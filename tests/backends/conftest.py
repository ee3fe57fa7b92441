"""Shared by the tests of the CPU's backend."""

import pytest

from adamantine.backends.cpu.probe import compiled_probe


@pytest.fixture(params=["dlpack", "python"])
def both_probes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for the fast probe and for the one without DLPack's C functions."""
    if request.param == "python":
        monkeypatch.setattr(compiled_probe, "exporter", lambda: 0)
