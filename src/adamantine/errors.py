"""Every error Adamantine raises on purpose, and its warning.

Each message says what was given, what was expected and what to do about it. An
error that ``torch.optim`` raises as a builtin type is a subclass of that type here
too, so that ``except ValueError`` written for torch keeps working.
"""


class AdamantineError(Exception):
    """Base of all errors of this package; the command line exits with 1 on it."""


class UsageError(AdamantineError, ValueError):
    """The request itself is wrong; the command line exits with 2 on it."""


class HyperparameterError(UsageError):
    """An optimizer's setting is outside its range."""


class BackendError(AdamantineError, RuntimeError):
    """The chosen backend cannot run this parameter or gradient."""


class StateError(AdamantineError, RuntimeError):
    """An optimizer's state does not fit its parameter any more."""


class NonFiniteError(AdamantineError, RuntimeError):
    """Gradients were not finite in so many steps in a row that training has broken down."""


class MisuseWarning(UserWarning):
    """Something that is probably a mistake; the message has the remedy."""


class DataError(AdamantineError):
    """A data file is missing, truncated or not what its name says."""


class WorkloadError(AdamantineError):
    """A workload could not be found, loaded or understood."""


class CheckpointError(AdamantineError):
    """A checkpoint or a run folder cannot be read, or must not be overwritten."""


class ProcessLostError(AdamantineError):
    """Another process of a run by several has ended, and so does this one."""


class SaidElsewhereError(AdamantineError):
    """Another process of the run says what went wrong; this one ends in silence."""


class DivergedError(AdamantineError):
    """The loss became NaN or infinite; carries where it happened."""

    def __init__(self, message: str, *, epoch: int, step: int, loss: float) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.loss = loss
