"""Who updates a parameter, and with which numbers.

- ``member``: one parameter with all that its update needs
- ``scalars``: the numbers of an update that are the same for all elements
- ``by_lists``, ``by_reference``: in lists by torch, or each alone; ``by_torch``: both
- ``choice``: who gets a kernel, and who is in a list
- ``tables``: those that kernels update
- ``row_batch``, ``rows``: sparse gradients
"""
