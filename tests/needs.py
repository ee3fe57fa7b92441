"""Programs that tests need and that do not come with Python packages: a browser, a database.

Where one is missing its tests are skipped and say what to install. In CI they fail: there all of
them are installed, and what is skipped for good is not tested.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

CHROMIUM = "apt-get install chromium"
PLAYWRIGHT = "pip install -e '.[test]'"
POSTGRESQL = "apt-get install postgresql"
PSYCOPG = "pip install -e '.[postgresql]'"


def missing(what: str, install: str) -> NoReturn:
    said = f"{what} is missing: {install}"
    if os.environ.get("CI"):
        pytest.fail(f"{said} (in CI such tests are not skipped)", pytrace=False)
    pytest.skip(said)


def module(name: str, install: str) -> ModuleType:
    """The module, imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(name.partition(".")[0], install)


def program(*names: str, folders: tuple[Path, ...] = (), install: str) -> str:
    """The path of the first program of these names, in the PATH and then in `folders`."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    missing(" or ".join(names), install)
