"""Modules that see rows which are up to date."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

import adamantine
from sparse_cases import embedding, torch_may_warn

pytestmark = torch_may_warn


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)], ids=str
)
def test_attached_module_trains_as_with_dense_gradients(
    kind: type[nn.Module], dtype: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 30, (6, 3), generator=random) for _ in range(80)]
    losses = []
    for sparse in (True, False):
        torch.manual_seed(1)
        table = kind(30, 8, sparse=sparse, dtype=dtype)
        model = nn.Sequential(table, nn.Tanh(), nn.Linear(8, 1, dtype=dtype))
        optimizer = adamantine.AdamW(model.parameters(), lr=0.05, weight_decay=0.1, sparse="exact")
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80)
        handle = optimizer.attach(table)
        found = []
        for step, batch in enumerate(batches):
            optimizer.zero_grad()
            # Rows that are read twice in a step, and by keyword.
            features = table(batch) if step % 2 else table(input=batch)
            loss = (model[2](model[1](features)) - 1).square().mean()
            loss.backward()
            optimizer.step()
            scheduler.step()
            found.append(loss.item())
        losses.append(found)
        handle.remove()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-8
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)


def test_attach_catches_up_what_is_read_and_nothing_else() -> None:
    table, optimizer = embedding()
    stale = table.weight.detach().clone()
    table(torch.tensor([1]))
    assert torch.equal(table.weight, stale)  # nobody attached it
    handle = optimizer.attach(table)
    table(torch.tensor([[1, 1], [3, 0]]))
    changed = (table.weight != stale).any(1).tolist()
    assert changed == [False, True, False, True, False]
    handle.remove()
    table(torch.tensor([2]))
    assert (table.weight[2] == stale[2]).all()
    seen = table.weight.detach().clone()
    optimizer.flush()
    assert (table.weight != seen).any(1).tolist() == [False, False, True, False, True]
    flushed = table.weight.detach().clone()
    optimizer.flush()
    assert torch.equal(table.weight, flushed)


def test_attached_module_has_a_state_dict_that_is_up_to_date() -> None:
    table, optimizer = embedding()
    twin, other = embedding()
    other.flush()
    optimizer.attach(table)
    assert torch.equal(table.state_dict()["weight"], twin.weight)
    table, optimizer = embedding()
    optimizer.attach(table)
    table.load_state_dict({"weight": torch.ones(5, 2)})
    optimizer.flush()
    assert (table.weight == 1).all()


def test_attach_leaves_wrong_indices_to_the_module() -> None:
    table, optimizer = embedding()
    optimizer.attach(table)
    with pytest.raises(IndexError):
        table(torch.tensor([7]))
    assert table(torch.tensor([], dtype=torch.int64)).shape == (0, 2)


def test_attach_refuses_what_it_cannot_serve() -> None:
    _, optimizer = embedding()
    with pytest.raises(ValueError, match=r"takes an nn.Embedding or nn.EmbeddingBag, got Linear"):
        optimizer.attach(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="in none of this optimizer's groups"):
        optimizer.attach(nn.Embedding(3, 2))


def test_copy_of_an_attached_module_says_once_that_it_is_not() -> None:
    table, optimizer = embedding()
    optimizer.attach(table)
    for twin in (copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        with pytest.warns(UserWarning, match="attach"):
            twin(torch.tensor([1]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            twin(torch.tensor([1]))
    del optimizer
    table(torch.tensor([1]))
