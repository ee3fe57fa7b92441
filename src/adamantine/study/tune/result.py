"""A search's record in a notebook: shown as a table, and given as data frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adamantine.records import TuneRecord
from adamantine.records.fields import to_json
from adamantine.report.frame import table_html, text
from adamantine.report.tune import tables

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TuneResult(TuneRecord):
    """What :func:`~adamantine.study.tune.tune` returns: a record that a notebook can show."""

    def __str__(self) -> str:
        """The verdict, with the line to paste below what to use."""
        first, *rest = (finding.sentence for finding in self.verdict)
        return "\n".join([first, self.best.python, *rest])

    def _repr_html_(self) -> str:
        first, *rest = (f"<p>{text(finding.sentence)}</p>" for finding in self.verdict)
        code = f"<pre><code>{text(self.best.python)}</code></pre>"
        verdict = "".join([first, code, *rest])
        return f"{verdict}{table_html(tables.candidates(self))}"

    def trials_frame(self) -> pd.DataFrame:
        """One row per trial: number, settings, score and outcome.

        Raises
        ------
        ImportError
            pandas is not installed; only the data frames need it.
        """
        import pandas as pd

        return pd.json_normalize(
            [
                {
                    "number": trial.number,
                    "contestant": trial.run.contestant,
                    **to_json(trial.run.settings),
                    **to_json(trial.run.training),
                    "score": trial.score,
                    "outcome": trial.outcome,
                    "epochs": trial.run.looks[-1].epoch if trial.run.looks else 0.0,
                    "seconds": trial.run.seconds,
                }
                for trial in self.trials
            ]
        )
