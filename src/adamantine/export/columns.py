"""The tables and what stands in them; ``docs/export.md`` says the same."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A column of a table; any of them may be empty in a row but those that number it."""

    name: str
    kind: type[str | int | float | bool]
    meaning: str


_METRIC = "the workload's metric"

TABLES: Mapping[str, Sequence[Column]] = {
    "runs": (
        Column("run", int, "its number, from 0: first those of the search, as in the record"),
        Column("contestant", str, "its name"),
        Column("purpose", str, "`tune`, or `final`: only these read the test set"),
        Column("trial", int, "number of the trial of `tune`; empty for rechecks and finals"),
        Column("setting", int, "what it was trained with: a number in `settings`"),
        Column("seed", int, "of all its random numbers"),
        Column("status", str, "`finished`, `pruned`, `diverged` or `failed`"),
        Column("steps", int, "steps taken"),
        Column("seconds", float, "spent training"),
        Column("parameters", int, "elements of the model"),
        Column("state_bytes", int, "of the optimizer, after the last step"),
        Column("metric", str, f"name of {_METRIC}"),
        Column("validation_loss", float, "at its last look"),
        Column("validation_metric", float, "at its last look"),
        Column("test_loss", float, "after the last step; empty unless it is a final that ended"),
        Column("test_metric", float, "likewise"),
        Column("diverged_step", int, "the step whose loss was not finite, counted from 1"),
        Column("failed", str, "the exception that ended it"),
    ),
    "looks": (
        Column("run", int, "a number in `runs`"),
        Column("look", int, "its number in the run, from 1"),
        Column("step", int, "steps taken so far"),
        Column("epoch", float, "the same in epochs"),
        Column("seconds", float, "spent training so far"),
        Column("train_loss", float, "mean of the batches' losses since the look before"),
        Column("validation_loss", float, "mean over the validation examples"),
        Column("validation_metric", float, _METRIC),
    ),
    "settings": (
        Column("setting", int, "its number, from 0; one that changes nothing has no rows"),
        Column("contestant", str, "whose it is"),
        Column("chosen", bool, "whether it is the contestant's, or the one that `tune` recommends"),
        Column("of", str, "`optimizer`, or `training` for batch size and schedule"),
        Column("name", str, "such as `lr`"),
        Column("value", str, "as JSON"),
        Column("number", float, "the same where it is a number"),
    ),
    "pairs": (
        Column("first", str, "a contestant; of `tune`, `tuned` or `defaults`"),
        Column("second", str, "another one"),
        Column("quantity", str, "`metric`, `epochs_to_target` or `lr_width`"),
        Column("difference", float, "first minus second; empty where it could not be tested"),
        Column("low", float, "lower end of its 95 % interval"),
        Column("high", float, "upper end"),
        Column("p", float, "the p-value"),
        Column("p_holm", float, "corrected over all pairs compared by the quantity"),
        Column("better", str, "the better one, if a difference is shown"),
        Column("detectable", float, "a difference that 80 of 100 such studies would show"),
        Column("seeds_needed", int, "seeds that would show the one observed"),
        Column("reason", str, "why it could not be tested"),
    ),
}
