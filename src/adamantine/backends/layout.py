"""How tensors lie in memory: with gaps, over each other, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.modes import is_wrapped
from adamantine.errors import BackendError


def check_memory(what: str, tensor: Tensor) -> None:
    """Raise :class:`BackendError` when the storage of `tensor` is too small for it.

    That is what ``untyped_storage().resize_()`` leaves behind, and torch's own operations crash on
    it. Tensors that bring their own dispatch keep no storage to look at.
    """
    if tensor.layout != torch.strided or has_own_dispatch(tensor) or tensor.numel() == 0:
        return
    if tensor.is_contiguous():
        last = tensor.numel() - 1
    else:
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        last = sum((size - 1) * stride for size, stride in steps)
    needed = (tensor.storage_offset() + last + 1) * tensor.element_size()
    if tensor.untyped_storage().nbytes() < needed:
        raise BackendError(
            f"{what} of shape {tuple(tensor.shape)} needs {needed} bytes, and its storage was "
            f"resized to {tensor.untyped_storage().nbytes()}; resize it back before step()"
        )


def check_gradient(owner: str, param: Tensor, grad: Tensor) -> None:
    """Raise :class:`BackendError` unless `grad` can be read beside `param`.

    `owner` is the optimizer's name, for the message.
    """
    if grad.layout != torch.strided:
        raise BackendError(
            f"{owner} does not support sparse gradients (got {grad.layout}); build the layer with "
            "sparse=False"
        )
    check_memory("a gradient", grad)
    if grad.shape != param.shape:
        raise BackendError(
            f"parameter of shape {tuple(param.shape)} has a gradient of shape "
            f"{tuple(grad.shape)}; call zero_grad() and backward() again after replacing a "
            "parameter's data"
        )


def check_sparse(param: Tensor, grad: Tensor) -> None:
    """Raise :class:`BackendError` unless the sparse `grad` has the shape and kind of `param`."""
    if grad.shape != param.shape:
        raise BackendError(
            f"parameter of shape {tuple(param.shape)} has a sparse gradient of shape "
            f"{tuple(grad.shape)}; call zero_grad() and backward() again after replacing a "
            "parameter's data"
        )
    if (grad.dtype, grad.device) != (param.dtype, param.device):
        raise BackendError(
            f"a {param.dtype} parameter on {param.device} has a sparse gradient of {grad.dtype} on "
            f"{grad.device}; call zero_grad() and backward() again after moving a parameter"
        )


def check_rows(param: Tensor, grad: Tensor) -> None:
    """Raise :class:`BackendError` unless all that the sparse `grad` names is in `param`."""
    indices = grad._indices()
    if indices.numel() == 0:
        return
    for dim, (low, high) in enumerate(
        zip(*map(Tensor.tolist, indices.aminmax(dim=1)), strict=True)
    ):
        if low < 0 or high >= param.shape[dim]:
            raise BackendError(
                f"a sparse gradient has index {low if low < 0 else high} in dimension {dim}, where "
                f"the parameter of shape {tuple(param.shape)} goes from 0 to "
                f"{param.shape[dim] - 1}; nothing was updated"
            )


def has_own_dispatch(tensor: Tensor) -> bool:
    """Whether `tensor` handles torch's operations itself, so that it has no memory to look at.

    A subclass can, and so do the tensors inside of ``torch.vmap`` and its like.
    """
    return type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__ or is_wrapped(tensor)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a block of memory without gap or overlap, in any order."""
    expected = 1
    walked = [(s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n != 1]
    for stride, size in sorted(walked):
        if stride != expected:
            return tensor.numel() == 0
        expected *= size
    return True


def refusal_of_layout(param: Tensor) -> str | None:
    """Why kernels, which walk over memory, cannot update `param`, or None where they can."""
    if param.layout != torch.strided:
        return f"a {param.layout} tensor on {param.device}"
    if param.is_neg() or param.is_conj():
        return "a view with a lazy minus sign or conjugation"
    if not is_dense(param):
        return f"a view with gaps or overlaps (shape {tuple(param.shape)}, stride {param.stride()})"
    return None


def staged(
    owner: str, params: Sequence[Tensor], grads: Sequence[Any], which: NDArray[np.bool_]
) -> list[Any] | None:
    """Gradients in the layout of their parameters: copies of those that are not.

    None where one is sparse, which is not for a table. `owner` is the optimizer's name, for
    messages.

    Two tensors are walked side by side by address, so their strides must agree: the gradient of a
    channels-last weight is often contiguous.
    """
    found = list(grads)
    for t in np.flatnonzero(which).tolist():
        param, grad = params[t], grads[t]
        if grad.is_sparse:
            return None
        check_gradient(owner, param, grad)
        found[t] = torch.empty_like(param, requires_grad=False).copy_(grad.detach())
    return found


def extent(tensor: Tensor) -> tuple[int, int] | None:
    """Where in memory the elements begin and end: nowhere where a device has no addresses.

    None where its memory is hidden.
    """
    if has_own_dispatch(tensor):
        return None
    if tensor.device.type not in ("cpu", "cuda", "xpu") or tensor.numel() == 0:
        return (0, 0)
    return span(tensor)


def span(tensor: Tensor) -> tuple[int, int]:
    """Where in its device's memory the elements begin and end; nowhere where there is none."""
    if not has_memory(tensor) or tensor.numel() == 0:
        return (0, 0)
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def has_memory(tensor: Tensor) -> bool:
    """Whether there is memory to look at: not for lazy devices, nor for ``meta``."""
    return torch._C._has_storage(tensor) and not tensor.is_meta


def storage_span(tensor: Tensor) -> tuple[int, int]:
    """Where the memory begins and ends that `tensor` is a view of."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def are_apart(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    """Whether no two spans of memory have a byte in common.

    False, too, where an empty one lies within another.
    """
    order = begins.argsort()
    return bool((begins[order[1:]] >= ends[order[:-1]]).all())


def overlapping(tensors: Sequence[Sequence[Tensor]]) -> set[int]:
    """Which of several sets of tensors share memory with one before (or within) them.

    All sets are written at once, so these have to be updated one after the other. A tensor with
    gaps counts as if it had none.
    """
    spans = sorted(
        (*span(t), owner) for owner, owned in enumerate(tensors) for t in owned if t.numel() > 0
    )
    found: set[int] = set()
    cluster: list[int] = []  # owners of spans that hang together
    reach = 0
    for start, stop, owner in spans:
        if start >= reach:
            cluster = []
        cluster.append(owner)
        first = min(cluster)
        found.update(o for o in cluster if o != first or cluster.count(o) > 1)
        reach = max(reach, stop)
    return found
