"""Dense tensors that one kernel updates together.

- ``table``: which tensors, cut into chunks, with which scalars
- ``reduction``: a pass that only reads, and leaves some numbers for each chunk
- ``norms``: the sum of squares of all gradients
- ``factors``: numbers for rows and columns, for rules that need them before they begin
- ``sums``: sums over whole tensors, for rules that need them before they begin
"""
