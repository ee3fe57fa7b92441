"""The user's own things, by `module:attribute`."""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from adamantine.errors import AdamantineError, UsageError


@dataclass(frozen=True)
class Importer:
    """One kind of thing that users bring along, for what errors say.

    Parameters
    ----------
    kind
        What it is: ``"workload"``.
    attribute
        What stands behind the colon: ``"attribute"``.
    example
        One that would be right.
    error
        Raised where the module or the attribute cannot be found or imported.
    """

    kind: str
    attribute: str
    example: str
    error: type[AdamantineError]

    def find(self, spec: str) -> Any:
        """What ``module:attribute`` names; the current folder is put on ``sys.path``.

        Raises
        ------
        UsageError
            If `spec` is not of that form.
        AdamantineError
            Of the class `error`, if there is no such module or attribute, or if the module cannot
            be imported. Other errors of the user's code come through as they are.
        """
        module_name, attribute = self._parse(spec)
        module = self._import(module_name, spec)
        if not hasattr(module, attribute):
            near = difflib.get_close_matches(attribute, vars(module), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            where = getattr(module, "__file__", None) or f"module {module_name}"
            raise self.error(f"{spec}: {where} has no {attribute!r}{hint}")
        return getattr(module, attribute)

    def _parse(self, spec: str) -> tuple[str, str]:
        module_name, _, attribute = spec.partition(":")
        is_path = "/" in module_name or "\\" in module_name or module_name.endswith(".py")
        if is_path and attribute.isidentifier():
            path = Path(module_name.replace("\\", "/")).with_suffix("")
            beyond = path.is_absolute() or ".." in path.parts
            dotted = path.name if beyond else ".".join(path.parts)
            raise UsageError(
                f"{self.kind} {spec!r}: {module_name} is a path, expected the name of a module in"
                f" the current folder: {dotted}:{attribute}" + f" from {path.parent}" * beyond
            )
        names = [*module_name.split("."), attribute]
        if not all(name.isidentifier() for name in names):
            raise UsageError(
                f"{self.kind} {spec!r}: expected module:{self.attribute}, e.g. {self.example}"
            )
        return module_name, attribute

    def _import(self, module_name: str, spec: str) -> ModuleType:
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        importlib.invalidate_caches()
        with self.import_errors_named(spec):
            try:
                return importlib.import_module(module_name)
            except ModuleNotFoundError as error:
                missing = error.name or ""
                if module_name != missing and not module_name.startswith(f"{missing}."):
                    raise
                raise self.error(
                    f"{spec}: there is no module {missing!r} in the current folder ({here}) or"
                    " among the installed packages; run from the folder that holds it"
                ) from error

    @contextmanager
    def import_errors_named(self, spec: str) -> Iterator[None]:
        """Say that it is the user's own code that cannot be imported, and where it says so."""
        try:
            yield
        except SyntaxError as error:
            raise self.error(
                f"{spec}: {error.filename}, line {error.lineno}: {error.msg}; correct it"
            ) from error
        except ImportError as error:
            raise self.error(
                f"{spec}: {_first_own_line(error)}: {error}; install what it imports or correct it"
            ) from error


def _first_own_line(error: ImportError) -> str:
    machinery = (f"{Path(__file__).parent}{os.sep}", importlib.__file__, "<frozen ")
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(machinery):
            return f"{frame.filename}, line {frame.lineno}"
    return "while importing"
