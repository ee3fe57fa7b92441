"""The rules on accelerators, by Triton: one launch for all tensors of a rule.

- ``availability``: whether kernels can be compiled for a device
- ``streams``: what a step asks of a device: pinned memory, the current stream, graphs
- ``chunks``: how tensors are cut into pieces of work
- ``device_scalars``: the scalars of a step from counters that the host never reads
- ``kernel``: what runs there
- ``factors``: numbers for rows and columns, for rules that need them before they begin
- ``step_words``: arrays that the host sends in one copy, where they have changed
- ``arguments``: what kernels are told in a step: where everything is, and its scalars
- ``table``: many tensors that one rule updates
"""
