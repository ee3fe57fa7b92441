"""A CUDA graph without CUDA: what a block does to tensors, done again on the same memory.

As there, nothing of Python is repeated: each operation of torch and each kernel runs again on the
tensors that it had, and what it returned lies where it lay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from device import INTERPRETED
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adamantine.backends.gpu import streams
from adamantine.backends.gpu.kernel import compiling
from adamantine.optim.step import plan
from adamantine.optim.step.updates import choice


class Recorded:
    """What was done; call it to do it again."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []
        self.given: set[int] = set()  # ids of the tensors that operations and kernels had

    def __call__(self) -> None:
        for call in self.calls:
            call()


class _Recorder(TorchDispatchMode):
    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self._recorded = recorded

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise AssertionError("the host waits for the device, which no graph can record")
        self._recorded.given.update(map(id, _tensors((args, kwargs))))
        results = func(*args, **kwargs)
        given = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
        made = [t for t in _tensors(results) if t.untyped_storage().data_ptr() not in given]

        def again() -> None:
            found = _tensors(func(*args, **kwargs))
            new = [t for t in found if t.untyped_storage().data_ptr() not in given]
            for old, now in zip(made, new, strict=True):
                old.copy_(now)

        self._recorded.calls.append(again)
        return results


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@contextmanager
def _cuda_graph() -> Iterator[Callable[[], None]]:
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        yield graph.replay


@contextmanager
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Record a block as a graph would; on a GPU, in one."""
    if not INTERPRETED:
        with _cuda_graph() as replay:
            yield replay
        return
    recorded = Recorded()
    launch = compiling.Launch.launch

    def kept(function: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*arguments: Any) -> None:
            def call() -> None:
                with torch.utils._python_dispatch._disable_current_modes():
                    function(*arguments)

            recorded.calls.append(call)
            recorded.given.update(map(id, _tensors(arguments)))
            call()

        return wrapped

    with monkeypatch.context() as patched:
        patched.setattr(streams, "is_capturing", lambda _: True)
        patched.setattr(compiling.Launch, "launch", kept(launch))
        for module in (plan, choice):
            patched.setattr(module, "observer", lambda: None)
        with _Recorder(recorded):
            yield recorded
