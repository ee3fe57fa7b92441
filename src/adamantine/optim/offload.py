"""States in main memory: updates of parameters that lie on an accelerator, by the CPU's kernels.

An optimizer with ``offload=True`` has a second one, *inner*, over copies of its parameters in main
memory. Both have the same states: the very same dictionaries. A step fetches the gradients, lets
the inner optimizer do its step, and sends the parameters back. What can run meanwhile does:

- With ``offload="early"`` a gradient is fetched when ``backward()`` has made it. Not without: who
  writes to a gradient afterwards (``GradScaler.unscale_``, ``all_reduce``, ``grad.data``) often
  leaves no trace that could be seen here.
- Parameters are updated in buckets, those first whose gradients come first; a bucket is updated
  while the next ones are fetched, and sent while the next one is updated.
- With clipping or skipping, which need all gradients first, only sending overlaps with updates.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adamantine.backends import links
from adamantine.backends.links import Link, Wait
from adamantine.backends.shards import is_dtensor
from adamantine.errors import BackendError, NonFiniteError, StateError, UsageError
from adamantine.optim.step.scaling.gradient_scaling import GradientScaling
from adamantine.optim.step.stats import Meter
from adamantine.optim.usage.labels import label
from adamantine.optim.usage.options import StepOptions

Group = dict[str, Any]

BUCKET = 16 * 2**20
"""Elements that are updated in one go; the next ones travel meanwhile."""


@dataclass
class _Copy:
    """A parameter, and what there is of it in main memory."""

    param: Tensor
    host: nn.Parameter
    link: Link
    bucket: int
    seen: tuple[int, int] | None = None  # the parameter's version and address that `host` holds
    buffer: Tensor | None = None  # for its gradient
    fetched: tuple[Any, int, int] | None = None  # the gradient that came early, weakly
    coming: tuple[Wait, ...] = ()
    going: Wait | None = None
    sent: bool = False  # in this step

    def check(self, groups: Sequence[Group]) -> None:
        """Raise for what cannot be fetched; before anything is."""
        grad = self.param.grad
        if grad is not None and grad.layout != torch.strided:
            raise BackendError(
                f"offload=True takes dense gradients, and that of {label(groups, self.param)} is "
                "sparse; build the layer with sparse=False"
            )
        now, made = ((t.shape, t.dtype) for t in (self.param, self.host))
        if now != made or links.link_of(self.param.device) is not self.link:
            raise StateError(
                f"{label(groups, self.param)} is {self.param.dtype} of shape "
                f"{tuple(self.param.shape)} on {self.param.device} now, and its copy in main "
                f"memory {self.host.dtype} of shape {tuple(self.host.shape)}. The parameter was "
                "replaced or moved after the first step: build the optimizer after model.to(...)"
            )

    def missing(self, early: bool) -> list[tuple[Tensor, Tensor]]:
        """What has to be fetched for a step, and where to: the gradient, unless it came `early`,
        and the parameter if somebody wrote to it.

        Whoever loads a model's state, ties weights or clamps them expects that this counts.
        """
        grad: Any = self.param.grad
        if grad is None:
            self.host.grad = None
            return []
        known, *seen = self.fetched or (_nothing,)
        here = early and seen == [grad._version, grad.data_ptr()] and known() is grad
        found = [] if here else [self.gradient(grad)]
        if self._now() != self.seen:
            found.append((self.param.detach(), self.host.detach()))
        self.host.grad = self.buffer
        return found

    def gradient(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """A gradient and its buffer."""
        if self.buffer is None:
            # As its parameter lies, so that kernels can walk both side by side.
            self.buffer = self.link.host_like(self.param.detach())
        return grad.detach(), self.buffer

    def comes(self, wait: Wait, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """These are on their way; not before, for to begin a copy may fail."""
        self.coming += (wait,)
        if any(target is not self.buffer for _, target in pairs):
            self.seen = self._now()

    def waits(self) -> tuple[Wait, ...]:
        """After these all is here, and the parameter of the step before has gone."""
        found = self.coming if self.going is None else (*self.coming, self.going)
        self.coming, self.going = (), None
        return found

    def end(self) -> None:
        """Know the parameter as it is after a step."""
        self.fetched = None
        if self.sent:
            self.seen, self.sent = self._now(), False

    def _now(self) -> tuple[int, int]:
        return self.param._version, self.param.data_ptr()


class Offload:
    """The copies in main memory, and what travels.

    Parameters
    ----------
    groups
        The optimizer's.
    early
        Whether gradients are fetched while ``backward()`` runs.

    Attributes
    ----------
    inner
        The optimizer over the copies; set by whoever makes one.
    """

    inner: Any

    def __init__(self, groups: Sequence[Group], early: bool = False) -> None:
        self._early = early
        if any(group.get("differentiable") for group in groups):
            raise UsageError(
                "differentiable=True does not go with offload=True: the update is not where "
                "autograd would record it"
            )
        params = [param for group in groups for param in group["params"]]
        copies = reversed(list(_copies(params, groups)))
        self._copies = {id(copy.param): copy for copy in copies}
        self._of_host = {id(copy.host): copy for copy in self._copies.values()}
        self._links = {id(copy.link): copy.link for copy in self._copies.values()}
        hook = _Hook(self)
        self._handles: list[RemovableHandle] = [
            p.register_post_accumulate_grad_hook(hook)
            for p in params
            if early and id(p) in self._copies and p.requires_grad and p.is_leaf
        ]

    def close(self) -> None:
        """Fetch no more."""
        for handle in self._handles:
            handle.remove()

    def host(self, param: Tensor) -> Tensor:
        """What the inner optimizer has for a parameter: itself, where that is in main memory."""
        copy = self._copies.get(id(param))
        return param if copy is None else copy.host

    def of_hosts(self, groups: Iterable[Group]) -> list[Group]:
        """These groups, with the copies as their parameters."""
        return [{**group, "params": list(map(self.host, group["params"]))} for group in groups]

    def of_devices(self, found: dict[str, Any]) -> dict[str, Any]:
        """The attributes of an optimizer over the copies, as one over the parameters has them."""
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, entry in found["state"].items():
            state[self._device(key) if isinstance(key, Tensor) else key] = entry
        groups = [
            {**group, "params": list(map(self._device, group["params"]))}
            for group in found["param_groups"]
        ]
        return {"state": state, "param_groups": groups}

    def _device(self, host: Tensor) -> Tensor:
        copy = self._of_host.get(id(host))
        return host if copy is None else copy.param

    def fits(self, groups: Sequence[Group]) -> bool:
        """Whether the inner optimizer has the parameters of these groups, and no others."""
        mine = [group["params"] for group in self.inner.param_groups]
        theirs = [list(map(self.host, group["params"])) for group in groups]
        return [list(map(id, ps)) for ps in mine] == [list(map(id, ps)) for ps in theirs]

    def step(self, groups: Sequence[Group], state: Any) -> None:
        """Fetch, let the inner optimizer do its step, and send."""
        for copy in self._copies.values():
            copy.check(groups)
        self._take_settings(groups)
        missing: dict[tuple[int, int], list[_Missing]] = {}
        for copy in self._copies.values():
            pairs = copy.missing(self._early)
            if pairs:
                missing.setdefault((copy.bucket, id(copy.link)), []).append((copy, pairs))
        for key in sorted(missing):
            _fetch(missing[key])
        self._share(groups, state, to_inner=True)
        try:
            self.inner._step()
        finally:
            for link in self._links.values():
                link.finish()
            for copy in self._copies.values():
                copy.end()
            self._share(groups, state, to_inner=False)

    def _share(self, groups: Sequence[Group], state: Any, to_inner: bool) -> None:
        """Let both optimizers have the dictionaries of states that one of them has."""
        inner = self.inner.state
        for param in (param for group in groups for param in group["params"]):
            host = self.host(param)
            entry = (state if to_inner else inner).get(param if to_inner else host)
            target, key = (inner, host) if to_inner else (state, param)
            if entry is None:
                target.pop(key, None)
            elif target.get(key) is not entry:
                target[key] = entry

    def _take_settings(self, groups: Sequence[Group]) -> None:
        """What schedulers, or anybody, have changed in the groups."""
        for group, inner in zip(groups, self.inner.param_groups, strict=True):
            for name, value in group.items():
                if name != "params" and inner.get(name) is not value:
                    inner[name] = value
            for gone in inner.keys() - group.keys():
                del inner[gone]

    # What the inner optimizer's plan asks:

    def bucket(self, host: Tensor) -> int:
        """Which bucket a copy is updated with."""
        copy = self._of_host.get(id(host))
        return 0 if copy is None else copy.bucket

    def before(self, hosts: Iterable[Tensor]) -> None:
        """These are about to be read, and perhaps written."""
        for wait in dict.fromkeys(
            wait for copy in self._taking_part(hosts) for wait in copy.waits()
        ):
            wait()

    def after(self, hosts: Iterable[Tensor]) -> None:
        """These have been updated."""
        by_link: dict[int, list[_Copy]] = {}
        for copy in self._taking_part(hosts):
            by_link.setdefault(id(copy.link), []).append(copy)
        for copies in by_link.values():
            sources = [copy.host.detach() for copy in copies]
            wait = copies[0].link.send(sources, [copy.param.detach() for copy in copies])
            for copy in copies:
                copy.going, copy.sent = wait, True

    def _taking_part(self, hosts: Iterable[Tensor]) -> list[_Copy]:
        """Of parameters on a device that have a gradient, what there is of them here."""
        found = ((host, self._of_host.get(id(host))) for host in hosts)
        return [copy for host, copy in found if copy is not None and host.grad is not None]

    def on_gradient(self, param: Tensor) -> None:
        """``backward()`` has made a gradient."""
        grad = param.grad
        if grad is not None and grad.layout == torch.strided:
            copy = self._copies[id(param)]
            copy.fetched = None  # whatever it was, this is another one, or more was added to it
            _fetch([(copy, [copy.gradient(grad)])])
            copy.fetched = (weakref.ref(grad), grad._version, grad.data_ptr())


def _copies(params: Sequence[Tensor], groups: Sequence[Group]) -> Iterator[_Copy]:
    """Of all that lie on a device; buckets from the last parameter on, whose gradient is first."""
    elements = 0
    for param in reversed(params):
        if is_dtensor(param):
            raise UsageError(
                f"offload=True does not take {label(groups, param)}, which is a DTensor; FSDP2 "
                "keeps states in main memory by fully_shard(..., offload_policy=CPUOffloadPolicy())"
            )
        link = links.link_of(param.device)
        if link is not None:
            host = nn.Parameter(link.host_like(param.detach()), param.requires_grad)
            yield _Copy(param, host, link, elements // BUCKET)
            elements += param.numel()


_Missing = tuple[_Copy, list[tuple[Tensor, Tensor]]]


def _fetch(missing: Sequence[_Missing]) -> None:
    """Begin to fetch all of these in one go; they come by one link."""
    pairs = [pair for _, pairs in missing for pair in pairs]
    wait = missing[0][0].link.fetch(
        [source for source, _ in pairs], [target for _, target in pairs]
    )
    for copy, pairs in missing:
        copy.comes(wait, pairs)


def _nothing() -> None:
    """A reference to what is gone."""


class StepsOffloaded:
    """What :class:`.RuleOptimizer` needs to have its states in main memory."""

    param_groups: list[Group]
    state: defaultdict[Any, Any]
    _step_options: StepOptions
    _gradient_scaling: GradientScaling
    _meter: Meter
    _offload: Offload | None = None

    def _twin(self, groups: list[Group], options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _step_offloaded(self) -> None:
        """Do a step whose gradients are there; what becomes of them is the caller's."""
        offload = self._offloaded()
        inner = offload.inner
        for name in ("grad_scale", "found_inf"):  # a GradScaler sets them, and takes them away
            inner.__dict__[name] = self.__dict__.get(name)
        scaled = inner._factor_of() is not None
        try:
            offload.step(self.param_groups, self.state)
        except NonFiniteError:
            if scaled:
                self._gradient_scaling.unscale_gradients(self.param_groups)
            raise
        if scaled and not self._step_options.zero_grad:
            self._gradient_scaling.unscale_gradients(self.param_groups)

    def _offloaded(self) -> Offload:
        """Copies of the parameters in main memory, with an optimizer; made when first needed."""
        if self._offload is None or not self._offload.fits(self.param_groups):
            self._drop_offload()
            offload = Offload(self.param_groups, early=self._step_options.offload == "early")
            options = {**self._step_options.given(), "offload": False, "zero_grad": True}
            inner = offload.inner = self._twin(offload.of_hosts(self.param_groups), options)
            inner._travel, inner._meter = offload, self._meter
            inner._gradient_scaling = self._gradient_scaling
            self._offload = offload
        return self._offload

    def _drop_offload(self) -> None:
        if self._offload is not None:
            self._offload.close()
        self._offload = None

    def _groups_of_states(self) -> list[Group]:
        """The groups, with parameters that lie where their states do."""
        if not self._step_options.offload:
            return self.param_groups
        return self._offloaded().of_hosts(self.param_groups)

    def _of_parameters(self, found: dict[str, Any]) -> dict[str, Any]:
        """What was loaded for these, for the groups."""
        return found if self._offload is None else self._offload.of_devices(found)


class _Hook:
    """Holds its target weakly: Python cannot collect a cycle through autograd."""

    def __init__(self, target: Offload) -> None:
        self._target = weakref.ref(target)

    def __call__(self, param: Tensor) -> None:
        target = self._target()
        if target is not None:
            target.on_gradient(param)
