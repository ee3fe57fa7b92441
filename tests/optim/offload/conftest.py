"""Parameters that are on a device, as far as optimizers know."""

import pytest

from adamantine.backends import links
from adamantine.optim import offload
from offload_cases import Late


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Late:
    """Parameters are on a device."""
    found = Late()
    monkeypatch.setattr(links, "link_of", lambda device: found)
    return found


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "BUCKET", 600)
