"""Muon beside torch's, and beside its formula in float64, in every backend and format."""

from __future__ import annotations

import copy
import io
import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import adamantine
from adamantine.errors import BackendError, HyperparameterError, UsageError
from adamantine.optim.step.matrices.newton_schulz import fast_dtype, orthogonalized
from contract import clones, parameters, train

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SETTINGS: list[dict[str, Any]] = [
    {},
    {"nesterov": False, "weight_decay": 0.0},
    {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.8},
    {"ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5), "eps": 1e-3, "adjust_lr_fn": "original"},
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)
SHAPES = ((8, 16), (16, 8), (5, 300), (8, 16), (7, 7))
ANY_SHAPES = (*SHAPES, (6, 3, 2, 2), (4, 5, 3), (3, 1), (2, 0))


class Formula:
    """Each matrix by itself, as the method is written down, in float64."""

    def __init__(self, params: list[nn.Parameter], **settings: Any) -> None:
        self.lr, self.decay = settings.get("lr", 1e-3), settings.get("weight_decay", 0.1)
        self.momentum = settings.get("momentum", 0.95)
        self.nesterov = settings.get("nesterov", True)
        self.coefficients = settings.get("ns_coefficients", COEFFICIENTS)
        self.steps, self.eps = settings.get("ns_steps", 5), settings.get("eps", 1e-7)
        self.as_adamw = settings.get("adjust_lr_fn") == "match_rms_adamw"
        self.params, self.averages = params, [torch.zeros_like(p) for p in params]

    def step(self) -> None:
        with torch.no_grad():
            for param, average in zip(self.params, self.averages, strict=True):
                assert param.grad is not None
                average.copy_(self.momentum * average + (1 - self.momentum) * param.grad)
                ahead = self.momentum * average + (1 - self.momentum) * param.grad
                direction = ahead if self.nesterov else average
                batch = direction if direction.dim() == 3 else direction.flatten(1)[None]
                found = torch.stack([self.of_one(matrix) for matrix in batch])
                rows, columns = batch.shape[1:]
                ratio = 0.2 * math.sqrt(max(rows, columns)) if self.as_adamw else (
                    math.sqrt(max(1, rows / max(columns, 1)))
                )  # fmt: skip
                param.mul_(1 - self.lr * self.decay)
                param.sub_(self.lr * ratio * found.view_as(param))

    def of_one(self, matrix: Tensor) -> Tensor:
        a, b, c = self.coefficients
        x = matrix / max(float(matrix.norm()), self.eps)
        for _ in range(self.steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x


@every_setting
def test_as_its_formula_in_float64(settings: dict[str, Any]) -> None:
    """Convolutions, batches of matrices and empty ones, too."""
    start = parameters(*ANY_SHAPES, dtype=torch.float64)
    for backend in ("cpu", "lists", "reference"):
        ours, exact = clones(start), clones(start)
        optimizer = adamantine.Muon(
            ours, lr=0.1, **settings, ns_dtype="float64", backend=backend
        )  # fmt: skip
        train(optimizer, ours, 8)
        train(Formula(exact, lr=0.1, **settings), exact, 8)  # type: ignore[arg-type]
        torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@every_setting
def test_as_torch_in_bfloat16(settings: dict[str, Any], dtype: torch.dtype) -> None:
    """The same iteration: what differs is where rounding turns a last digit, and what follows."""
    if dtype == torch.bfloat16 and not settings.get("nesterov", True):
        pytest.skip("torch 2.13 divides its momentum by the norm, in place")
    start = parameters(*SHAPES, dtype=dtype)
    ours, theirs = clones(start), clones(start)
    a = adamantine.Muon(ours, lr=0.02, **settings, ns_dtype="bfloat16")
    b = torch.optim.Muon(theirs, lr=0.02, **settings)
    train(a, ours, 10)
    train(b, theirs, 10)
    length = 0.02 * 10 * 0.2 * math.sqrt(300)
    # Torch rounds a parameter of bfloat16 twice a step.
    rtol, share = (5e-2, 0.1) if dtype == torch.bfloat16 else (1e-5, 1e-3)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=share * length)
    for p, q in zip(ours, theirs, strict=True):
        found, expected = a.state[p], b.state[q]
        assert found.keys() == expected.keys() == {"momentum_buffer"}
        torch.testing.assert_close(
            found["momentum_buffer"], expected["momentum_buffer"], rtol=rtol, atol=1e-3
        )


def test_the_default_is_torchs_to_bfloat16() -> None:
    start = parameters(*SHAPES)
    ours, theirs = clones(start), clones(start)
    train(adamantine.Muon(ours, lr=0.01), ours, 5)
    train(torch.optim.Muon(theirs, lr=0.01), theirs, 5)
    for p, q, s in zip(ours, theirs, start, strict=True):
        assert (p - q).norm() < 0.02 * (q - s).norm()


def test_iteration_finds_the_nearest_orthogonal_matrix() -> None:
    """With coefficients that converge, that of the singular value decomposition."""
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((5, 9), (9, 5), (6, 6)):
        matrices = torch.randn(4, rows, columns, generator=generator, dtype=torch.float64)
        found = orthogonalized(matrices, (15 / 8, -10 / 8, 3 / 8), 60, 1e-12, torch.float64)
        u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
        torch.testing.assert_close(found, u @ vh, rtol=1e-9, atol=1e-9)
        values = torch.linalg.svdvals(
            orthogonalized(matrices, COEFFICIENTS, 5, 1e-7, torch.float64)
        )
        assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


@pytest.mark.parametrize(
    ("dtype", "rtol"),
    [(torch.float32, 2e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
)
def test_all_backends_agree(dtype: torch.dtype, rtol: float) -> None:
    start = parameters(*ANY_SHAPES, dtype=dtype)
    found = []
    for backend in ("reference", "cpu", "lists"):
        params = clones(start)
        train(adamantine.Muon(params, lr=0.01, ns_dtype="float32", backend=backend), params, 10)
        found.append(params)
    for others in found[1:]:
        torch.testing.assert_close(others, found[0], rtol=rtol, atol=rtol)


OPTIONS: list[dict[str, Any]] = [
    {"state_dtype": "int8"},
    {"state_dtype": "bfloat16"},
    {"master": "float32", "state_dtype": "int8"},
    {"master": "24bit"},
    {"param_rounding": "kahan"},
    {"param_rounding": "stochastic", "state_dtype": "bfloat16"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_format_on_every_backend(options: dict[str, Any]) -> None:
    start = parameters((8, 64), (64, 8), (8, 64), dtype=torch.bfloat16)
    params, kept = [], []
    for backend in ("cpu", "reference"):
        given = clones(start)
        optimizer = adamantine.Muon(
            given, lr=0.02, ns_dtype="float32", backend=backend, **options
        )  # fmt: skip
        train(optimizer, given, 6)
        params.append(given)
        kept.append([optimizer.state_dict()["state"][i] for i in range(3)])
    # A rounding that goes the other way is a step of bfloat16, or of a state's codes.
    torch.testing.assert_close(params[0], params[1], rtol=1e-2, atol=2e-3)
    for a, b in zip(*kept, strict=True):
        assert a.keys() == b.keys()
        torch.testing.assert_close(a["momentum_buffer"], b["momentum_buffer"], rtol=0.1, atol=0.02)


def test_a_master_keeps_what_float32_would() -> None:
    start = parameters((8, 64), (64, 8))
    halves, whole = clones(start, torch.bfloat16), clones(start)
    for half, full in zip(halves, whole, strict=True):
        full.data.copy_(half.data)
    small = {"lr": 1e-4, "ns_dtype": "float64"}
    optimizer = adamantine.Muon(halves, **small, master="float32")
    exact = adamantine.Muon(whole, **small)
    generator = torch.Generator().manual_seed(5)
    for _ in range(12):
        for half, full in zip(halves, whole, strict=True):
            half.grad = torch.randn(half.shape, generator=generator).bfloat16()
            full.grad = half.grad.float()
        optimizer.step()
        exact.step()
    # The direction is bfloat16, as the gradient is; what is small does not get lost.
    for half, full in zip(halves, whole, strict=True):
        torch.testing.assert_close(
            optimizer.state[half]["master"], full.detach(), rtol=1e-5, atol=2e-5
        )


def test_same_bits_for_any_number_of_threads() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            params = parameters((300, 500), (64, 7), (300, 500), (33, 2, 3, 3))
            train(adamantine.Muon(params, lr=0.1), params, 3)
            found.append(params)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *found))


def test_nan_and_infinity_as_torch() -> None:
    start = parameters((4, 6), (4, 6))
    found = []
    for cls in (adamantine.Muon, torch.optim.Muon):
        params = clones(start)
        optimizer = cls(params)
        for value in (1.0, math.inf, math.nan, 1.0):
            params[0].grad = torch.full((4, 6), value)
            params[1].grad = torch.ones(4, 6)
            optimizer.step()
        found.append(params)
    assert not torch.isfinite(found[0][0]).any()
    torch.testing.assert_close(*found, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_those_without_a_gradient_stay() -> None:
    start = parameters((4, 6), (4, 6), (4, 6))
    alone, together = clones(start), clones(start)
    a, b = adamantine.Muon(alone[1:2], lr=0.1), adamantine.Muon(together, lr=0.1)
    for step in range(6):
        grad = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        alone[1].grad, together[1].grad = grad, grad.clone()
        together[0].grad = torch.ones(4, 6) if step in (2, 3) else None
        a.step()
        b.step()
    torch.testing.assert_close(alone[1], together[1])
    assert torch.equal(together[2], start[2])
    assert not torch.equal(together[0], start[0])


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3))


def feed(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 1) -> None:
    train(optimizer, list(network.parameters()), steps, seed)


def test_adamw_has_the_rest_with_its_own_bits() -> None:
    network, twin = model(), model()
    optimizer = adamantine.Muon(network, lr=0.02, adamw_lr=3e-3, adamw_weight_decay=0.01)
    feed(network, optimizer, 5)
    rest = [p for g in optimizer.param_groups if g.get("algorithm") == "adamw" for p in g["params"]]
    names = [n for n, p in network.named_parameters() if any(p is r for r in rest)]
    assert len(names) == 6
    other = adamantine.AdamW(
        [twin.get_parameter(name) for name in names], lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01
    )
    feed(twin, other, 5)
    for name in names:
        assert torch.equal(network.get_parameter(name), twin.get_parameter(name))


def test_checkpoints_in_both_directions_with_torch() -> None:
    start = parameters(*SHAPES)
    for first, second in (
        (adamantine.Muon, torch.optim.Muon),
        (torch.optim.Muon, adamantine.Muon),
    ):
        one, other = clones(start), clones(start)
        before = first(one, lr=0.03, momentum=0.7)
        train(before, one, 4)
        for p, q in zip(one, other, strict=True):
            q.data.copy_(p.data)
        after = second(other)
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        assert after.param_groups[0]["momentum"] == 0.7
        train(before, one, 4, seed=2)
        train(after, other, 4, seed=2)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"state_dtype": "int8"}, {"state_dtype": "bfloat16"}])
