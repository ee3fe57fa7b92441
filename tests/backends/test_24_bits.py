"""A bfloat16 and a byte as one number: by torch and compiled, against plain numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.backends.codes import master_in
from adamantine.codecs.bits24 import joined, offset_of, upper_of

EVERY_BFLOAT16 = torch.arange(1 << 16).to(torch.int16).view(torch.bfloat16)
BYTES = torch.tensor([-128, -127, -5, -1, 0, 1, 100, 127], dtype=torch.int8)
BACKENDS = ("cpu", "reference")


def stepped(
    upper: Tensor, offset: Tensor, grad: Tensor, lr: float, backend: str
) -> tuple[Tensor, Tensor]:
    """A step of SGD, whose rule is ``param - lr * grad``."""
    param = nn.Parameter(upper.clone())
    optimizer = adamantine.SGD([param], lr=lr, master="24bit", backend=backend)
    optimizer.state[param]["master"] = offset.clone()
    param.grad = grad
    optimizer.step()
    return param.detach(), optimizer.state[param]["master"]


def same(a: Tensor, b: Tensor) -> bool:
    """To the bit, but that one NaN is as good as another."""
    numbers = ~a.isnan()
    bits = [t[numbers].view(torch.int16 if t.itemsize == 2 else torch.int32) for t in (a, b)]
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(*bits)


def test_every_bfloat16_is_read_and_written_by_both_as_by_plain_numbers() -> None:
    upper = EVERY_BFLOAT16.repeat_interleave(len(BYTES))
    offset = BYTES.repeat(len(EVERY_BFLOAT16))
    results = [stepped(upper, offset, torch.zeros_like(upper), 0.0, b) for b in BACKENDS]
    assert same(results[0][0], results[1][0])
    finite = upper.isfinite()
    assert torch.equal(results[0][1][finite], results[1][1][finite])
    picked = torch.arange(3, len(upper), 131)
    expected = [
        joined(*pair) for pair in zip(upper[picked].tolist(), offset[picked].tolist(), strict=True)
    ]
    read = master_in(torch.float32, offset, upper)[picked]
    assert same(read, torch.tensor(expected))
    written = [t[picked][finite[picked]].tolist() for t in results[0]]
    parted = [(upper_of(x), offset_of(x)) for x in torch.tensor(expected)[finite[picked]].tolist()]
    assert list(zip(*written, strict=True)) == parted


@pytest.mark.parametrize("lr", [1 / 3, 1 + 2.0**-8, 1 + 2.0**-15 + 2.0**-16, 1e-3])
def test_numbers_of_more_digits_are_parted_by_both_as_by_plain_numbers(lr: float) -> None:
    """Half-way cases of both roundings are among them."""
    grad = EVERY_BFLOAT16
    zeros = torch.zeros_like(grad), torch.zeros(grad.shape, dtype=torch.int8)
    results = [stepped(*zeros, grad, lr, backend) for backend in BACKENDS]
    assert same(results[0][0], results[1][0])
    numbers = ~results[0][0].isnan()
    assert torch.equal(results[0][1][numbers], results[1][1][numbers])
    picked = torch.arange(0, len(grad), 7)[numbers[::7]]
    exact = (0.0 - grad.float() * torch.tensor(lr, dtype=torch.float32))[picked]
    found = [t[picked].tolist() for t in results[0]]
    expected = [(upper_of(x), offset_of(x)) for x in exact.tolist()]
    assert list(zip(*found, strict=True)) == expected


def test_forms_of_a_master_are_made_of_each_other() -> None:
    upper = EVERY_BFLOAT16[EVERY_BFLOAT16.isfinite()].repeat_interleave(len(BYTES))
    offset = BYTES.repeat(len(upper) // len(BYTES))
    whole = master_in(torch.float32, offset, upper)
    again = master_in(torch.int8, whole, upper)
    assert same(master_in(torch.float32, again, upper), whole)
    assert master_in(torch.int8, again, upper) is again
    away = master_in(torch.int8, whole + 1, upper)
    assert bool((away[upper.abs() < 0.25] == 0).all())


def test_elements_keep_their_places_in_any_layout() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 20, 7).to(memory_format=torch.channels_last)
    for backend in BACKENDS:
        param = nn.Parameter(image.bfloat16())
        exact = nn.Parameter(param.detach().float())
        ours = adamantine.Adam([param], master="24bit", backend=backend)
        theirs = adamantine.Adam([exact], backend=backend)
        param.grad = torch.randn(2, 3, 20, 7).bfloat16()  # contiguous, as gradients often are
        exact.grad = param.grad.float()
        ours.step()
        theirs.step()
        offset = ours.state[param]["master"]
        assert offset.stride() == param.stride()
        found = master_in(torch.float32, offset, param)
        torch.testing.assert_close(found, exact.detach(), rtol=2.0**-16, atol=0)
