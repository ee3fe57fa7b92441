"""``adamantine compare``.

- ``command``: its options
- ``run``: what it does
- ``output``: progress, table and verdict
- ``report``: the page and pictures it leaves
"""
