"""Workloads of text, which is Python's own sources.

- ``sources``: the text
- ``chars``: ``chars-rnn`` and ``chars-transformer``
- ``words``: ``words-embedding``, with sparse gradients, and ``words-dense``, with dense ones
- ``transformer``: of any size
"""
