"""What rows of an embedding missed while no gradient came, done in one go.

- ``catch_up``: what a rule's missed steps add up to, as functions
- ``sgd``, ``adagrad``, ``adam``: in closed form, for these rules
- ``by_rule``: which rule has which
"""
