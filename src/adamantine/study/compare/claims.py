"""Three sentences that people say of Adam, and whether a study bears them out.

They are in the first tutorials that one reads. Each is looked at where the study has the
contestants for it.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from adamantine.records import Claim, Contestant, Difference
from adamantine.records.study import Quantity
from adamantine.report.curves import format_metric
from adamantine.study.compare.subject import Subject
from adamantine.study.statistics.wording import DECADES, EPOCHS, Scale, flipped, lr_text, scale_of

FASTER = "Adam usually converges faster"
ROBUST = "Adam is less sensitive to the initial learning rate"
SUBOPTIMAL = "Adam may converge to suboptimal solutions compared to SGD + momentum"


def claims(study: Subject) -> tuple[Claim, ...]:
    """Those that the study can say something of, for the first contestant of each kind.

    "Faster" is epochs to the target, against SGD without momentum. "Less sensitive" is a wider
    interval of learning rates, against the same, or against SGD with momentum where that is the
    only one. "Suboptimal" is that SGD with momentum has the better final metric.
    """
    adam, sgd, momentum = (_first(study.contestants, kind) for kind in (_adam, _sgd, _momentum))
    asked: tuple[tuple[str, str | None, Quantity, bool], ...] = (
        (FASTER, sgd, "epochs_to_target", True),
        (ROBUST, sgd or momentum, "lr_width", True),
        (SUBOPTIMAL, momentum, "metric", False),
    )
    return tuple(
        _claim(study, text, pair, adam, other, adam_is_better)
        for text, other, quantity, adam_is_better in asked
        if adam and other
        for pair in study.differences
        if pair.quantity == quantity and {pair.first, pair.second} == {adam, other}
    )


def _claim(
    study: Subject, text: str, pair: Difference, adam: str, other: str, adam_is_better: bool
) -> Claim:
    holds: Literal["yes", "no", "not shown"] = "not shown"
    if pair.better is not None:
        holds = "yes" if (pair.better == adam) == adam_is_better else "no"
    return Claim(text, holds, _evidence(study, pair, adam, other))


def _evidence(study: Subject, pair: Difference, adam: str, other: str) -> str:
    what, scale = _measure(study, pair.quantity)
    parts = [
        f"{contestant.name} {value}"
        for name in (adam, other)
        for contestant in study.contestants
        if contestant.name == name and (value := _value(contestant, pair.quantity, scale))
    ]
    text = f"{what}: {', '.join(parts)}" if parts else what
    if pair.difference is None:
        return f"{text}; not compared: {pair.reason}"
    difference = pair.difference if pair.first == adam else flipped(pair.difference)
    text += f"; difference {scale.difference(difference)}"
    return f"{text}, p = {pair.p_holm:.2g} after Holm's correction"


def _measure(study: Subject, quantity: Quantity) -> tuple[str, Scale]:
    if quantity == "metric":
        return f"final {study.metric}", scale_of(study.metric)
    if quantity == "lr_width":
        return f"decades of learning rates within {study.tolerance * 100:g}% of the best", DECADES
    return f"epochs to {format_metric(study.metric, study.target)}", EPOCHS


def _value(contestant: Contestant, quantity: Quantity, scale: Scale) -> str:
    if quantity == "metric":
        return scale.value(contestant.metric) if contestant.metric else ""
    if quantity == "epochs_to_target":
        times = contestant.epochs_to_target
        return scale.value(times.mean) if times else ""
    width = contestant.width
    if width is None:
        return ""
    least = "at least " if width.open_below or width.open_above else ""
    range_ = f"{lr_text(width.low)} to {lr_text(width.high)}"
    return f"{least}{scale.value(width.decades)} ({range_})"


def _first(contestants: Sequence[Contestant], kind: Callable[[Contestant], bool]) -> str | None:
    return next((contestant.name for contestant in contestants if kind(contestant)), None)


def _adam(contestant: Contestant) -> bool:
    return _is(contestant, "Adam")


def _sgd(contestant: Contestant) -> bool:
    return _is(contestant, "SGD") and not _has_momentum(contestant)


def _momentum(contestant: Contestant) -> bool:
    return _is(contestant, "SGD") and _has_momentum(contestant)


def _is(contestant: Contestant, name: str) -> bool:
    """Ours or torch's: a class of the user's may be called so and be something else."""
    return contestant.optimizer in (f"adamantine.{name}", f"torch.optim.{name}")


def _has_momentum(contestant: Contestant) -> bool:
    """By the chosen settings, or the first ones where none could be chosen."""
    settings = contestant.settings or next((trial.settings for trial in contestant.trials), {})
    return bool(settings.get("momentum", 0) > 0)
