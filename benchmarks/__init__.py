"""Where the figures of README and documentation come from: ``python -m benchmarks``.

=============  =======================================================================
``step``       one optimizer step, against ``torch.optim``
``small``      steps whose time is mostly overhead, against torch and DeepSpeed
``lists``      parameters that no kernel takes
``rivals``     LAMB, Adafactor and others, against other packages'
``matrices``   Muon, against ``torch.optim``
``gpu_host``   what a step on a GPU costs the host
``gpu``        on a GPU, against ``torch.optim`` and a copy
``bandwidth``  every optimizer's step, against what memory can do
``precision``  states of fewer bits, against bitsandbytes, torchao and optax
``sparse``     a large embedding, against ``SparseAdam``
``tables``     many small embeddings, against ``torch.optim``
``extras``     statistics, unscaling, steps inside of backward(): what is off by default
``program``    a whole training program, against the tutorial's
``startup``    what a process pays before its second step
``formats``    which grid 8-bit and 4-bit states should lie on
``accuracy``   what fewer bits of state cost in accuracy: an experiment
``rounding``   training parameters of bfloat16: an experiment
``studies/``   what other pages quote: comparisons, searches for settings and rates
=============  =======================================================================

Each runs what it compares in turn, so that a slow minute of the machine hits all alike, and
keeps every sample in ``results/``. Pages are written from those files alone (``--pages``). Nothing
is asserted about time.
"""
