"""The CPU backend: rules compiled by Numba, one fused pass over memory for all tensors.

From the ground up:

- ``compiling``: how Numba compiles, and what it has to be taught: memory, C functions, dtypes
- ``threads``: where a kernel runs: alone, on torch's threads, or on our own
- ``kernel``: the loop that runs a rule over many tensors, and the arguments it reads
- ``probe``: the addresses and layouts of live tensors, read before every step
- ``table``: dense tensors that one kernel updates, and passes that only read them
- ``rows``: the same for tables whose gradients are sparse
"""
