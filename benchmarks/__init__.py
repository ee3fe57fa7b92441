"""Where the README's figures come from: ``python -m benchmarks``.

=============  =======================================================================
``step``       one optimizer step, against ``torch.optim``
``bandwidth``  every optimizer's step, against what memory can do
``program``    a whole training program, against the tutorial's
``startup``    what a process pays before its second step
``formats``    which grid 8-bit and 4-bit states should lie on
=============  =======================================================================

Each runs what it compares in turn, so that a slow minute of the machine hits all alike, and
keeps every sample in ``results/``. Tables are made from those files alone. Nothing is asserted
about time.
"""
