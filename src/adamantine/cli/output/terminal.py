"""What is said beside the results, on standard error."""

import sys

SECONDS_BETWEEN_UPDATES = 0.1
"""Of a bar: to draw it takes time from the steps."""


def note(message: str) -> None:
    """Say something beside the results, on standard error."""
    print(message, file=sys.stderr, flush=True)