def test_a_checkpoint_goes_on_with_the_same_bits(options: dict[str, Any]) -> None:
    network, twin = model(), model()
    settings: dict[str, Any] = {"lr": 0.02, "ns_dtype": "float32", **options}
    optimizer = adamantine.Muon(network.named_parameters(), **settings)
    feed(network, optimizer, 4)
    buffer = io.BytesIO()
    torch.save((network.state_dict(), optimizer.state_dict(compact=True)), buffer)
    buffer.seek(0)
    weights, state = torch.load(buffer)
    twin.load_state_dict(weights)
    other = adamantine.Muon(twin.named_parameters(), **settings)
    other.load_state_dict(state)
    copied_network = copy.deepcopy((network, optimizer))
    for each, stepping in ((network, optimizer), (twin, other), copied_network):
        feed(each, stepping, 4, seed=3)
    for p, q, r in zip(
        network.parameters(), twin.parameters(), copied_network[0].parameters(), strict=True
    ):
        assert torch.equal(p, q)
        assert torch.equal(p, r)
    assert str(other.assigned()) == str(optimizer.assigned()) == str(copied_network[1].assigned())


@pytest.mark.parametrize("backend", ["auto", "lists", "reference"])
def test_step_options(backend: Any) -> None:
    network, twin = model(), model()
    optimizer = adamantine.Muon(
        network, lr=0.02, max_grad_norm=0.5, skip_nonfinite=True, zero_grad="zeros",
        collect_stats=True, backend=backend,
    )  # fmt: skip
    other = adamantine.Muon(twin, lr=0.02, backend=backend)
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        for p, q in zip(network.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        before = [p.detach().clone() for p in network.parameters()]
        optimizer.step()
        assert all(
            float(p.grad.abs().sum()) == 0 for p in network.parameters() if p.grad is not None
        )
        norm = nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        other.step()
        stats = {s.name: s for s in optimizer.stats()}
        moved = {
            name: float((p - b).detach().norm())
            for (name, p), b in zip(network.named_parameters(), before, strict=True)
        }
        assert {n: s.update_norm for n, s in stats.items()} == pytest.approx(moved, rel=2e-3)
        total = math.sqrt(sum(s.grad_norm**2 for s in stats.values()))
        assert total == pytest.approx(float(norm), rel=1e-3)
    for p, q in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
    before = [p.detach().clone() for p in network.parameters()]
    for p in network.parameters():
        p.grad = torch.full_like(p, math.nan)
    optimizer.step()
    assert optimizer.skipped_steps == 1
    assert all(map(torch.equal, before, network.parameters()))


def test_maximize_and_schedules() -> None:
    start = parameters((4, 6), (6, 4))
    up, down = clones(start), clones(start)
    a = adamantine.Muon(up, lr=0.1, maximize=True)
    b = adamantine.Muon(down, lr=0.1)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(each, 0.5) for each in (a, b)]
    for step in range(4):
        for p, q in zip(up, down, strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            q.grad = -p.grad
        a.step()
        b.step()
        for schedule in schedules:
            schedule.step()
    assert all(map(torch.equal, up, down))
    assert a.param_groups[0]["lr"] == pytest.approx(0.1 / 16)


def test_new_states_and_moved_parameters_are_noticed() -> None:
    params = parameters((4, 6), (4, 6))
    twins = clones(params)
    optimizer, other = adamantine.Muon(params, lr=0.1), adamantine.Muon(twins, lr=0.1)
    train(optimizer, params, 2)
    train(other, twins, 2)
    for param in params:
        param.data = param.data.clone()
        state = optimizer.state[param]
        state["momentum_buffer"] = state["momentum_buffer"].clone()
    train(optimizer, params, 2)
    train(other, twins, 2)
    assert all(map(torch.equal, params, twins))


def test_channels_last_is_as_contiguous() -> None:
    (start,) = parameters((6, 4, 3, 3))
    plain = nn.Parameter(start.detach().clone())
    turned = nn.Parameter(start.detach().to(memory_format=torch.channels_last))
    for param in (plain, turned):
        train(adamantine.Muon([param], lr=0.1), [param], 4)
    torch.testing.assert_close(plain, turned)


def test_what_is_refused() -> None:
    vector, matrix = parameters(3, (3, 3))
    with pytest.raises(UsageError, match=r"only supports 2D.*parameter 0 of group 0.*model"):
        adamantine.Muon([vector])
    optimizer = adamantine.Muon([matrix])
    with pytest.raises(UsageError, match='algorithm="adamw"'):
        optimizer.add_param_group({"params": [vector]})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [vector], "use_muon": False})
    assert [a.algorithm for a in optimizer.assigned()] == ["muon", "adamw"]
    train(optimizer, [matrix, vector], 2)
    for bad, words in (
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"momentum": -0.1}, "Invalid momentum value: -0.1"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"ns_steps": 100}, "Invalid number of Newton-Schulz steps: 100"),
        ({"ns_steps": 2.5}, r"steps: 2.5 \(expected a whole number >= 0 and < 100\)"),
        ({"ns_coefficients": (1.0, 2.0)}, "expected 3 numbers"),
        # Also where no group holds them yet.
        ({"adamw_lr": -1.0}, "Invalid adamw_lr: -1.0"),
        ({"adamw_betas": 0.9}, r"Invalid adamw_betas: 0.9 \(expected 2 numbers\)"),
        ({"adamw_betas": (0.9, 1.0)}, "Invalid adamw_betas at index 1: 1.0"),
        ({"normuon_beta2": 1.0}, "Invalid NorMuon beta parameter: 1.0"),
        ({"ns_dtype": "float16"}, "Invalid ns_dtype: 'float16'"),
        ({"adjust_lr_fn": "mine"}, "Adjust learning rate function mine is not supported"),
    ):
        with pytest.raises(HyperparameterError, match=words):
            adamantine.Muon([matrix], **bad)
    with pytest.raises(HyperparameterError, match="Invalid algorithm: 'sgd'"):
        adamantine.Muon([{"params": [matrix], "algorithm": "sgd"}])
    with pytest.raises(HyperparameterError, match=r"a group has 'adamw_lr'.* calls it 'lr'"):
        adamantine.Muon([{"params": [vector], "algorithm": "adamw", "adamw_lr": 0.1}])
    with pytest.raises(UsageError, match="does not take offload=True"):
        adamantine.Muon([matrix], offload=True)
    with pytest.raises(UsageError, match=r"does not step in backward\(\)"):
        adamantine.Muon(model()).step_in_backward(model())


