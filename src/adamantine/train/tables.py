"""Embeddings with sparse gradients: what a forward pass reads has to be up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

from torch import nn
from torch.optim import Optimizer

from adamantine.optim.sparse import SparseOptimizer


@contextmanager
def up_to_date(model: nn.Module, optimizer: Optimizer) -> Iterator[None]:
    """While it lasts, the model reads rows that have done all steps; afterwards all rows have.

    Matters where the optimizer's ``sparse="exact"`` leaves the rows behind that a batch has not
    read. Does nothing for other optimizers, and no harm where tables were attached before.
    """
    if not isinstance(optimizer, SparseOptimizer):
        yield
        return
    updated = {id(param) for group in optimizer.param_groups for param in group["params"]}
    attachments = [
        optimizer.attach(module)
        for module in model.modules()
        if is_sparse_table(module) and id(module.weight) in updated
    ]
    try:
        yield
        optimizer.flush()
    finally:
        for attachment in attachments:
            attachment.remove()


def is_sparse_table(module: nn.Module) -> TypeGuard[nn.Embedding | nn.EmbeddingBag]:
    """Whether a module's gradient names the rows that were read."""
    return isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse
