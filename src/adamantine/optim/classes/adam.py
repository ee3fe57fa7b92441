"""Adam and AdamW, with AMSGrad as a switch of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.errors import BackendError, HyperparameterError, UsageError
from adamantine.optim.base import Params
from adamantine.optim.sparse import SparseMode, SparseOptimizer
from adamantine.optim.step.updates.rows import Group, Mode
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import SWITCHES, group_settings
from adamantine.rules.adam import FAMILY


class Adam(SparseOptimizer):
    r"""Adam: step sizes for each parameter from the first and second moments of its gradients.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta` for
    `weight_decay`):

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2 \\
        \theta_t &= \theta_{t-1}
            - \gamma\, \frac{m_t/(1-\beta_1^t)}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    Parameters
    ----------
    params
        Parameters, ``(name, parameter)`` pairs or group dictionaries, as for torch.
    lr
        Learning rate :math:`\gamma \ge 0`; roughly the size of a step in each parameter. A float or
        a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the moments, which average over about
        :math:`1/(1-\beta)` steps. Two floats or two tensors of one element.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty. It is added to the gradient and therefore rescaled
        with it. For decay that is not rescaled, see :class:`AdamW`.
    amsgrad
        Divide by the largest second moment so far. This needs one more state.
    foreach, fused
        Accepted where torch accepts them, but without effect: there is only one implementation, and
        it is fused.
    maximize
        Maximize the objective instead of minimizing it.
    capturable
        Let CUDA graphs record steps: counts are kept on the device. As in torch, the first step
        raises an AssertionError for parameters on the CPU. See ``docs/gpu.md``.
    differentiable
        Let autograd record the step, which then uses the reference backend.
    decoupled_weight_decay
        Decay the parameters themselves, as :class:`AdamW` does.
    cautious
        Do not move an element in steps where its update and its gradient disagree in sign; the
        other elements of its tensor move further to compensate. See Notes.
    cautious_weight_decay, decouple_lr, corrected_weight_decay, max_lr
        Other forms of a decoupled decay, for which see :class:`AdamW`.
    sparse
        How to treat sparse gradients (of ``nn.Embedding(sparse=True)``). ``"lazy"``: only the rows
        in the gradient get a step, as in ``torch.optim.SparseAdam``. ``"exact"``: the other rows
        make up for the steps they missed when they are next touched, so that after ``flush()`` the
        result is the same as with dense gradients; see ``attach()``. None: an error, as in torch.
    backend
        ``"auto"`` uses compiled kernels for dense parameters in main memory and on GPUs. It updates
        all others by torch's operations on whole lists of tensors, and where that cannot be, tensor
        by tensor: in 8-bit or stochastically rounded states, in groups with
        ``differentiable=True``, for tensors that share memory, and whenever a mode or transform has
        to observe every operation. ``"cpu"``, ``"gpu"`` and ``"lists"`` raise if these cannot be
        used. ``"reference"`` goes tensor by tensor. The results agree up to rounding.
    options
        Options that every optimizer has; see ``adamantine.Options``.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    A first run of nearly anything: it needs little tuning, and copes with gradients that are noisy
    or differ in size from layer to layer, as in transformers, embeddings and recurrent networks.

    Not for
    -------
    Regularisation: the L2 penalty is divided by the root along with the gradient, and is reduced
    least where gradients are small; use :class:`adamantine.AdamW`. Tight memory: the state is twice
    the size of the parameters. Image classifiers with a well tuned schedule, which often end better
    with :class:`adamantine.SGD`.

    State
    -----
    8 bytes a parameter, 12 with `amsgrad`.

    Notes
    -----
    As in torch, the maximum of `amsgrad` is taken over the second moment without bias correction.

    With `cautious`, elements whose momentum and gradient disagree in sign do not move. The update
    of the others is divided by their share of the tensor, but by no less than 0.001. This keeps
    outdated momentum from doing harm after the gradient has changed direction; the authors report
    faster training of language models with unchanged settings. It costs a second pass over
    gradients and momentum. torch has no such setting, so a group contains it only if it is on.

    References
    ----------
    Kingma and Ba, `Adam: A Method for Stochastic Optimization <https://arxiv.org/abs/1412.6980>`_,
    ICLR 2015, Algorithm 1. `amsgrad`: Reddi, Kale and Kumar, `On the Convergence of Adam and Beyond
    <https://arxiv.org/abs/1904.09237>`_, ICLR 2018, Algorithm 2. `cautious`: Liang, Chen, Liu
    and Liu, `Cautious Optimizers: Improving Training with One Line of Code
    <https://arxiv.org/abs/2411.16085>`_, 2024, Algorithm 1, with the bound of the authors' code.

    Examples
    --------
    >>> import torch
    >>> from adamantine import Adam
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = Adam(model.parameters(), lr=1e-3)
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        cautious: bool = False,
        cautious_weight_decay: bool = False,
        decouple_lr: bool = False,
        corrected_weight_decay: bool = False,
        max_lr: float | None = None,
        sparse: SparseMode | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        _check_tensor_settings(lr, betas, by_number=bool(foreach) and not capturable)
        _check_decay(locals())
        settings = group_settings(locals(), only_if_on=SWITCHES)
        super().__init__(params, settings, backend, options, sparse)

    @classmethod
    def _as_torch(cls, _group: Group) -> Mode:
        raise BackendError(
            "Adam does not support sparse gradients, please consider SparseAdam instead: here, "
            "sparse='lazy' does its steps, and sparse='exact' those of dense gradients"
        )


