"""A learning rate from short trainings.

- ``lr_find``: the command's function
- ``short_runs``, ``on_cluster``: who trains, here or elsewhere
- ``curve``: what the losses of a sweep say
"""

from adamantine.study.lr_find.lr_find import find_learning_rate

__all__ = ["find_learning_rate"]
