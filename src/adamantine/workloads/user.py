"""The user's own workload, by `module:attribute`."""

import difflib
import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from adamantine.errors import UsageError, WorkloadError
from adamantine.workloads.check import as_workload, takes
from adamantine.workloads.protocol import Workload


def load_user(spec: str) -> Workload:
    """The workload that `module:attribute` names.

    The current folder is put on ``sys.path``, as ``python -m`` does. The attribute is a
    workload, or a function (or class) that returns one when called without arguments.

    Raises
    ------
    UsageError
        If `spec` is not of the form ``module:attribute``.
    WorkloadError
        If there is no such module or attribute, if the module cannot be imported, or if what
        it names is not a workload. Other errors of your own code come through as they are.
    """
    module_name, attribute = _parse(spec)
    module = _import(module_name, spec)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise WorkloadError(f"{spec}: {module.__file__} has no {attribute!r}{hint}")
    candidate = getattr(module, attribute)
    if callable(candidate) and not isinstance(candidate, (Workload, nn.Module)):
        if not takes(candidate, 0):
            raise WorkloadError(
                f"{spec}: cannot be called without arguments, expected a workload or a function"
                " () -> workload"
            )
        with _import_errors_named(spec):
            candidate = candidate()
        if candidate is None:
            raise WorkloadError(f"{spec}: returned None, expected a workload")
    return as_workload(candidate, spec)


def _parse(spec: str) -> tuple[str, str]:
    module_name, _, attribute = spec.partition(":")
    is_path = "/" in module_name or "\\" in module_name or module_name.endswith(".py")
    if is_path and attribute.isidentifier():
        path = Path(module_name.replace("\\", "/")).with_suffix("")
        beyond = path.is_absolute() or ".." in path.parts
        dotted = path.name if beyond else ".".join(path.parts)
        raise UsageError(
            f"workload {spec!r}: {module_name} is a path, expected the name of a module in the"
            f" current folder: {dotted}:{attribute}" + f" from {path.parent}" * beyond
        )
    names = [*module_name.split("."), attribute]
    if not all(name.isidentifier() for name in names):
        raise UsageError(
            f"workload {spec!r}: expected module:attribute, e.g. examples.my_workload:workload"
        )
    return module_name, attribute


def _import(module_name: str, spec: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    with _import_errors_named(spec):
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if module_name != missing and not module_name.startswith(f"{missing}."):
                raise
            raise WorkloadError(
                f"{spec}: there is no module {missing!r} in the current folder ({here}) or among"
                " the installed packages; run from the folder that holds it"
            ) from error


@contextmanager
def _import_errors_named(spec: str) -> Iterator[None]:
    """Say that it is the user's own code that cannot be imported, and where it says so."""
    try:
        yield
    except SyntaxError as error:
        raise WorkloadError(
            f"{spec}: {error.filename}, line {error.lineno}: {error.msg}; correct it"
        ) from error
    except ImportError as error:
        raise WorkloadError(
            f"{spec}: {_first_own_line(error)}: {error}; install what it imports or correct it"
        ) from error


def _first_own_line(error: ImportError) -> str:
    machinery = (__file__, importlib.__file__, "<frozen ")
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(machinery):
            return f"{frame.filename}, line {frame.lineno}"
    return "while importing"
