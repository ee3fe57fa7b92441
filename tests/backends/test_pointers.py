"""Ways to make a kernel write where it must not; none may do more than raise."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn

import adamantine
from adamantine.errors import BackendError, StateError

pytestmark = pytest.mark.usefixtures("both_probes")

GUARD = 64
MARK = 12345.0


def guarded(*shape: int) -> tuple[nn.Parameter, torch.Tensor]:
    """A parameter in the middle of a block of marks, and the block."""
    size = int(torch.Size(shape).numel())
    block = torch.full((size + 2 * GUARD,), MARK)
    inside = block[GUARD : GUARD + size]
    inside.copy_(torch.linspace(-1, 1, size))
    return nn.Parameter(inside.view(shape)), block


def assert_guards_untouched(*blocks: torch.Tensor) -> None:
    for block in blocks:
        assert (block[:GUARD] == MARK).all()
        assert (block[-GUARD:] == MARK).all()


def twin_step(
    change: Callable[[nn.Parameter, torch.optim.Optimizer], None],
    shape: tuple[int, ...] = (6, 5),
    grad: Callable[[nn.Parameter, int], torch.Tensor] = lambda p, i: torch.full_like(p, 0.1 * i),
) -> None:
    """Step ours and torch's, apply `change`, step on; the results must agree."""
    ends = []
    for module in (adamantine, torch.optim):
        param = nn.Parameter(torch.linspace(-1, 1, int(torch.Size(shape).numel())).view(shape))
        optimizer = module.Adam([param], lr=0.1)
        for i in range(1, 7):
            param.grad = grad(param, i)
            optimizer.step()
            if i == 3:
                change(param, optimizer)
        ends.append((param.detach().clone(), optimizer.state_dict()["state"]))
    torch.testing.assert_close(ends[0][0], ends[1][0])
    for name, value in ends[0][1][0].items():
        torch.testing.assert_close(value, ends[1][1][0][name])


def test_writes_stay_inside_the_tensor() -> None:
    params, blocks = zip(*(guarded(n) for n in (1, 15, 16, 17, 33, 65_537)), strict=True)
    optimizer = adamantine.Adam(params)
    for _ in range(3):
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
    assert_guards_untouched(*blocks)
    assert all((p != torch.linspace(-1, 1, p.numel())).all() for p in params[1:])


def test_data_replaced_by_other_memory() -> None:
    def change(param: nn.Parameter, _: object) -> None:
        param.data = param.data.clone() + 1

    twin_step(change)


def test_old_memory_is_not_written_after_replacement() -> None:
    param, block = guarded(100)
    optimizer = adamantine.SGD([param], lr=1.0)
    param.grad = torch.ones(100)
    optimizer.step()
    old = block.clone()
    param.data = torch.zeros(100)
    param.grad = torch.ones(100)
    optimizer.step()
    assert torch.equal(block, old)
    assert (param == -1).all()


def test_freed_and_reused_memory() -> None:
    """The allocator hands the same address out again: for a smaller tensor, then another owner."""
    param = nn.Parameter(torch.zeros(50_000))
    optimizer = adamantine.SGD([param], lr=1.0)
    param.grad = torch.ones(50_000)
    optimizer.step()
    for size in (49_999, 10, 1, 0):
        param.data = torch.zeros(size)
        gc.collect()
        others = [torch.full((50_000,), MARK) for _ in range(4)]
        param.grad = torch.ones(size)
        optimizer.step()
        assert (param == -1).all()
        assert all((other == MARK).all() for other in others)


def test_smaller_data_under_a_grown_state_is_an_error() -> None:
    param, block = guarded(100)
    optimizer = adamantine.Adam([param])
    param.grad = torch.ones(100)
    optimizer.step()
    before = block.clone()
    param.data = param.data[:10]
    param.grad = torch.ones(10)
    with pytest.raises(StateError, match=r"shape \(100,\).*parameter is .* shape \(10,\)"):
        optimizer.step()
    assert torch.equal(block, before)


def test_gradient_of_another_shape_is_an_error() -> None:
    param = nn.Parameter(torch.zeros(100))
    optimizer = adamantine.Adam([param])
    param.grad = torch.ones(100)
    optimizer.step()
    for grad in (torch.ones(10), torch.ones(1), torch.ones(200)):
        param.grad.data = grad
        with pytest.raises(BackendError, match=r"\(100,\) has a gradient of shape"):
            optimizer.step()
    assert optimizer.state[param]["step"] == 1


