"""What a study measured and what follows from it: all that its report shows.

``study.json`` holds one :class:`StudyRecord`. Everything in it but what is called seconds, the
machine and the date is the same, bit for bit, whenever the same study is run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from adamantine.records.fields import Record
from adamantine.records.run import ParameterRecord

Quantity = Literal["metric", "epochs_to_target", "lr_width"]
"""What two contestants are compared by; see :class:`Difference`."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; NaN where there are too few numbers for one."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Divergence:
    """Where a run's loss stopped being finite; ``step`` counts from 1 over all epochs."""

    step: int
    loss: float


@dataclass(frozen=True)
class Look:
    """One evaluation of a run while it trains.

    Parameters
    ----------
    step
        Steps taken so far.
    epoch
        The same in epochs, a fraction between their ends.
    seconds
        Spent training so far, without evaluations.
    train_loss
        Mean of the batches' losses since the previous evaluation.
    validation_loss, validation_metric
        Means over the validation examples.
    """

    step: int
    epoch: float
    seconds: float
    train_loss: float
    validation_loss: float
    validation_metric: float


@dataclass(frozen=True)
class TrialRun:
    """One training of a study.

    Parameters
    ----------
    contestant
        Its name.
    purpose
        ``"tune"`` reads only validation data; ``"final"`` also reads the test set, once.
    settings
        The optimizer's, as given to its constructor; all others are at their defaults.
    seed
        Of the initial weights, the order of the data and everything else that is random.
    looks
        In order.
    steps
        Taken in all.
    seconds
        Spent training.
    parameters, state_bytes
        Elements of the model; bytes of all tensors the optimizer holds after the last step.
    test_loss, test_metric
        Over the test examples after the last step; None for ``"tune"`` and if it diverged.
    diverged
        Where it diverged, if it did.
    training
        Settings of the loop that differ from the study's: ``batch_size``, ``schedule``.
    pruned
        Whether it was stopped early because others were better.
    failed
        The exception that ended it, if that was not divergence and failed runs are skipped; it is
        then judged as a run that diverged.
    stats
        For each look, what the step before it did to each parameter, by name; empty unless the
        study has trackers, and in the study's own record.
    """

    contestant: str
    purpose: Literal["tune", "final"]
    settings: Mapping[str, Any]
    seed: int
    looks: tuple[Look, ...]
    steps: int
    seconds: float
    parameters: int
    state_bytes: int
    test_loss: float | None = None
    test_metric: float | None = None
    diverged: Divergence | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    pruned: bool = False
    failed: str | None = None
    stats: tuple[Mapping[str, ParameterRecord], ...] = ()


@dataclass(frozen=True)
class Trial:
    """A setting that was tried in tuning.

    Parameters
    ----------
    settings
        As in :class:`TrialRun`.
    lr
        Its learning rate.
    scores
        Its scores, one per tuning seed; None where the run diverged.
    score
        Their mean; None if any diverged.
    validation_loss
        Mean over the tuning seeds, which breaks ties between scores; None if any diverged.
    """

    settings: Mapping[str, Any]
    lr: float
    scores: tuple[float | None, ...]
    score: float | None
    validation_loss: float | None = None


@dataclass(frozen=True)
class Survival:
    """When final runs reached the target: a Kaplan-Meier estimate.

    Parameters
    ----------
    reached, runs
        How many did, of how many.
    mean
        Restricted mean: runs that never reached it count with the whole budget; in seconds, every
        run counts with at most the time of the study's fastest final run.
    median, low, high
        Of the Kaplan-Meier curve, by its 95 % band; None where the curve or the band does not
        fall to one half within the budget.
    times, share, share_low, share_high
        The curve: at each time, the share of runs that have reached the target by then.
    """

    reached: int
    runs: int
    mean: Interval
    median: float | None
    low: float | None
    high: float | None
    times: tuple[float, ...]
    share: tuple[float, ...]
    share_low: tuple[float, ...]
    share_high: tuple[float, ...]


@dataclass(frozen=True)
class Width:
    """How many decades of learning rates are within the tolerance of the best one.

    ``open_below`` and ``open_above`` say that the rates tried end inside this range, so that the
    width is a lower bound. ``low`` and ``high`` are the learning rates at its ends.
    """

    decades: Interval
    low: float
    high: float
    open_below: bool
    open_above: bool