@pytest.mark.parametrize("copied", [False, True])
def test_later_groups_have_the_constructors_settings(copied: bool) -> None:
    """AdamW's as a group of the beginning has them, and NorMuon's."""
    matrix, vector, other, last = parameters((3, 3), 3, 4, (3, 3))
    own = {"lr": 0.5, "betas": (0.5, 0.6), "eps": 1e-3, "weight_decay": 0.25}
    settings: dict[str, Any] = {f"adamw_{name}": value for name, value in own.items()}
    groups = [{"params": [matrix]}, {"params": [vector], "algorithm": "adamw"}]
    optimizer = adamantine.Muon(groups, normuon_beta2=0.7, **settings)
    if copied:
        optimizer = copy.deepcopy(optimizer)
    optimizer.add_param_group({"params": [other], "use_muon": False, "eps": 1e-5})
    optimizer.add_param_group({"params": [last], "normuon": True})
    _, first, later, of_normuon = optimizer.param_groups
    assert {name: first[name] for name in own} == own
    assert {name: later[name] for name in own} == own | {"eps": 1e-5}
    assert (of_normuon["normuon_beta2"], of_normuon["lr"]) == (0.7, 1e-3)


def test_a_batch_of_one_transposed_matrix_is_the_matrix_that_it_says() -> None:
    """Of a square one, the batch's stride is that of contiguous rows."""
    (start,) = parameters((6, 6))
    plain = nn.Parameter(start.detach().clone()[None])
    turned = nn.Parameter(start.detach().T.contiguous().T[None])
    assert turned.stride(0) == 6
    for param in (plain, turned):
        train(adamantine.Muon([param], lr=0.1, normuon=True), [param], 4)
    torch.testing.assert_close(turned, plain)


