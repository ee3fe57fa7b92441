"""A process of a search, which the tests kill. Arguments: the folder, and a storage or nothing."""

import sys
import time
from pathlib import Path

import cheap
from torch import nn

from adamantine.study import TunePlan, tune
from adamantine.study.tune import search
from adamantine.study.tune.trials import heartbeat, storage

PLAN = TunePlan(("adam",), trials=40, epochs=2, batch_size=32, seeds=2, sampler="random")


class Slow(nn.Linear):
    """Takes so long that a kill comes in the middle of a trial."""

    pause = 0.01

    def forward(self, inputs):
        if self.training:
            time.sleep(self.pause)
        return super().forward(inputs)


workload = cheap.cheap(model=lambda: Slow(cheap.FEATURES, cheap.CLASSES))

if __name__ == "__main__":
    # Tests are in a hurry.
    search.SECONDS_BETWEEN_BEATS = 0.3
    storage.HEARTBEAT, storage.GRACE, heartbeat.NAMELESS = 1, 4, 8
    folder, *url = sys.argv[1:]
    found = tune(workload, PLAN, out=Path(folder), storage=url[0] if url else None)
    print(len(found.trials))
