"""A run of a study: what decides its bits, who does it, and where it is kept.

- ``conditions``: what all runs of a study have in common
- ``training``: one run, from seed to test score
- ``tasks``: a run that is still to be done
- ``gpus``: one for each worker
- ``in_process``, ``workers``: who does them, here or in processes of their own
- ``ray_pool``, ``ray_workers``: or on a cluster
- ``journal``: the runs that are done; ``tracking``: what trackers are told of them
"""
