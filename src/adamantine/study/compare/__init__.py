"""Comparisons of optimizers on equal budgets.

- ``plan``: what is asked for
- ``compare``: the command's function
- ``progress``: which runs come next, for each contestant
- ``search_strategy``: which settings are tried next
- ``subject``: what sentences are made of
- ``analysis``: everything that is computed from the runs
- ``decision``: what to use, the verdict's first sentence
- ``verdict``, ``claims``, ``cautions``: the sentences
- ``result``: what the caller gets
"""
