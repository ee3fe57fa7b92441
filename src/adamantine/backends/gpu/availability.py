"""Whether kernels can be compiled for a device."""

from __future__ import annotations

from functools import cache

import torch

from adamantine.backends.compiling import has

LEAST_TRITON = 3, 4
"""That of PyTorch 2.8."""

LEAST_CAPABILITY = 7, 0
"""Of NVIDIA's GPUs: Triton compiles for Volta, and what came after it."""


@cache
def refusal(device: torch.device) -> str | None:
    """Why that cannot be, for a parameter that is there; or None where it can."""
    if not has("triton"):
        return (
            f"on {device}, and Triton, which compiles kernels for it, is not there (pip install "
            "'adamantine[gpu]')"
        )
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < LEAST_TRITON:
        return (
            f"on {device}, and Triton, which compiles kernels for it, is {triton.__version__}, not "
            "3.4 or newer (PyTorch brings that from 2.8 on)"
        )
    if device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        if capability < LEAST_CAPABILITY:
            major, minor = capability
            return f"on {device}, a GPU of compute capability {major}.{minor}, and Triton needs 7.0"
    if device.type == "xpu" and not torch.xpu.get_device_properties(device).has_fp64:
        return f"on {device}, which has no float64, in which a step's numbers are computed"
    return None
