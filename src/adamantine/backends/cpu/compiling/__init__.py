"""How Numba compiles, and what it has to be taught.

- ``decorators``: options, and functions that are kept on disk
- ``compile_lock``: of several processes that need a kernel at once, one compiles it
- ``elements``: the dtypes, and how an element of each is read and written
- ``memory``: addresses as arrays
- ``native``: C functions by address, and words that several threads share
"""
