"""A watch for gradients that add up over steps because nobody cleared them."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle, unserializable_hook

from adamantine.backends.shards import local_of
from adamantine.optim.usage.labels import label
from adamantine.optim.usage.misuse import warn


def check_zeroed(optimizer: torch.optim.Optimizer) -> ZeroingWatch:
    """Warn once when ``backward()`` adds to gradients that a step has already used.

    Accumulating over several ``backward()`` calls between two steps is fine. So is any way of
    clearing gradients: ``optimizer.zero_grad()``, ``model.zero_grad()``, or setting ``.grad`` to
    None or to zeros.

    Parameters
    ----------
    optimizer
        Any optimizer from this package, or any other ``torch.optim.Optimizer``.

    Returns
    -------
    ZeroingWatch
        Its ``remove()`` ends the watch. After a warning it removes itself.

    Raises
    ------
    MisuseWarning
        As a warning; as an error under ``warnings.simplefilter("error")``.

    Notes
    -----
    It costs a hook call per parameter and step, and a check of all elements of gradients that were
    set to zero instead of None. Optimizers that are not watched pay nothing.

    Examples
    --------
    >>> import torch, adamantine
    >>> optimizer = adamantine.SGD([torch.nn.Parameter(torch.ones(2))])
    >>> watch = adamantine.check_zeroed(optimizer)
    >>> watch.remove()
    """
    return ZeroingWatch(optimizer)


class ZeroingWatch:
    """The hooks of :func:`check_zeroed`; :meth:`remove` takes them off."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = weakref.ref(optimizer)
        self._after_step = optimizer.register_step_post_hook(self._note)
        # By id, or the hooks of the parameters would keep the parameters.
        self._hooks: dict[int, RemovableHandle] = {}
        self._used: set[int] = set()

    def remove(self) -> None:
        """End the watch."""
        for handle in (self._after_step, *self._hooks.values()):
            handle.remove()
        self._hooks.clear()

    def _note(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """After a step: the gradients that are there have been used."""
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is None or not param.requires_grad:
                    continue
                self._used.add(id(param))
                if id(param) not in self._hooks:
                    look = partial(self._look, weakref.ref(param))
                    unserializable_hook(look)  # type: ignore[no-untyped-call]
                    self._hooks[id(param)] = param.register_hook(look)

    def _look(self, reference: weakref.ref[Tensor], _: Tensor) -> None:
        """Before a new gradient is added to ``param.grad``."""
        param, optimizer = reference(), self._optimizer()
        if param is None or optimizer is None or id(param) not in self._used:
            return
        self._used.remove(id(param))
        if param.grad is None or not _any_nonzero(param.grad):
            return
        self.remove()
        warn(
            f"backward() adds to a gradient that step() has already used "
            f"({label(optimizer.param_groups, param)}); call optimizer.zero_grad() after each step"
        )


def _any_nonzero(grad: Tensor) -> bool:
    values = grad._values() if grad.is_sparse else local_of(grad)
    return bool(torch.count_nonzero(values))
