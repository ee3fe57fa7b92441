"""Who has to see every operation: then torch's run, since compiled kernels show nobody any."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

# Asked in every step, so by names that cost no look-up.
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_transform = torch._C._functorch.maybe_current_level
_tracing = torch._C._get_tracing_state


def observer() -> str | None:
    """What sees, changes or records torch's operations at present; None where nothing does.

    Dispatch modes (fake tensors, ``make_fx``, counters), function modes other than the default
    device, ``torch.func`` and ``vmap``, forward-mode derivatives, ``torch.jit.trace``.
    """
    if _dispatch_modes():
        return type(_get_current_dispatch_mode_stack()[-1]).__name__
    if _transform() is not None:
        return "a transform of torch.func"
    if _function_modes():
        stack = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        modes = [type(mode) for mode in stack if not isinstance(mode, DeviceContext)]
        if modes:
            return modes[-1].__name__
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    return None if _tracing() is None else "torch.jit.trace"


def is_wrapped(tensor: torch.Tensor) -> bool:
    """Whether `tensor` stands for another one, inside of a transform of ``torch.func``."""
    wrapped: bool = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return wrapped
