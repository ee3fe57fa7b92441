"""Studies whose figures other pages quote: ``docs/claims.md``, ``paper.md``, ``tune.md`` …

They train for minutes to hours and run only by name. Seeds decide their numbers, whatever else the
machine does meanwhile.

- ``catalogue``: all of them, by name
- ``comparison``: an `adamantine compare`; ``compact``: a record small enough to keep
- ``paper``: costs of training, as Adam's paper has them
- ``lr_find``: the learning rates that `adamantine lr-find` suggests, against the truth
- ``tune_example``: the first search that docs/tune.md shows
- ``samplers``, ``pruning``, ``searches``: what `adamantine tune` finds, and what it costs
- ``equals``: how often equals are called different; ``simulated``: such studies
- ``which``: Adam and what rivals it today, on four tasks
- ``words``: losses of `words-embedding`, epoch by epoch
- ``pool``: processes of one thread each
- ``blocks``: which table stands where
"""
