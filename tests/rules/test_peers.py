"""Rules that look at whole tensors, beside other people's code on the same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from adamantine import LAMB, LARS, MARSAdamW, MARSLion, StableAdamW
from adamantine.optim import RuleOptimizer

STEPS = 6


def gradients() -> torch.Tensor:
    grads = torch.randn(STEPS, 2, 7, generator=torch.Generator().manual_seed(0))
    grads[:, 1] *= 20  # one tensor has long gradients
    return grads


def start() -> torch.Tensor:
    params = torch.randn(2, 7, generator=torch.Generator().manual_seed(1))
    params[0, :3] = 0
    return params


def path(cls: type[RuleOptimizer], backend: str, **settings: Any) -> np.ndarray:
    params = [torch.nn.Parameter(row) for row in start()]
    optimizer = cls(params, backend=backend, **settings)
    places = []
    for grads in gradients():
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        optimizer.step()
        places.append(torch.stack([param.detach().clone() for param in params]))
    return torch.stack(places).numpy()


def path_of_optax(transformation: Any) -> np.ndarray:
    import optax

    params = [row.numpy() for row in start()]
    state = transformation.init(params)
    places = []
    for grads in gradients():
        updates, state = transformation.update([g.numpy() for g in grads], state, params)
        params = optax.apply_updates(params, updates)
        places.append(np.stack(params))
    return np.stack(places)


BACKENDS = pytest.mark.parametrize("backend", ["cpu", "lists", "reference"])


@BACKENDS
def test_lamb_as_optax(backend: str) -> None:
    optax = pytest.importorskip("optax")
    ours = path(LAMB, backend, lr=0.1, weight_decay=0.1, betas=(0.8, 0.9))
    theirs = path_of_optax(optax.lamb(0.1, b1=0.8, b2=0.9, weight_decay=0.1))
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


@BACKENDS
def test_lars_as_optax(backend: str) -> None:
    """Without weight decay, which they add to the gradient before they take its norm."""
    optax = pytest.importorskip("optax")
    ours = path(LARS, backend, lr=2.0, weight_decay=0.0, trust_coefficient=0.1)
    theirs = path_of_optax(optax.lars(2.0, trust_coefficient=0.1, momentum=0.9))
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


def test_lars_by_hand() -> None:
    """η = 1/2, λ = 1 on w = (3, 4) and g = (6, 8): γ^l = 1/2 · 5 / (10 + 5) = 1/6 of (9, 12)."""
    param = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = LARS([param], lr=1.0, weight_decay=1.0, trust_coefficient=0.5)
    param.grad = torch.tensor([6.0, 8.0], dtype=torch.float64)
    optimizer.step()
    assert param.tolist() == pytest.approx([1.5, 2.0], rel=1e-15)


def test_lamb_by_hand() -> None:
    """One step of Adam's is the sign: r = (1, -1, 1, -1) of norm 2, on θ of norm 4."""
    param = torch.nn.Parameter(torch.full((4,), 2.0, dtype=torch.float64))
    optimizer = LAMB([param], lr=0.5, eps=0.0, weight_decay=0.0)
    param.grad = torch.tensor([1.0, -2.0, 3.0, -4.0], dtype=torch.float64)
    optimizer.step()
    assert param.tolist() == pytest.approx([1.0, 3.0, 1.0, 3.0], rel=1e-15)


@BACKENDS
def test_stable_adamw_as_pytorch_optimizer(backend: str) -> None:
    others = pytest.importorskip("pytorch_optimizer")
    settings = {"lr": 0.1, "weight_decay": 0.1, "betas": (0.8, 0.9)}
    params = [torch.nn.Parameter(row) for row in start()]
    theirs = others.StableAdamW(params, kahan_sum=False, **settings)
    places = path(StableAdamW, backend, **settings)
    for grads, place in zip(gradients(), places, strict=True):
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        theirs.step()
        found = torch.stack([param.detach() for param in params]).numpy()
        np.testing.assert_allclose(place, found, rtol=2e-5, atol=1e-6)


def test_stable_adamw_takes_shorter_steps_after_a_surprise() -> None:
    """Gradients 1, then 3, with β2 = 1/2: v̂ = (1/4 + 9/2) / (3/4) = 19/3, RMS = √(9 · 3/19)."""
    param = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimizer = StableAdamW([param], lr=1.0, betas=(0.0, 0.5), eps=0.0, weight_decay=0.0)
    for grad in (1.0, 3.0):
        param.grad = torch.full_like(param, grad)
        optimizer.step()
    rms = (27 / 19) ** 0.5
    assert param.tolist() == pytest.approx([-1 - 3 / (19 / 3) ** 0.5 / rms] * 5, rel=1e-14)


MARS_GRADIENTS = [
    [[0.0, 0.0], [0.0, 0.0]],  # in the first step, the authors' code has a correction
    [[1.0, -0.5], [0.25, 2.0]],
    [[0.3, 0.1], [-0.2, 0.1]],
    [[-1.0, 2.0], [0.5, -0.5]],
    [[0.02, 0.01], [-0.03, 0.04]],
    [[0.5, 0.5], [-0.5, 0.5]],
]


@pytest.mark.parametrize(
    ("cls", "settings", "expected"),
    [
        (MARSAdamW, {"betas": (0.8, 0.9)}, [0.849562, -0.969808, 0.491947, 1.821261]),
        (MARSLion, {"beta": 0.8}, [0.647401, -1.04146, 0.5727, 1.980941]),
    ],
)
@BACKENDS
def test_mars_as_the_authors_code(
    backend: str, cls: Any, settings: dict[str, Any], expected: list[float]
) -> None:
    """What ``mars.py`` of AGI-Arena/MARS, commit 4831e28, makes of these gradients."""
    param = torch.nn.Parameter(torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64))
    optimizer = cls([param], lr=0.1, weight_decay=0.1, gamma=0.5, backend=backend, **settings)
    for grad in MARS_GRADIENTS:
        param.grad = torch.tensor(grad, dtype=torch.float64)
        optimizer.step()
    assert param.flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("zeros", ["param", "grad"])
@pytest.mark.parametrize("cls", [LAMB, LARS])
@BACKENDS
def test_a_tensor_of_zeros_is_not_left_alone(
    backend: str, cls: type[RuleOptimizer], zeros: str
) -> None:
    """Its ratio of norms counts as one."""
    param = torch.nn.Parameter(torch.zeros(3) if zeros == "param" else torch.ones(3))
    optimizer = cls([param], lr=0.5, weight_decay=0.0, backend=backend)
    param.grad = torch.ones(3) if zeros == "param" else torch.zeros(3)
    optimizer.step()
    expected = -0.5 if zeros == "param" else 1.0
    assert param.tolist() == pytest.approx([expected] * 3, rel=1e-5)
