"""What of the machine a command uses: threads, and a device."""

import torch

from adamantine.errors import UsageError

# A second thread gains these a seventh on an idle machine. On a busy one every operation waits
# for a thread that has no core, and the run takes fifty times as long.
SMALL = ("mnist", "mnist-logistic", "digits", "quadratic")


def use_threads(count: int | None, workload: str) -> int:
    """Tell torch how many threads to compute with, and return the number.

    Parameters
    ----------
    count
        At least 1. None means 1 for :data:`SMALL` workloads and torch's choice for others.
    """
    if count is None:
        count = 1 if workload in SMALL else torch.get_num_threads()
    if count < 1:
        raise UsageError(f"--threads is {count}, expected at least 1")
    torch.set_num_threads(count)
    return count


def find_device(name: str) -> torch.device:
    """``auto`` is the CUDA device if there is one, else the CPU.

    Raises
    ------
    UsageError
        There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # what cannot hold a number cannot train
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"--device {name} cannot be used here: {reason}; use --device auto"
        ) from error
    return device
