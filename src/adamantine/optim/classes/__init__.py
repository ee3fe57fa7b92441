"""The optimizers by name, one file each: torch's signature, the defaults, and the docstring."""
