"""The maths, one file an algorithm; imports nothing but the floor below, not even torch.

- ``rule``, ``hyperparameters``, ``ops``: what a rule is, its settings, and the functions it may use
- ``sgd``, ``adam`` and all others: the algorithms
- ``weight_decay``, ``cautious``: what all decoupled decays share, and what goes around an update
- ``paired``, ``compensated``, ``master``: around a rule, for parameters kept in two tensors
- ``arrangement``: how loops call rules with numbers for rows and columns
- ``lazy``, ``catch_up``: steps of some rows, and those that rows have missed
"""

from adamantine.rules.rule import (
    Factor,
    Family,
    Rule,
    Settings,
    Shape,
    Sums,
    bind,
    per_column,
    per_row,
)

__all__ = ["Factor", "Family", "Rule", "Settings", "Shape", "Sums", "bind", "per_column", "per_row"]