class AdamW(Adam):
    r"""Adam with decoupled weight decay.

    With :math:`m_t, v_t` as in :class:`adamantine.Adam`:

    .. math::
        \theta_t &= (1 - \gamma\lambda)\, \theta_{t-1}
            - \gamma\, \frac{m_t/(1-\beta_1^t)}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    The decay does not pass through the moments: this is not Adam with an L2 penalty.

    Parameters
    ----------
    weight_decay
        :math:`\lambda \ge 0`; a parameter whose gradient is zero shrinks by a share
        :math:`\gamma\lambda` in each step.
    cautious
        As for :class:`adamantine.Adam`; all parameters decay, whether they move or not.
    cautious_weight_decay
        Decay only the elements whose update also goes towards zero (or is zero).
    decouple_lr
        Multiply the decay by :math:`\gamma_t/\gamma_{max}`, the factor of the schedule, and not by
        :math:`\gamma_t`. A new learning rate then leaves the decay alone. In the place of a
        `weight_decay` of 0.01 at a rate of 1e-3, give 1e-5.
    corrected_weight_decay
        Let :math:`\lambda` follow the schedule: multiply it by :math:`\gamma_t/\gamma_{max}`.
    max_lr
        :math:`\gamma_{max} > 0` of these two; None for the group's `lr` at the start.
        ``OneCycleLR`` sets it.
    params, lr, betas, eps, amsgrad, maximize, foreach, capturable, differentiable, fused, sparse
        As for :class:`adamantine.Adam`.
    backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Transformers, fine-tuning, and anything else for which Adam is used with weight decay: `lr` and
    `weight_decay` can be tuned one after the other.

    Not for
    -------
    Biases, norms and embeddings in the same group as the weights: give them a group with
    ``weight_decay=0``. Tight memory: the state is twice the size of the parameters.

    State
    -----
    8 bytes a parameter, 12 with `amsgrad`.

    Notes
    -----
    The paper multiplies the decay by the schedule's factor alone, as `decouple_lr` does; torch
    multiplies it by the whole learning rate, and so do we.

    `corrected_weight_decay` is meant for layers that a normalisation follows: there, gradients grow
    in inverse proportion to the weights, whose size a constant decay ties to the learning rate, and
    so they explode when a schedule ends. Give the other layers a group without it. For
    `cautious_weight_decay`, the authors report lower losses of language models and image
    classifiers at unchanged settings. torch has none of these settings, so a group contains only
    those that are on.

    References
    ----------
    Loshchilov and Hutter, `Decoupled Weight Decay Regularization
    <https://arxiv.org/abs/1711.05101>`_, ICLR 2019, Algorithm 2. `corrected_weight_decay`: Defazio,
    `Why Gradients Rapidly Increase Near the End of Training <https://arxiv.org/abs/2506.02285>`_,
    2025, Algorithm 1 (AdamC). `cautious_weight_decay`: Chen et al., `Cautious Weight Decay
    <https://arxiv.org/abs/2510.12402>`_, 2025, Algorithm 1.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
        cautious_weight_decay: bool = False,
        decouple_lr: bool = False,
        corrected_weight_decay: bool = False,
        max_lr: float | None = None,
        sparse: SparseMode | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            params,
            **group_settings(locals()),
            decoupled_weight_decay=True,
            sparse=sparse,
            backend=backend,
            **options,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True  # whatever an Adam's checkpoint said


def _check_decay(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a decoupled decay that is none, or that has no highest learning rate."""
    named = [name for name in settings if name in SWITCHES - {"cautious"} and settings[name]]
    if named and not settings.get("decoupled_weight_decay", True):
        raise UsageError(
            f"{named[0]} is for decoupled weight decay; use AdamW, or decoupled_weight_decay=True"
        )
    max_lr = settings.get("max_lr")
    if max_lr is not None and not max_lr > 0:
        raise HyperparameterError(f"Invalid max_lr: {max_lr} (expected > 0, or None)")


def _check_tensor_settings(lr: Any, betas: Any, by_number: bool) -> None:
    """Torch's rules for settings given as tensors; `by_number` where its foreach takes none."""
    if by_number and isinstance(lr, Tensor):
        raise UsageError("lr as a Tensor is not supported for capturable=False and foreach=True")
    tensors = [beta for beta in betas if isinstance(beta, Tensor)]
    if len(tensors) not in (0, len(betas)) or not all(isinstance(b, Tensor | float) for b in betas):
        raise UsageError(f"betas must be either both floats or both Tensors, got {betas}")
    for index, beta in enumerate(tensors):
        if by_number:
            raise UsageError(
                f"betas[{index}] as a Tensor is not supported for capturable=False and foreach=True"
            )
        if beta.numel() != 1:
            raise UsageError(f"Tensor betas[{index}] must be 1-element")
