"""``adamantine train``.

- ``command``: its options
- ``options``: the same as one object, to ``run.json`` and back
- ``config``: those that ``--config best.json`` holds
- ``processes``: those that torchrun started, if it did
- ``run``: what it does
- ``output``: two lines an epoch, and a bar; ``live``: curves
- ``report``: the page of a run
"""
