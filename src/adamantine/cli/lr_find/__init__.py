"""``adamantine lr-find``.

- ``command``: its options
- ``run``: what it does
- ``output``: a bar, and what was found
"""
