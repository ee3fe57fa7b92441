"""Rules that look at whole matrices: torch's operations between two updates of elements.

- ``newton_schulz``: the nearest orthogonal matrices, about
- ``batch``: the matrices of one shape, and the two updates around what is made of them
- ``stage``: all matrices of a step
"""
