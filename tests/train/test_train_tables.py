"""Embeddings with sparse gradients, trained by an optimizer that leaves rows behind."""

import pytest
import torch
from torch import nn

import adamantine
from adamantine.train import TrainConfig, seed_everything, train
from adamantine.train.tables import is_sparse_table, up_to_date
from adamantine.workloads import Workload


class Mean(nn.Module):
    """The mean of three rows of a table, and a head."""

    def __init__(self, sparse):
        super().__init__()
        self.table = nn.Embedding(40, 3, sparse=sparse)
        self.head = nn.Linear(3, 2)

    def forward(self, words):
        return self.head(self.table(words).mean(1))


def problem(sparse):
    generator = torch.Generator().manual_seed(0)
    words = (torch.rand(60, 3, generator=generator) ** 3 * 40).long()
    data = words, (words.sum(1) > 20).long()
    return Workload("rows", lambda: Mean(sparse), data, data, nn.functional.cross_entropy)


def trained(table_is_sparse, mode=None):
    workload = problem(table_is_sparse)
    seed_everything(0)
    model = workload.model()
    optimizer = adamantine.AdamW(model.parameters(), lr=0.05, weight_decay=0.1, sparse=mode)
    record = train(workload, model, optimizer, TrainConfig(epochs=3, batch_size=4))
    losses = [loss for epoch in record.epochs for loss in (epoch.average_loss, epoch.test_loss)]
    return model, losses


def test_exact_training_is_that_of_dense_gradients():
    """Without rows that are up to date, the losses of the forward passes would be others."""
    dense, expected = trained(table_is_sparse=False)
    exact, losses = trained(table_is_sparse=True, mode="exact")
    for ours, theirs in zip(exact.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert losses == pytest.approx(expected, rel=1e-4)
    lazy, _ = trained(table_is_sparse=True, mode="lazy")
    assert not lazy.table.weight.allclose(dense.table.weight, atol=1e-2)


def test_tables_are_attached_while_it_lasts_and_no_longer():
    model = nn.ModuleList(
        [nn.Embedding(5, 2, sparse=True), nn.Embedding(5, 2), nn.EmbeddingBag(5, 2, sparse=True)]
    )
    frozen = nn.Embedding(5, 2, sparse=True)
    model.append(frozen)
    assert [is_sparse_table(module) for module in model] == [True, False, True, True]
    params = [param for module in model[:3] for param in module.parameters()]
    optimizer = adamantine.Adam(params, sparse="exact")

    def hooks():
        return [len(module._forward_pre_hooks) for module in model]

    with up_to_date(model, optimizer):
        assert hooks() == [1, 0, 1, 0]
    assert hooks() == [0, 0, 0, 0]
    with pytest.raises(KeyError), up_to_date(model, optimizer):
        raise KeyError
    assert hooks() == [0, 0, 0, 0]


def test_rows_are_up_to_date_at_the_end():
    model = Mean(sparse=True)
    optimizer = adamantine.SGD(model.parameters(), lr=1.0, momentum=0.5, sparse="exact")
    start = model.table.weight.detach().clone()
    with up_to_date(model, optimizer):
        for word in (1, 2):
            optimizer.zero_grad()
            model.table(torch.tensor([word])).sum().backward()
            optimizer.step()
    moved = (start - model.table.weight.detach())[:3, 0]
    # Row 1 went on by its momentum in the step in which it had no gradient.
    torch.testing.assert_close(moved, torch.tensor([0.0, 1.5, 1.0]))


def test_other_optimizers_are_left_alone():
    model = Mean(sparse=True)
    with up_to_date(model, torch.optim.SGD(model.parameters())):
        assert not model.table._forward_pre_hooks