@dataclass(frozen=True)
class Contestant:
    """What a study found about one contestant.

    Parameters
    ----------
    name
        As reports print it; unique in the study.
    spec
        As the user typed it.
    optimizer
        The class: ``adamantine.Adam``, ``torch.optim.Adam``, ``my_module.Mine``.
    settings
        The chosen ones; empty if every trial diverged.
    trials
        In the order they were planned.
    metric, loss
        Of the test set, mean over the final runs that finished; None if none did.
    epochs_to_target, steps_to_target, seconds_to_target
        None if there are no final runs.
    width
        None if no trial finished.
    seconds_per_step
        Median over all its runs.
    state_bytes, parameters
        Of one final run; 0 if there are none.
    diverged
        How many final runs did.
    on_edge
        ``"below"`` or ``"above"`` if the chosen learning rate is the smallest or the largest
        tried, so that a better one may lie beyond it; otherwise None.
    """

    name: str
    spec: str
    optimizer: str
    settings: Mapping[str, Any]
    trials: tuple[Trial, ...]
    metric: Interval | None
    loss: Interval | None
    epochs_to_target: Survival | None
    steps_to_target: Survival | None
    seconds_to_target: Survival | None
    width: Width | None
    seconds_per_step: float
    state_bytes: int
    parameters: int
    diverged: int
    on_edge: Literal["below", "above"] | None = None


@dataclass(frozen=True)
class Difference:
    """Two contestants compared on the same seeds.

    Parameters
    ----------
    first, second
        Names.
    quantity
        ``"metric"``, ``"epochs_to_target"`` (restricted means) or ``"lr_width"`` (decades).
    difference
        First minus second, with an interval that covers zero exactly if the Holm-corrected test
        finds no difference. None if it cannot be tested; `reason` says why. For ``"lr_width"``, it
        is the mean over the widths of the single tuning seeds, not the difference of the widths in
        :class:`Width`, which are those of the mean scores.
    p, p_holm
        The p-value, and the p-value corrected over all pairs compared by `quantity`.
    better
        The name of the better one if a difference is shown, else None.
    detectable
        The smallest true difference that this number of seeds would show in 80 of 100 studies.
    seeds_needed
        How many seeds would show a difference as large as the observed one, in 80 of 100
        studies; None if a difference is shown, if there is none to show, or if no number up to a
        million is enough.
    reason
        Why it was not tested; empty if it was.
    """

    first: str
    second: str
    quantity: Quantity
    difference: Interval | None
    p: float | None
    p_holm: float | None
    better: str | None
    detectable: float | None
    seeds_needed: int | None
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict and what it is about."""

    about: Literal["decision", "speed", "final", "robustness", "cost", "caution"]
    sentence: str


@dataclass(frozen=True)
class Decision:
    """What a study says to use; the first sentence of its verdict says why.

    Parameters
    ----------
    contestant
        A name; empty if there is nothing to recommend.
    tied
        The names of all that are not shown to be worse than another; among them it is the cheapest.
    python
        The line that builds it.
    shortfall
        How much worse than the truly best contestant it is at most, by the final metric, with 95 %
        confidence; None if nothing was tested.
    """

    contestant: str = ""
    tied: tuple[str, ...] = ()
    python: str = ""
    shortfall: float | None = None


@dataclass(frozen=True)
class Claim:
    """A common claim, and whether this study supports it."""

    claim: str
    holds: Literal["yes", "no", "not shown"]
    evidence: str


@dataclass(frozen=True)
class StudyRecord(Record):
    """A whole study.

    Parameters
    ----------
    plan
        Everything that determines it: ``workload``, ``contestants`` (specs), ``seeds``,
        ``tuning_seeds``, ``budget``, ``epochs``, ``batch_size``, ``schedule``, ``space``,
        ``tune_for``, ``target``, ``tolerance``, ``seed``, ``looks`` …
    metric, direction
        Name of the workload's metric, ``"max"`` or ``"min"``.
    target
        The validation metric that times are measured to.
    target_source
        ``"given"``, or ``"worst"`` if it is the worst contestant's best validation score.
    verdict
        Its sentences, in reading order; the first says what to use.
    command
        The command line that repeats it.
    decision
        What the first sentence says, for programs.
    """

    NAME: ClassVar[str] = "study"

    plan: Mapping[str, Any]
    metric: str
    direction: Literal["max", "min"]
    target: float
    target_source: Literal["given", "worst"]
    contestants: tuple[Contestant, ...]
    differences: tuple[Difference, ...]
    verdict: tuple[Finding, ...]
    claims: tuple[Claim, ...]
    runs: tuple[TrialRun, ...]
    versions: Mapping[str, Any]
    machine: Mapping[str, Any]
    command: str = ""
    started: str = ""
    wall_seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    decision: Decision = Decision()
