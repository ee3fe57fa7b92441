"""``adamantine list``: ``command`` has its options, ``run`` is what it does."""
