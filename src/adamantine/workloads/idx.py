"""The IDX file format: a header, then one array of unsigned bytes in C order.

Two zero bytes, a type code, the number of dimensions, each dimension's size as a
big-endian uint32, then the elements (LeCun, Cortes and Burges, *The MNIST database*).
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamantine.errors import DataError

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


def read_content(path: Path) -> bytes:
    """A file's bytes, decompressed where they are gzip's.

    What the bytes say counts, not the suffix: browsers and mirrors unpack `.gz` files
    and leave the name as it was.

    Raises
    ------
    DataError
        If the file cannot be read or its gzip stream is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged or cut short ({error})") from error


def parse_idx(content: bytes, source: Path | str, ndim: int) -> NDArray[np.uint8]:
    """The array that an IDX file's decompressed content holds, without a copy.

    Parameters
    ----------
    content
        The whole file, header included.
    source
        What errors call it: the file's path.
    ndim
        The number of dimensions it must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8
        Read-only, on the memory of `content`.

    Raises
    ------
    DataError
        If the header is not that of an `ndim`-dimensional IDX file of unsigned bytes with
        at least one element, or the content is shorter or longer than it says.
    """
    magic = bytes((0, 0, UNSIGNED_BYTE, ndim))
    if content[:4] != magic:
        raise DataError(
            f"{source}: starts with {content[:4].hex(' ') or 'nothing'}, expected {magic.hex(' ')}"
            f" (an IDX file of unsigned bytes in {ndim} dimension{'s' * (ndim > 1)})"
        )
    header = 4 + 4 * ndim
    if len(content) < header:
        raise DataError(
            f"{source}: cut short after {len(content)} bytes, expected a header of {header}"
        )
    shape = struct.unpack(f">{ndim}I", content[4:header])
    if 0 in shape:
        raise DataError(f"{source}: announces {'×'.join(map(str, shape))} elements, expected some")
    # In Python's integers: sizes from a damaged header overflow anything fixed.
    size = header + math.prod(shape)
    if len(content) != size:
        state = "cut short" if len(content) < size else "followed by foreign bytes"
        raise DataError(
            f"{source}: {state}: holds {len(content):,} bytes, expected {size:,}"
            f" for the {'×'.join(map(str, shape))} elements its header announces"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """The array in an IDX file, plain or gzipped; raises as :func:`parse_idx` does."""
    return parse_idx(read_content(path), path, ndim)
