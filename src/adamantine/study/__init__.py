"""Studies: many runs by plan, and what follows from them with honest statistics."""

from adamantine.study.compare import Listener, compare
from adamantine.study.plan import Plan, TuneFor
from adamantine.study.result import Study

__all__ = ["Listener", "Plan", "Study", "TuneFor", "compare"]
