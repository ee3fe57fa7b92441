"""Rows of tables whose gradients are sparse.

- ``row_table``: which tables, and what a step does with them
- ``row_probe``: the addresses of what sparse gradients consist of
- ``row_arguments``: the words that the loops read
- ``kernels``: the loops: sort indices, catch up, update
"""
