"""What runs the rules: ``reference`` and ``lists`` (torch), ``cpu`` (Numba), ``gpu`` (Triton).

- ``formats``: what the tensors of an update are kept in
- ``dlpack``: what C functions call dtypes and devices
- ``layout``: how tensors lie in memory; ``huge_pages``: for large ones
- ``modes``: who has to see every operation, so that torch has to run it
- ``links``: the ways between an accelerator's memory and main memory
- ``compiling``: which compilers are there, and a word while they work
- ``shards``: tensors of which each process holds a part (``DTensor``)
- ``step_scalars``: what is the same for all elements of a tensor in a step
- ``codes``: the codecs, by torch
- ``missed_steps``: what rows without a gradient have missed
- ``reference``: a rule on whole tensors, by torch; ``rows``: on some of their rows
- ``lists``: a rule on many tensors at once, by torch
- ``cpu``: kernels compiled for main memory; ``gpu``: for accelerators
"""

from typing import Literal, get_args

BackendName = Literal["auto", "gpu", "lists", "cpu", "reference"]
BACKENDS: tuple[str, ...] = get_args(BackendName)
