"""Optimizers that torch has not, or has slowly, against other packages' of the same name.

The matrices and vectors of two blocks of GPT-2 small, a step with new gradients each. Settings are
at the defaults, without what one does and the other does not: `pytorch_optimizer` clips gradients
for LAMB and compensates the sums of StableAdamW, unless told not to.
"""

from __future__ import annotations

import torch

from benchmarks import markdown
from benchmarks.cases import Case, measure
from benchmarks.peers import Contender, of_optax, of_torch
from benchmarks.records import Options, Record
from benchmarks.step import THREADS, WARM_UP, Shape

WIDTH, BLOCKS = 768, 2
BLOCK: tuple[Shape, ...] = (
    (WIDTH,), (WIDTH,), (3 * WIDTH, WIDTH), (3 * WIDTH,), (WIDTH, WIDTH), (WIDTH,),
    (WIDTH,), (WIDTH,), (4 * WIDTH, WIDTH), (4 * WIDTH,), (WIDTH, 4 * WIDTH), (WIDTH,),
)  # fmt: skip
QUICK_BLOCK: tuple[Shape, ...] = ((64, 64), (64,))
ROUNDS = 21

RIVALS: dict[str, tuple[Contender, ...]] = {
    "LAMB": (
        of_torch("adamantine.LAMB"),
        of_torch("pytorch_optimizer.Lamb", max_grad_norm=0.0),
        of_optax("lamb"),
    ),
    "Adafactor": (
        of_torch("adamantine.Adafactor"),
        of_torch("torch.optim.Adafactor"),
        of_torch("torch.optim.Adafactor", foreach=True),
        of_torch("transformers.Adafactor", scale_parameter=True, relative_step=False, lr=1e-3),
        of_optax("adafactor"),
    ),
    "StableAdamW": (
        of_torch("adamantine.StableAdamW"),
        of_torch("pytorch_optimizer.StableAdamW", kahan_sum=False),
    ),
    "AdEMAMix": (
        of_torch("adamantine.AdEMAMix"),
        of_torch("pytorch_optimizer.AdEMAMix"),
        of_optax("contrib.ademamix"),
    ),
    "Prodigy": (
        of_torch("adamantine.Prodigy"),
        of_torch("prodigyopt.Prodigy"),
        of_torch("pytorch_optimizer.Prodigy"),
        of_optax("contrib.prodigy"),
    ),
}


def run(options: Options) -> Record:
    """Time each optimizer's implementations in turn."""
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    shapes = QUICK_BLOCK if options.quick else BLOCK * BLOCKS
    cases = [
        measure("rivals", Case(name, shapes, ROUNDS), contenders, options, WARM_UP)
        for name, contenders in RIVALS.items()
    ]
    return {"threads": threads, "cases": cases}


def to_markdown(found: Record) -> str:
    """One table, and who is missing in it."""
    elements = found["cases"][0]["parameters"]
    title = (
        f"**Two blocks of GPT-2 small, {elements / 1e6:.1f} M parameters; "
        f"threads: {found['threads']}**"
    )
    return "\n\n".join(
        [
            markdown.of_cases(title, found["cases"], "× ours (95 %)"),
            *markdown.left_out(found["cases"]),
        ]
    )
