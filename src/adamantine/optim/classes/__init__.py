"""The optimizers by name, a file for each family: ``AdamW`` is in ``adam``.

A class has torch's signature, its defaults, and the docstring that users read.
"""
