"""A run by several processes, which torchrun starts: one model, one record, one writer.

- ``alone``: what the loop asks for, and the answers of a process that has no others
- ``launch``: what torchrun says to a process
- ``group``: the same answers by ``torch.distributed``
- ``fsdp``: a model whose parameters are divided among the processes
"""
