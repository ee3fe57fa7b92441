"""Rules that look at whole matrices: torch's operations between two updates of elements.

- ``newton_schulz``: the nearest orthogonal matrices, about
- ``rows``: rows whose lengths are the same on average
- ``between``: what is made of matrices; ``eigenbasis``: a basis for an update in between
- ``batch``: the matrices of one shape, and the two updates around what is made of them
- ``stage``: all matrices of a step
"""