def test_gradients_that_are_refused() -> None:
    (matrix,) = parameters((3, 3))
    optimizer = adamantine.Muon([matrix])
    matrix.grad = torch.ones(3, 3).to_sparse()
    with pytest.raises(BackendError, match="Muon does not support sparse gradients"):
        optimizer.step()
    pair = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    pair.grad = torch.ones_like(pair)
    with pytest.raises(BackendError, match="Muon does not support complex parameters"):
        adamantine.Muon([pair]).step()
    optimizer = adamantine.Muon([{"params": [matrix], "differentiable": True}])
    matrix.grad = torch.ones(3, 3)
    with pytest.raises(BackendError, match="does not support differentiable=True"):
        optimizer.step()


def test_bfloat16_is_for_devices_that_multiply_it() -> None:
    assert fast_dtype("cuda") == torch.bfloat16
    found = torch.cpu.get_capabilities()
    multiplies = any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    assert fast_dtype("cpu") == (torch.bfloat16 if multiplies else torch.float32)


def test_a_transposed_parameter_is_the_matrix_that_it_says() -> None:
    (start,) = parameters((6, 9))
    plain = nn.Parameter(start.detach().clone())
    turned = nn.Parameter(start.detach().t().contiguous().t())
    for param in (plain, turned):
        train(adamantine.Muon([param], lr=0.1), [param], 4)
    assert turned.stride() == (1, 6)
    torch.testing.assert_close(plain, turned, rtol=1e-4, atol=1e-4)


