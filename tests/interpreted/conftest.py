"""Kernels for GPUs, run on the CPU by Triton's interpreter; or on a GPU, where there is one.

Triton decides as it is imported whether it compiles or interprets, so these tests are a pytest run
of their own, and part of no other one::

    TRITON_INTERPRET=1 pytest tests/interpreted
    pytest -m gpu tests/interpreted  # on a GPU; torch, pytest and Hypothesis are all it needs

``make tests`` and ``make test-rest`` start it. Tensors lie in main memory then, and a kernel's
programs run one after the other, on NumPy's arrays. What the compiler makes of the kernels is
tested in ``tests/backends/gpu``.
"""

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
OF_KERNELS_ALONE = ["test_operations.py", "test_passes.py", "test_update_kernel.py"]
"""Their arrays are made for the interpreter; on a GPU, optimizers are tested."""

if not INTERPRETED:
    collect_ignore_glob = OF_KERNELS_ALONE if torch.cuda.is_available() else ["test_*"]
else:
    collect_ignore = ["test_on_a_gpu.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not INTERPRETED:
        for item in items:
            if "tests/interpreted" in item.path.as_posix():
                item.add_marker("gpu")


@pytest.fixture(autouse=True)
def _no_warnings_of_numpy(monkeypatch: pytest.MonkeyPatch):
    """A GPU says nothing of infinities and NaN."""
    np = pytest.importorskip("numpy")
    with np.errstate(all="ignore"):
        yield
