"""``adamantine tune``.

- ``command``: its options
- ``run``: what it does
- ``output``: progress, best settings and verdict
- ``report``: the page and pictures it leaves
"""
