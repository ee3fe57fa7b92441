"""Optimizers that look at whole matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from adamantine.backends import BackendName
from adamantine.errors import UsageError
from adamantine.optim.base import Params, RuleOptimizer


class MatrixOptimizer(RuleOptimizer):
    """A rule's optimizer whose rules make something of whole matrices, all of one shape at once."""

    def __init__(
        self,
        params: Params,
        defaults: dict[str, Any],
        backend: BackendName,
        options: Mapping[str, Any],
    ) -> None:
        if options.get("offload"):
            raise UsageError(
                f"{type(self).__name__} does not take offload=True: its products of matrices would "
                "be computed in main memory; use state_dtype or master to save memory"
            )
        super().__init__(params, defaults, backend, options)

    def step_in_backward(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: a gradient would wait for all others of its shape."""
        raise UsageError(
            f"{type(self).__name__} does not step in backward(): it looks at all matrices of one "
            "shape at once, and their gradients would have to wait for each other; call step()"
        )
