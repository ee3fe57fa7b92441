"""Write ``docs/optimizers.md`` from the docstrings, signatures and ranges of the optimizers.

    python docs/generate.py

A test fails when the page is not what this would write.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import textwrap
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import torch

from adamantine import optim
from adamantine.optim import RuleOptimizer
from adamantine.rules import Rule

PAGE = Path(__file__).parent / "optimizers.md"
MEASURED = Path(__file__).parents[1] / "benchmarks" / "results" / "bandwidth.json"

INDENTED = r"((?:    .*\n?|\n)+)"
FORMULA = r"^\.\. math::\n" + INDENTED

INTRODUCTION = """\
# Optimizers

<!-- Written by docs/generate.py from the docstrings. Change those, then run it again. -->

Every class has the arguments of the `torch.optim` class of the same name (if there is one),
`backend=`, and the options that all optimizers share: [states and parameters in fewer
bits](precision.md), [clipping, skipping and zeroing](step_options.md), and [statistics of a
step](stats.md).

In the table, "state" and "traffic" are bytes per float32 parameter at the default settings. Traffic
is what a step reads (parameter, gradient, state) and writes (all but the gradient), and what it
reads before for sums over tensors, rows and columns; on large tensors, traffic determines the time
of a step, except where it multiplies matrices. "Step" is the measured time per parameter for one
tensor of 64 Mi on two threads, on the machine of
[the benchmarks](benchmarks.md#every-optimizer-against-the-machines-memory).
"""


def optimizers() -> list[type[RuleOptimizer]]:
    """Every optimizer that the package exports, by name."""
    classes = (getattr(optim, name) for name in sorted(optim.__all__, key=str.lower))
    return [cls for cls in classes if cls is not RuleOptimizer]


def sections(cls: type) -> dict[str, str]:
    """A NumPy-style docstring as title to text; what stands before the first title is ``""``."""
    parts = re.split(r"^(\S.*)\n-{3,}\n", inspect.getdoc(cls) or "", flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], map(str.strip, parts[::2]), strict=True))


def entries(text: str) -> list[tuple[list[str], str]]:
    """A section of names with descriptions: ``lr, eps`` on one line, the rest indented below."""
    found = re.findall(r"^(\w.*)\n" + INDENTED, text, flags=re.MULTILINE)
    return [(names.split(", "), _dedented(rest)) for names, rest in found]


def settings_of(cls: type[RuleOptimizer]) -> dict[str, Any]:
    """The constructor's settings with their defaults."""
    parameters = inspect.signature(cls).parameters.values()
    return {
        p.name: p.default for p in parameters if p.name != "params" and p.kind is not p.VAR_KEYWORD
    }


def state_bytes(cls: type[RuleOptimizer]) -> int:
    """Bytes of state for each float32 parameter of a square matrix, at the default settings."""
    rule, shape = rule_of(cls), (4_096, 4_096)
    elements = sum(math.prod(rule.shape_of(name, shape)) for name in rule.states)
    return round(4 * elements / math.prod(shape))


def rule_of(cls: type[RuleOptimizer]) -> Rule:
    """The rule of the default settings."""
    (group,) = cls([torch.nn.Parameter(torch.zeros(1, 1))]).param_groups
    return cls.family.select(group)


def traffic(cls: type[RuleOptimizer]) -> int:
    """Bytes that a step moves for each float32 parameter: what it writes, it has read."""
    gradient = parameter = direction = 4
    rule = rule_of(cls)
    large = set(rule.tensors) - set(rule.shapes)
    before = gradient if rule.factors else 0
    if rule.sums is not None:
        before += 4 * sum(name in large for name in rule.sums.arguments)
    if rule.matrices is not None:
        before += 2 * 2 * direction  # found, read, made into another one, and read
    return before + gradient + 2 * (parameter + state_bytes(cls))


def formulas(cls: type) -> list[str]:
    """The docstring's displayed formulas, as LaTeX."""
    return [_dedented(block) for block in re.findall(FORMULA, sections(cls)[""], re.MULTILINE)]


def _dedented(block: str) -> str:
    return textwrap.dedent(block).strip()


def markdown(text: str) -> str:
    """The reStructuredText of our docstrings as GitHub's Markdown, paragraphs on one line each."""
    text = re.sub(r":math:`([^`]*)`", r"$`\1`$", text)
    text = re.sub(r":class:`(?:adamantine\.)?(\w+)`", lambda m: f"[{m[1]}](#{m[1].lower()})", text)
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    text = re.sub(r"(?<![`$])`([^`$<]*?)\s+<([^>]*)>`_", r"[\1](\2)", text)
    return "\n\n".join(
        " ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())
    )


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *overview(), *map(chapter, optimizers())])


def speeds() -> dict[str, float]:
    """Nanoseconds a parameter, by ``name(settings)``, from the benchmark ``bandwidth``."""
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    return {
        case["optimizer"]: median(case["nanoseconds"]["step"]) / found["elements"]
        for case in found["cases"]
    }


def overview() -> Iterator[str]:
    """A table of all optimizers."""
    measured = speeds()
    yield "| optimizer | state, bytes | traffic, bytes | step, ns | |"
    yield "| :-- | --: | --: | --: | :-- |"
    for cls in optimizers():
        name = cls.__name__
        summary = markdown(sections(cls)[""]).partition("\n")[0]
        step = f"{measured[f'{name}()']:.2f}" if f"{name}()" in measured else "–"
        numbers = f"{state_bytes(cls)} | {traffic(cls)} | {step}"
        yield f"| [{name}](#{name.lower()}) | {numbers} | {summary} |"
    yield ""


def chapter(cls: type[RuleOptimizer]) -> str:
    """All about one optimizer."""
    text = sections(cls)
    around = map(markdown, re.split(FORMULA, text[""], flags=re.MULTILINE)[::2])
    shown = (f"```math\n\\begin{{aligned}}\n{f}\n\\end{{aligned}}\n```" for f in formulas(cls))
    parts = [
        f"## {cls.__name__}",
        *filter(None, chain(*zip_longest(around, shown, fillvalue=""))),
        f"**Good for.** {markdown(text['Good for'])}",
        f"**Not for.** {markdown(text['Not for'])}",
        "\n".join(settings(cls)),
        f"**State.** {markdown(text['State'])}",
        *([markdown(text["Notes"])] if "Notes" in text else []),
        f"**Source.** {markdown(text['References'])}",
    ]
    return "\n\n".join(parts) + "\n"


def settings(cls: type[RuleOptimizer]) -> Iterator[str]:
    """A list of settings with defaults, ranges and meaning."""
    defaults = settings_of(cls)
    ranges = {h.name: h.range for h in cls.family.hyperparameters}
    for names, meaning in entries(sections(cls)["Parameters"]):
        shown = [
            f"`{name}`" + (f" = {defaults[name]}" if name in defaults else "") for name in names
        ]
        # One setting to a line has its range; the common ones are described with Adam.
        limits = f" ({ranges[names[0]]})" if len(names) == 1 and names[0] in ranges else ""
        yield f"- {', '.join(shown)}{limits}: {markdown(meaning)}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
