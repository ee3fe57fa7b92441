"""All studies by name. A record is ``results/studies/NAME.json``."""

from __future__ import annotations

from types import ModuleType

from benchmarks.studies import (
    decisions,
    equals,
    lr_find,
    pruning,
    samplers,
    searches,
    tune_example,
    which,
    words,
)
from benchmarks.studies.comparison import Comparison

CLAIMS = (
    "adam sgd momentum --workload mnist --seeds 10 --budget 13 --space adam:lr=1e-4:1e-1:log "
    "--space sgd:lr=1e-2:10:log --space momentum:lr=1e-3:1:log"
)
PAPER = "--batch-size 128 --tuning-seeds 1 --tune-for train-loss"

STUDIES: dict[str, Comparison | ModuleType] = {
    "claims": Comparison(
        CLAIMS,
        "claims",
        {
            "overview.png": "compare.png",
            "learning_rates.png": "claims-rates.png",
            "time_to_target.png": "claims-target.png",
        },
    ),
    "claims-95": Comparison(f"{CLAIMS} --target 0.95", "claims"),
    "claims-untuned": Comparison(
        "adam:lr=0.001 sgd:lr=0.01 momentum:lr=0.01 --workload mnist --seeds 10 --budget 1 "
        "--tuning-seeds 1 --target 0.95",
        "claims-untuned",
    ),
    "paper-logistic": Comparison(
        "adam nesterov adagrad rmsprop --workload mnist-logistic --schedule inverse-sqrt "
        f"--epochs 20 --seeds 5 --space lr=0.001:10:log --budget 9 {PAPER}",
        "paper-logistic",
        {"curves.png": "paper-logistic.png"},
    ),
    "paper-dropout": Comparison(
        "adam nesterov rmsprop adagrad --workload mnist-dropout --schedule inverse-sqrt "
        "--epochs 3 --seeds 3 --looks 2 --space adam:lr=0.001:0.03:log "
        "--space nesterov:lr=0.1:3:log "
        "--space rmsprop:lr=0.0003:0.01:log --space adagrad:lr=0.003:0.1:log --budget 4 " + PAPER,
        "paper-dropout",
        {"curves.png": "paper-dropout.png"},
    ),
    "paper-constant": Comparison(
        "adam nesterov rmsprop adagrad --workload mnist-dropout --epochs 3 --seeds 3 --looks 2 "
        "--space adam:lr=0.0003:0.001:log --space nesterov:lr=0.01:0.1:log "
        "--space rmsprop:lr=0.0001:0.001:log --space adagrad:lr=0.005:0.02:log --budget 3 " + PAPER,
        "paper-constant",
        {"curves.png": "paper-dropout-constant.png"},
    ),
    "paper-mlp": Comparison(
        "adam nesterov rmsprop adagrad --workload mnist-mlp --epochs 3 --seeds 3 --looks 2 "
        "--space adam:lr=0.0003:0.003:log --space nesterov:lr=0.03:0.3:log "
        "--space rmsprop:lr=0.0001:0.001:log --space adagrad:lr=0.01:0.1:log --budget 3 " + PAPER,
        "paper-mlp",
        {"curves.png": "paper-mlp.png"},
    ),
    **which.STUDIES,
    "lr-find": lr_find,
    "equals": equals,
    "decisions": decisions,
    "words": words,
    "tune-example": tune_example,
    "samplers": samplers,
    "pruning": pruning,
    "searches": searches,
}

WITHOUT_MNIST = (
    *(n for n, each in which.STUDIES.items() if not each.reads_mnist),
    "equals",
    "decisions",
    "words",
    "tune-example",
    "samplers",
    "pruning",
)
"""The others need MNIST."""
