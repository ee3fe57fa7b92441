"""What ``adamantine train`` was asked for, and how a resumed run gets it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adamantine.cli.options.optimizers import COMMON, FLAGS
from adamantine.errors import CheckpointError
from adamantine.train import TrainConfig

Number = int | float
TYPES: dict[str, Any] = {
    "workload": str, "optimizer": str, "lr": Number | None, "betas": list | None,
    "eps": Number | None, "weight_decay": Number | None, "momentum": Number | None,
    "sparse": str | None, "state_dtype": str | None, "max_grad_norm": Number | None, "epochs": int,
    "batch_size": int, "schedule": str, "seed": int, "threads": int | None, "device": str,
    "data_dir": str | None, "stats": bool, "more": dict,
}  # fmt: skip

STATS_EVERY = 10
"""Steps of which ``--stats`` measures one."""


@dataclass(frozen=True)
class TrainOptions:
    """The options that decide a run's result; None leaves it to the optimizer or to torch."""

    workload: str
    optimizer: str
    lr: float | None
    betas: tuple[float, float] | None
    eps: float | None
    weight_decay: float | None
    sparse: str | None
    momentum: float | None
    state_dtype: str | None
    max_grad_norm: float | None
    epochs: int
    batch_size: int
    schedule: str
    seed: int
    threads: int | None
    device: str
    data_dir: Path | None
    stats: bool
    more: Mapping[str, Any] = field(default_factory=dict)
    """The optimizer's settings that have no flag; only --config can hold them."""

    @property
    def settings(self) -> dict[str, Any]:
        """The optimizer's settings that were given."""
        values = {name: getattr(self, name) for name in (*FLAGS, *COMMON)}
        values["collect_stats"] = STATS_EVERY if self.stats else None
        return {**{k: v for k, v in values.items() if v is not None}, **self.more}

    @property
    def config(self) -> TrainConfig:
        """The training loop's settings."""
        return TrainConfig(
            epochs=self.epochs, batch_size=self.batch_size, schedule=self.schedule, seed=self.seed
        )

    def to_json(self) -> dict[str, Any]:
        """For ``run.json``; a run may be resumed from another folder, so paths are absolute."""
        options = asdict(self)
        options["betas"] = None if self.betas is None else list(self.betas)
        options["data_dir"] = None if self.data_dir is None else str(self.data_dir.resolve())
        return options


def from_json(saved: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The options that ``run.json`` holds, as the command line gives them.

    Raises
    ------
    CheckpointError
        One has a type that :meth:`TrainOptions.to_json` does not write.
    """
    known = {name: value for name, value in saved.items() if name in TYPES}
    for name, value in known.items():
        # To Python, a bool is an int.
        if not isinstance(value, TYPES[name]) or isinstance(value, bool) != (TYPES[name] is bool):
            raise CheckpointError(f"{source}: option {name} is {value!r}, which cannot be")
    if known.get("betas") is not None:
        known["betas"] = tuple(float(beta) for beta in known["betas"])
    for name, value in known.get("more", {}).items():
        known["more"][name] = tuple(value) if isinstance(value, list) else value
    if known.get("data_dir") is not None:
        known["data_dir"] = Path(known["data_dir"])
    return known