class AuthorsNorMuon(Formula):
    """With the rows' step as in the code of NorMuon's authors (zichongli5/NorMuon)."""

    def __init__(self, params: list[nn.Parameter], beta2: float, **settings: Any) -> None:
        super().__init__(params, **settings)
        self.beta2, self.rows = beta2, {}  # type: ignore[var-annotated]

    def step(self) -> None:
        self.count = 0
        super().step()

    def of_one(self, matrix: Tensor) -> Tensor:
        update = super().of_one(matrix)
        second = self.rows.setdefault(self.count, torch.zeros(len(matrix), 1, dtype=matrix.dtype))
        self.count += 1
        norm = update.norm()
        second.lerp_((update * update).mean(-1, keepdim=True), 1 - self.beta2)
        update = update * (1 / second.sqrt().add(1e-10))
        return update * (norm / (update.norm() + 1e-10))


def test_normuon_as_its_authors_code() -> None:
    shapes = (*SHAPES, (6, 3, 2, 2), (4, 5, 3), (3, 1))
    start = parameters(*shapes, dtype=torch.float64)
    for backend in ("cpu", "lists", "reference"):
        ours, exact = clones(start), clones(start)
        optimizer = adamantine.Muon(
            ours, lr=0.1, normuon=True, normuon_beta2=0.9, ns_dtype="float64", backend=backend
        )  # fmt: skip
        train(optimizer, ours, 8)
        train(AuthorsNorMuon(exact, 0.9, lr=0.1), exact, 8)  # type: ignore[arg-type]
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)
        found = [tuple(optimizer.state[p]["second_momentum_buffer"].shape) for p in ours]
        assert found == [
            (8, 1), (16, 1), (5, 1), (8, 1), (7, 1), (6, 1, 1, 1), (4, 5, 1), (3, 1)
        ]  # fmt: skip


