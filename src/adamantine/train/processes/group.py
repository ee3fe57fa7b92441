"""The processes of a run, by ``torch.distributed``: gloo on the CPU, NCCL on CUDA."""

import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from typing_extensions import Self, override

from adamantine.errors import (
    DivergedError,
    ProcessLostError,
    SaidElsewhereError,
    UsageError,
)
from adamantine.train.processes.alone import Alone
from adamantine.train.processes.launch import Launch
from adamantine.train.seeds import rng_state, set_rng_state
from adamantine.train.tables import is_sparse_table
from adamantine.workloads.protocol import Batch

R = TypeVar("R")
TIMEOUT = timedelta(minutes=10)
"""How long a process waits for another one: for a checkpoint to be written, kernels to compile."""
SAY = timedelta(seconds=3)
"""How long who has only seen another's end waits for that one to say why."""
GRACE = timedelta(seconds=5)
"""How long the others let the first process draw the curves of a run that has diverged."""


class Group(Alone):
    """Of the processes that torchrun has started, the one that this is; to be entered.

    A batch is cut into as many slices as there are processes. The mean over processes of the
    slices' losses, weighted by their examples, is the whole batch's; so is that of the gradients.

    Of an error one process speaks, whichever comes to it first; the others leave with
    :class:`SaidElsewhereError`.

    Parameters
    ----------
    launch
        This process's place.
    kind
        ``"ddp"`` or ``"fsdp"``.
    """

    def __init__(self, launch: Launch, kind: str) -> None:
        self.launch, self.kind = launch, kind
        self.count, self.is_first = launch.count, launch.rank == 0
        self._weight = 1.0

    def __enter__(self) -> Self:
        if not self.is_first:
            warnings.simplefilter("ignore")  # they are the first one's, too
        # Ctrl-C reaches all processes, at different steps. One of a machine heeds it, and the
        # others end because it does.
        if self.launch.local_rank:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        with self._watch():
            store, rank, count = next(rendezvous("env://", timeout=TIMEOUT))
            store.set_timeout(TIMEOUT)
            # torchrun may keep its store over restarts, with the addresses of those that are gone.
            store = PrefixStore(f"start {self.launch.restarts} of {count}", store)
            cuda = torch.cuda.is_available() and dist.is_nccl_available()
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=store, rank=rank, world_size=count, timeout=TIMEOUT,
            )  # fmt: skip
            self._store = PrefixStore("adamantine", store)
            if self.is_first:
                self._store.set("speakers", "0")
            self._wait()
        # Not before: it would be called only after the last of the waiting above.
        signal.signal(signal.SIGTERM, self._terminated)
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is None:
            dist.destroy_process_group()
            return
        # Nobody answers any more, so that nothing is taken down in good order.
        if isinstance(error, DivergedError) and not self.is_first:
            with suppress(Exception):
                self._store.wait(["first has left"], GRACE)
        speaks = self._speaks(error)
        if self.is_first:
            with suppress(Exception):
                self._store.set("first has left", "")
        if not speaks:
            raise SaidElsewhereError from None

    @property
    @override
    def description(self) -> dict[str, Any]:
        return {"parallel": self.kind, "processes": self.count}

    @override
    def prepared(self, model: nn.Module) -> nn.Module:
        """Batch norm sees the whole batch, or there is none; FSDP's parameters are divided.

        Raises
        ------
        UsageError
            The model has layers that would learn something else than in one process.
        """
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if norms and self.count > 1:
            if any(parameter.device.type != "cuda" for parameter in model.parameters()):
                raise UsageError(
                    "this workload's model has batch norm, which on the CPU would see each "
                    "process's part of a batch alone; train it in one process, or with "
                    "--device cuda"
                )
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        if self.kind == "fsdp":
            if any(is_sparse_table(module) for module in model.modules()):
                raise UsageError(
                    "this workload's model gives sparse gradients, which --parallel fsdp cannot "
                    "add up; give --parallel ddp"
                )
            from adamantine.train.processes.fsdp import divide

            with self._watch():
                divide(model)
        return model

    @override
    def replica(self, model: nn.Module) -> nn.Module:
        if self.kind == "fsdp":
            return model
        with self._watch():
            # One process trains models that do not use all of their parameters, so this does.
            return DistributedDataParallel(model, find_unused_parameters=True)

    @override
    def share(self, stream: Iterable[Batch], *, trains: bool) -> Iterator[Batch]:
        """Slices in the order of ranks; of a batch too small for that, the whole.

        Loaders shuffle and draw as the first process's does. What the model draws while it trains
        (dropout) is each process's own.
        """
        set_rng_state(self.first(_rng_state_of_data))
        for number, (inputs, targets) in enumerate(stream):
            if number == 0 and trains and not self.is_first:
                torch.manual_seed(int(torch.randint(2**62, ())) + self.launch.rank)
            examples = len(targets)
            if examples < self.count:
                # The mean of equal parts: every one is needed, for each takes part in the sum.
                self._weight = 1.0
                yield inputs, targets
                continue
            inputs = inputs.tensor_split(self.count)[self.launch.rank]
            targets = targets.tensor_split(self.count)[self.launch.rank]
            self._weight = len(targets) * self.count / examples
            yield inputs, targets

    @override
    def weighted(self, loss: Tensor) -> Tensor:
        return loss if self._weight == 1 else loss * self._weight

    @override
    def mean(self, values: Tensor) -> Tensor:
        with self._watch():
            values = values.clone()
            dist.all_reduce(values)
        return values / self.count

    @override
    def total(self, values: Sequence[float]) -> Sequence[float]:
        with self._watch():
            numbers = torch.tensor(values, dtype=torch.float64)
            dist.all_reduce(numbers)
        sums: list[float] = numbers.tolist()
        return sums

    @override
    def first(self, function: Callable[[], R]) -> R:
        answer: list[Any] = [False, None]
        raised: BaseException | None = None
        if self.is_first:
            try:
                answer = [True, function()]
            except BaseException as error:
                raised = error
        try:
            with self._watch():
                dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
        finally:
            if raised is not None:
                raise raised
        if not answer[0]:
            raise ProcessLostError("the first process of the run has failed")
        result: R = answer[1]
        return result

    @contextmanager
    @override
    def one_by_one(self) -> Iterator[None]:
        if self.launch.local_rank:
            self._wait()
        yield
        if not self.launch.local_rank:
            self._wait()

    @override
    def whole(self, states: R) -> R:
        if self.kind != "fsdp":
            return states
        from adamantine.train.processes.fsdp import whole

        with self._watch():
            found: R = whole(states, keep=self.is_first)
        return found

    @override
    def parts_of_model(self, saved: dict[str, Any], model: nn.Module) -> dict[str, Any]:
        if self.kind != "fsdp":
            return saved
        from adamantine.train.processes.fsdp import parts_of_model

        return parts_of_model(saved, model)

    @override
    def parts_of_optimizer(self, saved: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        if self.kind != "fsdp":
            return saved
        from adamantine.train.processes.fsdp import parts_of_optimizer

        return parts_of_optimizer(saved, optimizer)

    @override
    def raise_if_lost(self, error: Exception) -> None:
        if isinstance(error, dist.DistError) or (
            isinstance(error, RuntimeError) and "gloo" in str(error).lower()
        ):
            # torchrun ends this process, too, which has something left to say and to write.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            said = f"has not answered for {TIMEOUT.seconds // 60} minutes"
            late = "timed out" in str(error).lower() or "timeout" in str(error).lower()
            raise ProcessLostError(
                f"another process of the run {said if late else 'has ended'}"
            ) from error

    @contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.raise_if_lost(error)
            raise

    def _wait(self) -> None:
        """For all processes. Not ``dist.barrier``, which would take a GPU for it."""
        self.total([0.0])

    def _speaks(self, error: BaseException) -> bool:
        """Whether nobody else speaks of it; who has only seen another's end lets that one speak."""
        try:
            if isinstance(error, ProcessLostError):
                with suppress(dist.DistError):
                    self._store.wait(["somebody speaks"], SAY)
            speaks: bool = self._store.add("speakers", 1) == 1
            if speaks:
                self._store.set("somebody speaks", "")
        except Exception:
            return True  # whoever held the store is gone
        return speaks

    def _terminated(self, _signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ProcessLostError("another process of the run has ended, or torchrun was stopped")


def _rng_state_of_data() -> dict[str, Any]:
    """Of the generators that data are drawn by; a GPU's is the model's own."""
    return {**rng_state(), "cuda": []}
