"""Where a kernel runs.

- ``parallel``: alone, on torch's threads, or on our own
- ``team``: torch's threads
- ``pool``: our own
- ``pieces``: what several threads take from one queue
"""
