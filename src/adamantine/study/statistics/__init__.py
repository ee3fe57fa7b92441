"""Statistics of finished runs, from their records alone.

- ``trials``: runs of one setting together, and which setting is chosen
- ``intervals``: means with their interval
- ``pairs``: paired differences, Holm's correction
- ``best``: how much worse than the best one a contestant may be
- ``survival``: time to a target, with runs that never arrive
- ``robustness``: how wide the range of good learning rates is
- ``groups``: who cannot be told from whom
- ``wording``: numbers and lists in sentences
"""
