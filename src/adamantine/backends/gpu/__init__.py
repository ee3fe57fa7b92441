"""The rules on accelerators, by Triton: one launch for all tensors of a rule.

- ``device_scalars``: the scalars of a step from counters that the host never reads
- ``kernel``: what runs there
"""
