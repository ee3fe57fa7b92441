"""Times the parts of a process's first step and prints them as JSON; `startup` runs it.

Usage: python first_step.py adamantine|torch.optim
"""

import json
import sys
from importlib import import_module
from time import perf_counter


def main() -> None:
    times = [perf_counter()]

    def lap() -> float:
        times.append(perf_counter())
        return times[-1] - times[-2]

    import torch

    parts = {"import torch": lap()}
    optimizer_class = import_module(sys.argv[1]).Adam
    parts["import the package"] = lap()

    model = torch.nn.Sequential(
        torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )
    model(torch.randn(64, 784)).sum().backward()
    lap()

    optimizer = optimizer_class(model.parameters())
    parts["build the optimizer"] = lap()
    optimizer.step()
    parts["first step"] = lap()
    print(json.dumps({part: round(seconds, 6) for part, seconds in parts.items()}))


if __name__ == "__main__":
    main()
