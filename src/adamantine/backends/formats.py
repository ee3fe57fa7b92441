"""What the tensors of an update are kept in."""

from __future__ import annotations

from dataclasses import dataclass

import torch

CODES = torch.uint8

OFFSETS = torch.int8
"""What the bytes of 24-bit masters are (:mod:`adamantine.codecs.bits24`): plain, to a backend."""

PAIRS = {torch.complex64: torch.float32, torch.complex128: torch.float64}
"""What kernels see in a complex tensor: pairs of these. A rule treats the parts separately."""


@dataclass(frozen=True)
class Format:
    """The form of a parameter or of one state in memory.

    Parameters
    ----------
    dtype
        Of the tensor; :data:`CODES` for one byte an element, beside which there is one byte a block
        (:mod:`adamantine.codecs.int8`).
    stochastic
        Whether a bfloat16 is rounded stochastically. Codes always are.
    signed
        Which of the two codes it is.
    """

    dtype: torch.dtype
    stochastic: bool = False
    signed: bool = True

    @property
    def coded(self) -> bool:
        """Whether the tensor holds codes."""
        return self.dtype == CODES

    @property
    def plain(self) -> bool:
        """Whether elements are read as they are, and rounded to nearest."""
        return not (self.coded or self.stochastic)

    def __str__(self) -> str:
        if self.coded:
            return "int8" if self.signed else "uint8"
        return ("stochastic_" if self.stochastic else "") + str(self.dtype).removeprefix("torch.")


def exponents_of(state: str) -> str:
    """The name, in a state dictionary, of the scales that go with the codes of `state`."""
    return f"{state}_exponents"
