"""The command line: parse, call, print.

- ``app``: the commands, put together
- ``options``: what several of them take; ``output``: what several print, draw and write
- ``train``, ``lr_find``, ``tune``, ``compare``: a run, searches, comparisons
- ``report``, ``export``: of those that have ended
- ``trace``, ``demo``, ``data``, ``listing``: the smaller ones
- ``interrupt``: Ctrl-C

A command's folder has its options in ``command``, for which Typer is all that is imported, and
what it does in ``run``, which is imported when it runs.
"""

import os
import sys
from contextlib import suppress

from adamantine.cli.interrupt import Interrupted
from adamantine.errors import AdamantineError, SaidElsewhereError, UsageError

FAILURE, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    code = run(sys.argv[1:])
    if "RANK" in os.environ and "adamantine.train.processes.group" in sys.modules:
        # torch.distributed leaves threads behind, which abort the process if they ask for Python
        # while it is taken down.
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; an error is one line on stderr.

    Returns
    -------
    int
        0 if it worked, 1 if it failed, 2 if it was called wrongly, 130 if it was interrupted.
    """
    try:
        return _run(arguments)
    except UsageError as error:
        return _complain(error, WRONG_USAGE)
    except SaidElsewhereError:
        return FAILURE
    except AdamantineError as error:
        return _complain(error, FAILURE)
    except (Interrupted, KeyboardInterrupt) as error:
        if _is_follower() and not str(error):
            return INTERRUPTED
        return _complain(str(error) or "interrupted", INTERRUPTED)


def _run(arguments: list[str]) -> int:
    from adamantine.cli.app import Abort, ClickException, command

    try:
        result = command(arguments, prog_name="adamantine", standalone_mode=False)
    except ClickException as error:
        if _is_follower():
            raise SaidElsewhereError from None
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "adamantine"
        raise UsageError(f"{error.format_message()} (see {path} --help)") from error
    except Abort:
        raise Interrupted from None
    if result == INTERRUPTED:  # how newer Typers tell of a KeyboardInterrupt
        raise Interrupted
    return result if isinstance(result, int) else 0


def _is_follower() -> bool:
    """Whether torchrun started this as one of several, of which the first says what is wrong."""
    return os.environ.get("RANK", "0") != "0"


def _complain(reason: object, code: int) -> int:
    message = " ".join(str(reason).split())
    print(f"adamantine: {message}", file=sys.stderr, flush=True)
    return code