def test_normuon_in_other_formats_and_from_a_checkpoint() -> None:
    start = parameters((8, 64), (64, 8), (8, 64), dtype=torch.bfloat16)
    settings: dict[str, Any] = {"lr": 0.02, "normuon": True, "ns_dtype": "float32"}
    for options in ({}, {"state_dtype": "int8", "master": "24bit"}):
        one, other = clones(start), clones(start)
        optimizer = adamantine.Muon(one, **settings, **options)
        train(optimizer, one, 4)
        saved = copy.deepcopy(optimizer.state_dict(compact=True))
        for p, q in zip(one, other, strict=True):
            q.data.copy_(p.data)
        twin = adamantine.Muon(other, **settings, **options)
        twin.load_state_dict(saved)
        train(optimizer, one, 4, seed=3)
        train(twin, other, 4, seed=3)
        assert all(map(torch.equal, one, other))
        rows = optimizer.state[one[0]]["second_momentum_buffer"]
        assert rows.dtype == (torch.float32 if options else torch.bfloat16)


def test_normuon_of_a_model_with_a_one_dimensional_convolution() -> None:
    network = nn.Sequential(nn.Conv1d(4, 6, 3), nn.Conv1d(6, 6, 3), nn.Conv1d(6, 2, 3))
    optimizer = adamantine.Muon(network, normuon=True)
    feed(network, optimizer, 3)
    rows = optimizer.state[network.get_parameter("0.weight")]["second_momentum_buffer"]
    assert rows.shape == (6, 1, 1)
    with pytest.raises(HyperparameterError, match=r"NorMuon beta parameter: 1\.0"):
        adamantine.Muon(network, normuon=True, normuon_beta2=1.0)
    plain = adamantine.Muon(network.named_parameters())
    assert "normuon_beta2" not in plain.param_groups[0]  # as torch's groups are


