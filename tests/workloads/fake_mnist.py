"""A little MNIST of random pixels, with its own digests and damages."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np

from adamantine.workloads.mnist.files import FILES, MnistFile

TRAIN, TEST = 12, 5
NAMES = [file.name for file in FILES]


def idx_bytes(array: np.ndarray, type_code: int = 0x08) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, type_code, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def real_mnist() -> Path | None:
    """The folder of the published files, where this machine has them."""
    here = Path(__file__).resolve().parents[2]
    for folder in (os.environ.get("ADAMANTINE_DATA"), here.parent / "shared" / "data"):
        if folder and list(Path(folder).rglob("train-images-idx3-ubyte*")):
            return Path(folder)
    return None


class FakeMnist:
    """Contents by file name, and the table that describes them as ``FILES`` does MNIST."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.arrays = {
            NAMES[0]: rng.integers(0, 256, (TRAIN, 28, 28), dtype=np.uint8),
            NAMES[1]: (np.arange(TRAIN) % 10).astype(np.uint8),
            NAMES[2]: rng.integers(0, 256, (TEST, 28, 28), dtype=np.uint8),
            NAMES[3]: (np.arange(TEST) % 10).astype(np.uint8),
        }
        self.contents = {name: idx_bytes(array) for name, array in self.arrays.items()}
        self.gz = {name: gzip.compress(self.contents[name]) for name in NAMES}
        self.files = tuple(
            MnistFile(
                name,
                hashlib.sha256(self.contents[name]).hexdigest(),
                hashlib.sha256(self.gz[name]).hexdigest(),
            )
            for name in NAMES
        )

    def write(self, folder: Path, *, gz: bool = False, names: list[str] = NAMES) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if gz:
                (folder / f"{name}.gz").write_bytes(self.gz[name])
            else:
                (folder / name).write_bytes(self.contents[name])
        return folder
