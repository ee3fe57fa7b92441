"""Optimizers that take sparse gradients, as ``nn.Embedding(sparse=True)`` makes them."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from adamantine.backends import BackendName
from adamantine.errors import UsageError
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.step.outside import outside_the_graph
from adamantine.optim.step.updates.rows import Group, Mode, bring_up_to_date, catch_up

SparseMode = Literal["lazy", "exact"]
MODES: tuple[str, ...] = get_args(SparseMode)


class SparseOptimizer(RuleOptimizer):
    """A rule's optimizer that updates rows of a table where the gradient is sparse.

    Subclasses say in :meth:`_as_torch` what ``sparse=None`` means. The mode is in a parameter group
    only where it was asked for.
    """

    def __init__(
        self,
        params: Params,
        defaults: dict[str, Any],
        backend: BackendName,
        options: Mapping[str, Any],
        sparse: SparseMode | None,
    ) -> None:
        _check_mode(sparse)
        mode = {} if sparse is None else {"sparse": sparse}
        super().__init__(params, {**defaults, **mode}, backend, options)

    @outside_the_graph
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a copy of a group, after checking its settings (torch adds the group unchecked)."""
        if isinstance(param_group, dict):
            _check_mode(param_group.get("sparse"))
        super().add_param_group(param_group)

    @outside_the_graph
    def flush(self) -> None:
        """Let all rows do the steps that they missed under ``sparse="exact"``.

        Afterwards parameters and states are those of a dense optimizer. `state_dict` does this by
        itself, and so does the `state_dict` of an attached module. Call it before you read a whole
        table in any other way, and before you write to one.
        """
        for param in self._missed_steps:
            bring_up_to_date(self._missed_steps, param, self.state.get(param, {}), self.backend)

    @outside_the_graph
    def attach(self, module: nn.Embedding | nn.EmbeddingBag) -> Attachment:
        """Keep the rows that `module` reads up to date, for ``sparse="exact"``.

        Before each forward pass, the rows that it is about to read do the steps that they missed.
        Before the module's `state_dict` is saved or loaded, all rows do.

        Parameters
        ----------
        module
            An ``nn.Embedding`` or ``nn.EmbeddingBag`` whose weight this optimizer updates.

        Returns
        -------
        Attachment
            Its ``remove()`` detaches the module.

        Raises
        ------
        UsageError
            For any other module, or a weight that is in none of the groups.

        Notes
        -----
        A copy of the module is not attached, and warns when it is trained. Attach it to the copy of
        the optimizer.
        """
        if not isinstance(module, nn.Embedding | nn.EmbeddingBag):
            raise UsageError(
                f"attach() takes an nn.Embedding or nn.EmbeddingBag, got {type(module).__name__}; "
                "before reading a table in another way, call flush()"
            )
        if not any(module.weight is p for group in self.param_groups for p in group["params"]):
            raise UsageError(
                "the weight of the embedding given to attach() is in none of this optimizer's "
                "groups; pass its parameters to the optimizer, and attach after model.to(...)"
            )
        return Attachment(self, module)

    @outside_the_graph
    def state_dict(self, *, compact: bool = False) -> dict[str, Any]:
        """Return the state in torch's format, of rows that are up to date; its tensors are live.

        See :meth:`RuleOptimizer.state_dict`.
        """
        self.flush()
        return super().state_dict(compact=compact)

    @outside_the_graph
    def load_state_dict(self, state_dict: dict[str, Any], *, strict: bool = True) -> None:
        """Load a state that :meth:`state_dict` returned, from this package or ``torch.optim``.

        Groups keep their own `sparse`. Rows that have missed steps do them first. See
        :meth:`RuleOptimizer.load_state_dict`.
        """
        self.flush()
        super().load_state_dict(state_dict, strict=strict)
        self._missed_steps.clear()

    @classmethod
    def _sparse_mode(cls, _group: Group) -> Mode:
        mode = _group.get("sparse")
        _check_mode(mode)
        return cls._as_torch(_group) if mode is None else mode

    @classmethod
    def _as_torch(cls, group: Group) -> Mode:
        """What torch's class of this name makes of a sparse gradient; may raise what it raises."""
        raise NotImplementedError

    @outside_the_graph
    @torch.no_grad()
    def _refresh(self, weight: Tensor, indices: Any) -> None:
        """Bring those rows of `weight` up to date."""
        missed = self._missed_steps.get(weight)
        if missed is None or missed.now == 0 or not isinstance(indices, Tensor):
            return
        if len(missed.shape) != 1:
            bring_up_to_date(self._missed_steps, weight, self.state[weight], self.backend)
            return
        numbers = indices.detach().reshape(-1).to(weight.device, torch.int64)
        if len(numbers) == 0 or int(numbers.min()) < 0 or int(numbers.max()) >= len(weight):
            return  # the module itself has the better message
        catch_up(missed, weight, self.state[weight], self.backend, numbers)

    def __getstate__(self) -> dict[str, Any]:
        # Not flushed: a copy made together with the model has the rows as they are now.
        return {**super().__getstate__(), "_missed_steps": self._missed_steps}


class Attachment:
    """What :meth:`SparseOptimizer.attach` returns: the hooks that it has set."""

    def __init__(self, optimizer: SparseOptimizer, module: nn.Module) -> None:
        hooks = _Hooks(weakref.ref(optimizer))
        self._handles = [
            module.register_forward_pre_hook(hooks.read_rows, with_kwargs=True),
            cast(Any, module).register_state_dict_pre_hook(hooks.read_all),
            cast(Any, module).register_load_state_dict_pre_hook(hooks.read_all),
        ]

    def remove(self) -> None:
        """Detach the module from the optimizer."""
        for handle in self._handles:
            handle.remove()


class _Hooks:
    """Hooks of one module; a copy of them knows no optimizer."""

    def __init__(self, optimizer: Callable[[], SparseOptimizer | None] | None = None) -> None:
        self._optimizer = optimizer

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hooks, ()

    def _find(self) -> SparseOptimizer | None:
        return None if self._optimizer is None else self._optimizer()

    def read_rows(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        optimizer = self._find()
        if optimizer is not None:
            optimizer._refresh(module.weight, args[0] if args else kwargs.get("input"))
        elif self._optimizer is None and module.training and torch.is_grad_enabled():
            warnings.warn(
                "this embedding is a copy of one that an optimizer with sparse='exact' was "
                "attached to; call attach() of the copy's own optimizer, or its rows stay behind",
                stacklevel=2,
            )
            self._optimizer = lambda: None  # said once

    def read_all(self, *_: Any) -> None:
        optimizer = self._find()
        if optimizer is not None:
            optimizer.flush()


def _check_mode(mode: Any) -> None:
    if mode is not None and mode not in MODES:
        raise UsageError(
            f"unknown sparse={mode!r}; choose {' or '.join(map(repr, MODES))}, or None for what "
            "torch.optim does"
        )
