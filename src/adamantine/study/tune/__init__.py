"""Searches for one optimizer's settings, in Optuna's storage.

- ``plan``: what is asked for
- ``tune``: the command's function; ``listener``: who is told meanwhile
- ``tuning``: the search from request to record
- ``search``: trials by Optuna; ``suggest``, ``samplers``: which setting comes next
- ``pruning``: when a trial is stopped
- ``trials``: where they are kept, and that each is done once, whoever dies
- ``finals``: the best few again, on fresh seeds; ``best``: the recommended setting, to paste
- ``importance``: which setting mattered
- ``verdict``: the sentences; ``result``: what the caller gets
"""
