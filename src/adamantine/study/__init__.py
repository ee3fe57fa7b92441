"""Studies: many runs by plan, and what follows from them with honest statistics."""

from adamantine.study.compare import Listener, compare
from adamantine.study.found import Found
from adamantine.study.plan import Plan, TuneFor
from adamantine.study.result import Study
from adamantine.study.tune import TuneListener, tune
from adamantine.study.tune_plan import TunePlan

__all__ = [
    "Found",
    "Listener",
    "Plan",
    "Study",
    "TuneFor",
    "TuneListener",
    "TunePlan",
    "compare",
    "tune",
]
