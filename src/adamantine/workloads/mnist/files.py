"""MNIST's four files: their names, their digests, and where they may lie."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adamantine.errors import DataError
from adamantine.workloads.idx import read_content

VARIABLE = "ADAMANTINE_DATA"
LAYOUTS = ("", "mnist", "MNIST/raw")
"""Folders inside a data folder that are looked into; the last is torchvision's."""


@dataclass(frozen=True)
class MnistFile:
    """One of the four files, as published.

    Parameters
    ----------
    name
        Its name without ``.gz``.
    sha256
        Of the decompressed content, so that a file compressed anew passes.
    gz_sha256
        Of the ``.gz`` as the mirrors serve it.
    """

    name: str
    sha256: str
    gz_sha256: str


FILES = (
    MnistFile(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    MnistFile(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    MnistFile(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    MnistFile(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
"""Training images, training labels, test images, test labels, in this order."""


@dataclass(frozen=True)
class MnistFolder:
    """Which of the files a data folder holds.

    Parameters
    ----------
    root
        The data folder that was looked into.
    folder
        The layout inside it that holds the files (where it holds none: ``root/mnist``).
    paths
        What was found, by the file's name; plain before ``.gz``, which costs time to unpack.
    remedy
        What to do about a damaged file here.
    """

    root: Path
    folder: Path
    paths: Mapping[str, Path]
    remedy: str

    def missing(self, files: Sequence[MnistFile]) -> list[str]:
        """Names of the files that are not here."""
        return [file.name for file in files if file.name not in self.paths]


@dataclass(frozen=True)
class FileCheck:
    """The result of verifying a file; plain values, ready for JSON.

    Parameters
    ----------
    name, path
        The file and its location.
    bytes
        Length of the decompressed content; 0 if it cannot be read.
    ok
        Whether the content's SHA-256 is the published one.
    problem
        What is wrong if it is not ``ok``, otherwise empty.
    """

    name: str
    path: str
    bytes: int
    ok: bool
    problem: str = ""


def cache_folder() -> Path:
    """The user's cache folder for this package, where downloads go."""
    import platformdirs

    return platformdirs.user_cache_path("adamantine")


def look_into(root: Path, files: Sequence[MnistFile] = FILES) -> MnistFolder:
    """The layout of `root` that holds most of the files; raises a DataError if unreadable."""
    try:
        held = [(root / layout, _held(root / layout, files)) for layout in LAYOUTS]
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); give --data-dir a folder you"
            " can read"
        ) from error
    folder, paths = max(held, key=lambda item: len(item[1]))
    if not paths:
        folder = root / "mnist"
    if root == cache_folder():
        remedy = "run `adamantine data mnist` to fetch it again, or give --data-dir a good copy"
    else:
        remedy = (
            f"delete it and run `adamantine data mnist --data-dir {root}` to fetch it again,"
            " or give --data-dir a good copy"
        )
    return MnistFolder(root, folder, paths, remedy)


def _held(folder: Path, files: Sequence[MnistFile]) -> dict[str, Path]:
    paths = {}
    for file in files:
        for candidate in (folder / file.name, folder / f"{file.name}.gz"):
            if candidate.is_file():
                paths[file.name] = candidate
                break
    return paths


def find_mnist(
    data_dir: Path | None = None, files: Sequence[MnistFile] = FILES
) -> MnistFolder | None:
    """Where the four files lie: `data_dir`, else ``$ADAMANTINE_DATA``, else the user cache.

    Returns
    -------
    MnistFolder or None
        None where none was given and the user cache is to be filled by a download.

    Raises
    ------
    DataError
        If `data_dir` holds no MNIST, if ``$ADAMANTINE_DATA`` is no folder, or if either
        holds some of the files only: what was asked for is never replaced by a download.
    """
    if data_dir is not None:
        return _complete(data_dir, "--data-dir", files)
    named = os.environ.get(VARIABLE)
    if named:
        root = Path(named).expanduser()
        # A data folder for other things too may well hold no MNIST; one that is not there
        # is a misspelt setting.
        if look_into(root, files).paths or not root.is_dir():
            return _complete(root, f"${VARIABLE}", files)
    cached = look_into(cache_folder(), files)
    return None if cached.missing(files) else cached


def _complete(root: Path, origin: str, files: Sequence[MnistFile]) -> MnistFolder:
    """What `root` holds, which must be all files."""
    found = look_into(root, files)
    if not root.is_dir():
        raise DataError(
            f"{origin} {root}: there is no such folder; expected one with MNIST's four files;"
            f" leave {origin} out to download them once"
        )
    missing = found.missing(files)
    if not found.paths:
        raise DataError(
            f"{origin} {root}: holds no MNIST; expected {', '.join(missing)} (plain or .gz)"
            " in it, in its mnist/ or in its MNIST/raw/;"
            f" run `adamantine data mnist --data-dir {root}` to fetch them"
        )
    if missing:
        raise DataError(
            f"{origin} {root}: {found.folder} lacks {', '.join(missing)} (plain or .gz);"
            f" run `adamantine data mnist --data-dir {root}` to fetch what is missing"
        )
    return found


def check_content(file: MnistFile, content: bytes, path: Path) -> None:
    """Raise a DataError unless the decompressed `content` of `path` is the published one."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DataError(
            f"{path}: is not MNIST's {file.name}: SHA-256 of its content is {digest[:16]}…,"
            f" expected {file.sha256[:16]}…"
        )


def verify_mnist(
    data_dir: Path | None = None, files: Sequence[MnistFile] = FILES
) -> list[FileCheck]:
    """Check the digests of the files that training would read; downloads nothing.

    Raises
    ------
    DataError
        If there are no files to verify; see :func:`find_mnist`.
    """
    found = find_mnist(data_dir, files)
    if found is None:
        raise DataError(
            f"no MNIST in {cache_folder()}, and neither --data-dir nor ${VARIABLE} names a folder"
            " with it; run `adamantine data mnist` to download it"
        )
    return [verify_file(file, found) for file in files]


def verify_file(file: MnistFile, found: MnistFolder) -> FileCheck:
    """Verify one file of those found."""
    path = found.paths[file.name]
    size = 0
    try:
        content = read_content(path)
        size = len(content)
        check_content(file, content, path)
    except DataError as error:
        return FileCheck(file.name, str(path), size, ok=False, problem=f"{error}; {found.remedy}")
    return FileCheck(file.name, str(path), size, ok=True)