@pytest.mark.parametrize("what", ["param", "grad", "exp_avg", "exp_avg_sq"])
def test_storage_resized_to_nothing(what: str) -> None:
    param = nn.Parameter(torch.zeros(1000))
    optimizer = adamantine.Adam([param])
    param.grad = torch.ones(1000)
    optimizer.step()
    tensor = {"param": param, "grad": param.grad, **optimizer.state[param]}[what]
    for left in (0, 400):
        tensor.untyped_storage().resize_(left)
        if what == "grad" and left > 0:
            continue  # read only, and torch reads as far
        with pytest.raises(BackendError, match=f"needs 4000 bytes, and its storage.* to {left};"):
            optimizer.step()


@pytest.mark.parametrize("name", ["step", "exp_avg", "exp_avg_sq"])
def test_state_tensor_replaced(name: str) -> None:
    def change(param: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.state[param][name] = optimizer.state[param][name].clone() * 2

    twin_step(change)


@pytest.mark.parametrize("name", ["step", "exp_avg"])
def test_state_memory_replaced(name: str) -> None:
    def change(param: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.state[param][name].data = optimizer.state[param][name].data.clone() * 2

    twin_step(change)


def test_state_of_the_wrong_shape_is_an_error() -> None:
    param = nn.Parameter(torch.zeros(100))
    optimizer = adamantine.Adam([param])
    param.grad = torch.ones(100)
    optimizer.step()
    for wrong in (torch.zeros(10), torch.zeros(100, dtype=torch.float64)):
        optimizer.state[param]["exp_avg"] = wrong
        with pytest.raises(StateError, match=r"'exp_avg' of parameter 0 of group 0 is"):
            optimizer.step()


def test_state_cleared_starts_anew() -> None:
    def change(_: object, optimizer: torch.optim.Optimizer) -> None:
        optimizer.state.clear()

    twin_step(change)


def test_state_replaced_as_a_whole() -> None:
    def change(param: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        old = optimizer.state[param]
        optimizer.state[param] = {name: value.clone() for name, value in old.items()}

    twin_step(change)


def test_share_memory_moves_everything() -> None:
    def change(param: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        param.share_memory_()
        for value in optimizer.state[param].values():
            value.share_memory_()

    twin_step(change)


def test_load_state_dict_in_mid_run() -> None:
    def change(_: object, optimizer: torch.optim.Optimizer) -> None:
        state = optimizer.state_dict()
        state["state"] = {
            k: {n: t.clone() for n, t in s.items()} for k, s in state["state"].items()
        }
        optimizer.load_state_dict(state)

    twin_step(change)


def test_add_param_group_in_mid_run() -> None:
    ends = []
    for module in (adamantine, torch.optim):
        first, second = nn.Parameter(torch.ones(7)), nn.Parameter(torch.ones(9))
        optimizer = module.Adam([first])
        for i in range(6):
            if i == 3:
                optimizer.add_param_group({"params": [second], "lr": 0.5})
            first.grad, second.grad = torch.full((7,), i + 1.0), torch.full((9,), 2.0)
            optimizer.step()
        ends.append((first, second))
    torch.testing.assert_close(ends[0], ends[1])


def test_params_list_edited_in_place() -> None:
    first, second = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(8))
    optimizer = adamantine.SGD([first], lr=1.0)
    for param in (first, second):
        param.grad = torch.ones(8)
    optimizer.step()
    optimizer.param_groups[0]["params"][0] = second
    optimizer.step()
    assert (first == -1).all()
    assert (second == -1).all()


def test_parameter_moved_between_groups() -> None:
    first, second = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(8))
    optimizer = adamantine.SGD([{"params": [first], "lr": 1.0}, {"params": [second], "lr": 10.0}])
    for param in (first, second):
        param.grad = torch.ones(8)
    optimizer.step()
    one, two = optimizer.param_groups
    two["params"].insert(0, one["params"].pop())
    optimizer.step()
    assert (first == -11).all()
    assert (second == -20).all()


def test_module_moved_to_another_dtype_is_an_error() -> None:
    model = nn.Linear(4, 3)
    optimizer = adamantine.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    model.double()
    model.zero_grad()
    model(torch.ones(1, 4, dtype=torch.float64)).sum().backward()
    with pytest.raises(StateError, match=r"torch.float32.*torch.float64.*after model.to"):
        optimizer.step()
    model.float()
    model.zero_grad()
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()


def test_expanded_gradient() -> None:
    twin_step(lambda *_: None, grad=lambda p, i: torch.full((1, 1), 0.1 * i).expand_as(p))


def test_sparse_gradient_is_refused_before_anything_is_written() -> None:
    table, dense = nn.Embedding(10, 3, sparse=True), nn.Parameter(torch.ones(3))
    optimizer = adamantine.Adam([dense, *table.parameters()])
    (table(torch.tensor([1, 2])) * dense).sum().backward()
    with pytest.raises(RuntimeError, match="Adam does not support sparse gradients"):
        optimizer.step()
    assert (dense == 1).all()


def test_sparse_gradient_of_the_references_share_is_refused_as_early() -> None:
    table = nn.Embedding(10, 3, sparse=True, dtype=torch.float64)
    dense = nn.Parameter(torch.ones(3))
    optimizer = adamantine.Adam([dense, *table.parameters()])
    (table(torch.tensor([1, 2])) * dense).sum().backward()
    with pytest.raises(RuntimeError, match="Adam does not support sparse gradients"):
        optimizer.step()
    assert (dense == 1).all()


def test_tensor_subclass_without_memory_goes_to_the_reference() -> None:
    two_tensor = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor
    param = nn.Parameter(two_tensor(torch.ones(4), torch.ones(4)))
    optimizer = adamantine.SGD([param], lr=0.5)
    param.grad = two_tensor(torch.ones(4), torch.ones(4))
    optimizer.step()
    assert (param.a == 0.5).all()
    assert (param.b == 0.5).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_let_go_after_the_step(stride: int) -> None:
    param = nn.Parameter(torch.zeros(10))
    optimizer = adamantine.Adam([param])
    for _ in range(2):
        param.grad = torch.ones(20)[: 10 * stride : stride]
        storage = weakref.ref(param.grad)
        optimizer.step()
        param.grad = None
        assert storage() is None


def test_backend_cpu_says_why_it_cannot() -> None:
    for param, reason in (
        (nn.Parameter(torch.zeros(6)[::2]), r"a view with gaps or overlaps \(shape \(3,\)"),
        (nn.Parameter(torch.zeros(3, dtype=torch.complex64).conj()), "a view with a lazy minus"),
    ):
        optimizer = adamantine.Adam([param], backend="cpu")
        param.grad = torch.zeros_like(param)
        with pytest.raises(BackendError, match=f"parameter is {reason}.*use backend='auto'"):
            optimizer.step()


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="unknown backend 'gpu2'; choose one of 'auto'"):
        adamantine.Adam([nn.Parameter(torch.zeros(1))], backend="gpu2")


def test_backward_through_overwritten_parameters_is_noticed() -> None:
    param = nn.Parameter(torch.ones(3))
    loss = (param**2).sum()
    optimizer = adamantine.Adam([param])
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_parameters_without_gradient_keep_their_version() -> None:
    first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = adamantine.Adam([first, second])
    for param in (first, second):
        param.grad = torch.ones(3)
    optimizer.step()
    second.grad = None
    before = second._version
    optimizer.step()
    assert second._version == before


def test_step_while_another_thread_replaces_data() -> None:
    params = [nn.Parameter(torch.zeros(30_000)) for _ in range(20)]
    optimizer = adamantine.SGD(params, lr=1e-3)
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for param in params:
                param.grad = torch.ones(30_000)

    thread = threading.Thread(target=replace)
    for param in params:
        param.grad = torch.ones(30_000)
    thread.start()
    try:
        for _ in range(200):
            optimizer.step()
    finally:
        stop.set()
        thread.join()
    for param in params:
        torch.testing.assert_close(param.detach(), torch.full((30_000,), -0.2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        param = nn.Parameter(torch.zeros(1_000_000))
        optimizer = adamantine.SGD([param], lr=1.0)
        param.grad = torch.ones_like(param)
        optimizer.step()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            optimizer.step()
            # Not torch: libgomp hangs in a forked child.
            os._exit(0 if bool((param.detach().numpy() == -2).all()) else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        torch.set_num_threads(before)
