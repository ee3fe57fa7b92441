"""Each trial once, whoever dies.

- ``storage``: where trials are kept
- ``slots``: trials as numbered slots, each of which is filled once
- ``heartbeat``: which processes are still there; the trials of others go back to the queue
"""
