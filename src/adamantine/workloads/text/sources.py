"""A text that is on every machine: the sources of Python's own standard library."""

import sys
import sysconfig
import zipfile
from collections.abc import Container, Iterator
from pathlib import Path
from platform import python_version
from typing import NamedTuple

from adamantine.errors import WorkloadError

LIBRARY = f"the sources of Python {python_version()}'s standard library"
DATA = "comes with Python"


class Texts(NamedTuple):
    """Three texts that have no file in common."""

    train: bytes
    validation: bytes
    test: bytes


def texts() -> Texts:
    """The library's modules, without its packages, split by file.

    Of the files in the order of their names, every tenth is for testing and the one before it for
    validation. Only modules that Python itself names are read: what a distribution has laid
    beside them differs between machines. A Python of the same version gives the same texts.

    Raises
    ------
    WorkloadError
        If the sources cannot be read.
    """
    files = read_library(sys.stdlib_module_names)
    train = [content for index, content in enumerate(files) if index % 10 < 8]
    return Texts(*(b"".join(part) for part in (train, files[8::10], files[9::10])))


def read_library(modules: Container[str] | None = None) -> list[bytes]:
    """What the files that lie directly in the library hold, in the order of their names.

    Parameters
    ----------
    modules
        The names of those to read; all if None.

    Raises
    ------
    WorkloadError
        If a file cannot be read.
    """
    contents: dict[str, bytes] = {}
    try:
        for place in _places():
            for path in place.iterdir():
                stem, _, suffix = path.name.rpartition(".")
                if suffix == "py" and (modules is None or stem in modules):
                    # Installers for Windows end lines as Windows does.
                    contents.setdefault(path.name, path.read_bytes().replace(b"\r\n", b"\n"))
    except (OSError, zipfile.BadZipFile) as error:
        raise WorkloadError(
            f"Python's standard library cannot be read: {error}; check the installation"
        ) from error
    return [contents[name] for name in sorted(contents)]


def spread(there: int, count: int, what: str) -> list[int]:
    """`count` of the places 0 to `there` - 1, as far from each other as can be, in their order.

    The files of a text are about different things, and some are long: the beginning of a text may
    be a single file.

    Raises
    ------
    WorkloadError
        If there are not so many places: then the library is not there, or not all of it.
    """
    if there < count:
        places = " and ".join(str(place) for place in _candidates())
        raise WorkloadError(
            f"Python's standard library in {places} gives {there:,} {what}, expected at least"
            f" {count:,}: its sources are missing, or some of them; install Python with its .py"
            " files (some distributions have them in a package of their own)"
        )
    return [place * there // count for place in range(count)]


def _places() -> Iterator[Path | zipfile.Path]:
    folder, archive = _candidates()
    if folder.is_dir():
        yield folder
    if archive.is_file():
        yield zipfile.Path(archive)


def _candidates() -> tuple[Path, Path]:
    """The folder of the library, and the archive that may hold it instead."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    return folder, folder.with_name("python{}{}.zip".format(*sys.version_info))
