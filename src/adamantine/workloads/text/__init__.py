"""Workloads of text, which is Python's own sources.

- ``sources``: the text
- ``chars``: ``chars-rnn`` and ``chars-transformer``
- ``words``: ``words-embedding``, with sparse gradients
- ``transformer``: of any size
"""
