"""A study's record in a notebook: shown as a table, and given as data frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adamantine.records import StudyRecord
from adamantine.records.fields import to_json
from adamantine.report.frame import table_html, text
from adamantine.report.study import tables

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Study(StudyRecord):
    """What :func:`~adamantine.study.compare.compare` returns: a record that a notebook can show."""

    def __str__(self) -> str:
        """The verdict, with the line to paste below what to use."""
        first, *rest = (finding.sentence for finding in self.verdict)
        return "\n".join(filter(None, [first, self.decision.python, *rest]))

    def _repr_html_(self) -> str:
        first, *rest = (f"<p>{text(finding.sentence)}</p>" for finding in self.verdict)
        code = f"<pre><code>{text(self.decision.python)}</code></pre>"
        verdict = "".join([first, code, *rest])
        return f"{verdict}{table_html(tables.results(self))}{table_html(tables.costs(self))}"

    def runs_frame(self) -> pd.DataFrame:
        """One row per run: contestant, purpose, seed, settings, results and costs.

        Raises
        ------
        ImportError
            pandas is not installed; only the data frames need it.
        """
        import pandas as pd

        return pd.json_normalize([{**to_json(run), "looks": len(run.looks)} for run in self.runs])

    def looks_frame(self) -> pd.DataFrame:
        """One row per evaluation: contestant, purpose, seed, and the values of the curves.

        Raises
        ------
        ImportError
            pandas is not installed; only the data frames need it.
        """
        import pandas as pd

        return pd.DataFrame(
            {"contestant": run.contestant, "purpose": run.purpose, "seed": run.seed, **vars(look)}
            for run in self.runs
            for look in run.looks
        )
