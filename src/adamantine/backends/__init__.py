"""What runs the rules: ``reference`` (torch, anything) and ``cpu`` (Numba, dense tensors)."""

from typing import Literal, get_args

BackendName = Literal["auto", "reference", "cpu"]
BACKENDS: tuple[str, ...] = get_args(BackendName)
