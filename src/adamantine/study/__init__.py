"""Studies: many runs by plan, and what follows from them with honest statistics.

From the ground up: ``settings`` and ``statistics`` need nothing of the others, ``runs`` trains,
and ``compare``, ``tune`` and ``lr_find`` do what the commands of these names ask for. ``trace``
follows optimizers over a surface.
"""

from adamantine.study.compare.compare import Listener, compare
from adamantine.study.compare.plan import Plan, TuneFor
from adamantine.study.compare.result import Study
from adamantine.study.tune.listener import TuneListener
from adamantine.study.tune.plan import TunePlan
from adamantine.study.tune.result import TuneResult
from adamantine.study.tune.tune import tune

Found = TuneResult
"""Its earlier name."""

__all__ = [
    "Found",
    "Listener",
    "Plan",
    "Study",
    "TuneFor",
    "TuneListener",
    "TunePlan",
    "TuneResult",
    "compare",
    "tune",
]