@pytest.mark.parametrize("name", ["Muon", "SOAP"])
def test_steps_inside_of_autocast_are_as_outside(name: str) -> None:
    start = parameters((6, 6), (9, 4))
    settings: dict[str, Any] = {"ns_dtype": "float32"} if name == "Muon" else {}
    inside, outside = clones(start), clones(start)
    a, b = (getattr(adamantine, name)(p, lr=0.1, **settings) for p in (inside, outside))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        train(a, inside, 4)
    train(b, outside, 4)
    assert all(map(torch.equal, inside, outside))


@pytest.mark.parametrize("name", ["Muon", "SOAP"])
def test_who_looks_at_every_operation_sees_them(name: str) -> None:
    """Fake tensors, a counter of operations, and tensors without numbers."""
    cls = getattr(adamantine, name)
    with FakeTensorMode():
        params = parameters((6, 6), (6, 6))
        train(cls(params), params, 3)
    (meta,) = (nn.Parameter(torch.zeros(6, 6, device="meta")) for _ in range(1))
    train(cls([meta]), [meta], 3)
    start = parameters((6, 6), (6, 6))
    watched, plain = clones(start), clones(start)
    a, b = cls(watched, lr=0.1), cls(plain, lr=0.1)
    for seed in range(4):
        with FlopCounterMode(display=False) if seed % 2 else nullcontext() as counter:
            train(a, watched, 1, seed)
        train(b, plain, 1, seed)
        assert counter is None or counter.get_total_flops() > 6**3
    torch.testing.assert_close(watched, plain, rtol=1e-3, atol=1e-3)


class Calls(TorchDispatchMode):
    """Counts torch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_batches_take_a_share_of_torchs_calls() -> None:
    """Where each of them is a launch: all matrices of a shape need as many as one matrix does."""
    shapes = ((24, 8), (8, 8), (32, 8), (8, 32)) * 12
    params = parameters(*shapes)
    for param in params:
        param.grad = torch.ones_like(param)
    with Calls() as theirs:
        torch.optim.Muon(params).step()
    with Calls() as one:
        orthogonalized(torch.randn(1, 8, 32), COEFFICIENTS, 5, 1e-7, torch.bfloat16)
    with Calls() as twelve:
        orthogonalized(torch.randn(12, 8, 32), COEFFICIENTS, 5, 1e-7, torch.bfloat16)
    assert twelve.count == one.count
    assert 4 * twelve.count < theirs.count / 10


def test_normuon_can_begin_later() -> None:
    """A step without it leaves what an optimizer that has it from then on begins with."""
    generator = torch.Generator().manual_seed(0)
    grads = torch.randn(3, 6, 4, generator=generator)
    weight = nn.Parameter(torch.ones(6, 4))
    optimizer = adamantine.Muon([weight], normuon_beta2=0.8)
    weight.grad = grads[0]
    optimizer.step()
    other = nn.Parameter(weight.detach().clone())
    oracle = adamantine.Muon([other], normuon=True, normuon_beta2=0.8)
    oracle.state[other]["momentum_buffer"] = optimizer.state[weight]["momentum_buffer"].clone()
    optimizer.param_groups[0]["normuon"] = True
    for grad in grads[1:]:
        weight.grad, other.grad = grad, grad.clone()
        optimizer.step()
        oracle.step()
    assert torch.equal(weight, other)
    assert optimizer.param_groups[0]["normuon_beta2"] == 0.8


def test_a_changed_group_is_checked_before_a_step() -> None:
    weight = nn.Parameter(torch.ones(6, 4))
    weight.grad = torch.ones(6, 4)
    optimizer = adamantine.Muon([weight])
    optimizer.param_groups[0]["ns_dtype"] = "float8"
    with pytest.raises(HyperparameterError, match="Invalid ns_dtype: 'float8'"):
        optimizer.step()
    assert torch.equal(weight, torch.ones(6, 4))
