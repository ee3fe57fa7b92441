"""What is compared and searched: optimizers by name, and the space of their settings.

- ``contestants``: ``adamw:weight_decay=0.1``, ``torch:Adam``, ``module:Class``
- ``space``: ``lr=1e-4..1e-1``, choices and rounded ranges
- ``literals``: values as they are typed
- ``calls``: lines of Python to paste
"""
