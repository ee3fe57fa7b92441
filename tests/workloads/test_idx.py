import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from adamantine.errors import DataError
from adamantine.workloads.idx import parse_idx, read_content, read_idx
from workloads.fake_mnist import idx_bytes

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx_bytes(IMAGES)

ARRAYS = st_numpy.arrays(
    np.uint8, st_numpy.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9)
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "file"


@given(array=ARRAYS, gz=st.booleans())
def test_what_was_written_is_read(scratch: Path, array: np.ndarray, gz: bool) -> None:
    content = idx_bytes(array)
    scratch.write_bytes(gzip.compress(content, 1) if gz else content)
    read = read_idx(scratch, array.ndim)
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


def read_or_data_error(scratch: Path, content: bytes, ndim: int) -> None:
    """Anything but an array or a DataError fails the test."""
    scratch.write_bytes(content)
    message = None
    try:
        array = read_idx(scratch, ndim)
    except DataError as error:
        message = str(error)
    if message is None:
        assert array.ndim == ndim
        assert array.size > 0
    else:
        assert message.startswith(f"{scratch}: ")
        assert "\n" not in message


@given(content=st.binary(max_size=64), ndim=st.integers(1, 3))
def test_any_bytes_give_an_array_or_a_data_error(scratch: Path, content: bytes, ndim: int) -> None:
    read_or_data_error(scratch, content, ndim)


@given(
    sizes=st.tuples(*[st.sampled_from([0, 1, 2, 28, 2**31, 2**32 - 1])] * 3),
    rest=st.binary(max_size=8),
)
def test_any_sizes_give_an_array_or_a_data_error(
    scratch: Path, sizes: tuple[int, ...], rest: bytes
) -> None:
    read_or_data_error(scratch, struct.pack(">4B3I", 0, 0, 8, 3, *sizes) + rest, 3)


@given(data=st.data(), gz=st.booleans())
def test_a_damaged_file_gives_an_array_or_a_data_error(
    scratch: Path, data: st.DataObject, gz: bool
) -> None:
    content = bytearray(gzip.compress(GOOD, mtime=0) if gz else GOOD)
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    read_or_data_error(scratch, bytes(content[:end]) + data.draw(st.binary(max_size=3)), 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "starts with nothing, expected 00 00 08 03"),
        (b"\x00\x00", "starts with 00 00, expected 00 00 08 03"),
        (b"<!DOCTYPE html>", "starts with 3c 21 44 4f, expected 00 00 08 03"),
        (idx_bytes(IMAGES, type_code=0x0D), "starts with 00 00 0d 03, expected 00 00 08 03"),
        (idx_bytes(IMAGES.reshape(-1)), "starts with 00 00 08 01, expected 00 00 08 03"),
        (GOOD[:9], "cut short after 9 bytes, expected a header of 16"),
        (GOOD[:-1], "cut short: holds 39 bytes, expected 40 for the 2×3×4 elements"),
        (GOOD + b"x", "followed by foreign bytes: holds 41 bytes, expected 40"),
        (idx_bytes(IMAGES[:0]), "announces 0×3×4 elements, expected some"),
    ],
)
def test_each_damage_is_told(content: bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_idx(content, "some/file", 3)
    assert str(caught.value).startswith(f"some/file: {expected}")


@pytest.mark.parametrize("cut", [1, 8, 12, 30])
def test_a_cut_gzip_stream_is_told(scratch: Path, cut: int) -> None:
    scratch.write_bytes(gzip.compress(GOOD)[:-cut])
    with pytest.raises(DataError, match="gzip stream is damaged or cut short"):
        read_content(scratch)


def test_a_gzip_stream_whose_checksum_is_wrong_is_told(scratch: Path) -> None:
    content = bytearray(gzip.compress(GOOD))
    content[-8] ^= 1
    scratch.write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        read_content(scratch)


def test_the_content_tells_gzip_not_the_suffix(tmp_path: Path) -> None:
    unpacked, packed = tmp_path / "unpacked.gz", tmp_path / "packed"
    unpacked.write_bytes(GOOD)
    packed.write_bytes(gzip.compress(GOOD))
    assert read_content(unpacked) == read_content(packed) == GOOD


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: cannot be read \(No such file"):
        read_content(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory"):
        read_content(tmp_path)
