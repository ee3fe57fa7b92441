"""By how much gradients are scaled before an update, and whether it happens at all.

- ``gradients``: all gradients of a step together: their norm, and how they are zeroed
- ``device_decision``: decisions that a device makes, and that the host never waits for
- ``gradient_scaling``: what is decided before each update
"""
