"""What runs and studies produced, and its JSON; standard library only, so that any tool reads it.

- ``run``: a training; ``study``: a comparison; ``tune``, ``lr_find``: searches; ``trace``: paths
- ``fields``, ``reading``: dataclasses to JSON and back
- ``mean``: of losses that float64 may not hold

A number that is not finite is written as ``null`` and read back as NaN: JSON has no other
word for it, and a file that only Python can parse is of no use to ``jq`` or a browser.
"""

from adamantine.records.reading import finite, parse
from adamantine.records.run import (
    MEASURED,
    RESERVED,
    STATUSES,
    EpochRecord,
    ParameterRecord,
    RunRecord,
    Status,
    check_metric_name,
    parse_lines,
    to_line,
)
from adamantine.records.study import (
    Claim,
    Contestant,
    Decision,
    Difference,
    Divergence,
    Finding,
    Interval,
    Look,
    StudyRecord,
    Survival,
    Trial,
    TrialRun,
    Width,
)
from adamantine.records.tune import Best, Candidate, SearchTrial, TuneRecord

__all__ = [
    "MEASURED",
    "RESERVED",
    "STATUSES",
    "Best",
    "Candidate",
    "Claim",
    "Contestant",
    "Decision",
    "Difference",
    "Divergence",
    "EpochRecord",
    "Finding",
    "Interval",
    "Look",
    "ParameterRecord",
    "RunRecord",
    "SearchTrial",
    "Status",
    "StudyRecord",
    "Survival",
    "Trial",
    "TrialRun",
    "TuneRecord",
    "Width",
    "check_metric_name",
    "finite",
    "parse",
    "parse_lines",
    "to_line",
]
