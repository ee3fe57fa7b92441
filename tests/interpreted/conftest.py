"""Kernels for GPUs, run on the CPU by Triton's interpreter.

Triton decides as it is imported whether it compiles or interprets, so these tests are a pytest run
of their own, and part of no other one::

    TRITON_INTERPRET=1 pytest tests/interpreted

``make tests`` and ``make test-rest`` start it. Tensors lie in main memory then, and a kernel's
programs run one after the other, on NumPy's arrays. What the compiler makes of the kernels is
tested in ``tests/backends/gpu``.
"""

import os

import pytest

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*"]


@pytest.fixture(autouse=True)
def _no_warnings_of_numpy(monkeypatch: pytest.MonkeyPatch):
    """A GPU says nothing of infinities and NaN."""
    np = pytest.importorskip("numpy")
    with np.errstate(all="ignore"):
        yield
