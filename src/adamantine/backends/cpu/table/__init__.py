"""Dense tensors that one kernel updates together.

- ``table``: which tensors, cut into chunks, with which scalars
- ``reduction``: a pass that only reads, and leaves a number for each chunk
- ``norms``: the sum of squares of all gradients
- ``share_count``: counts over whole tensors, for rules that need them before they begin
"""
