"""MNIST: 70,000 handwritten digits, 28×28 pixels.

- ``files``: the four files, and where they may lie
- ``download``: where they come from
- ``workloads``: ``mnist`` and ``mnist-…``
- ``finetune``: ``mnist-finetune``, which begins with weights that Adam has trained
"""
