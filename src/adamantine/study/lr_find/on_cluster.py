"""Short trainings as tasks of a Ray cluster."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from adamantine import workloads
from adamantine.errors import AdamantineError
from adamantine.study.lr_find.short_runs import OnStep, Runs, builder_of
from adamantine.study.runs.ray_pool import Lost, RayPool
from adamantine.study.runs.tasks import ATTEMPTS
from adamantine.study.runs.workers import portable
from adamantine.workloads.protocol import Workload

_loaded: dict[tuple[str, str | None], Workload] = {}
"""In a worker: workloads that it has loaded."""
SECONDS_BETWEEN_CHECKS = 0.1


class ClusterRuns:
    """As :class:`~adamantine.study.lr_find.short_runs.Runs`, on other machines as well.

    The parameters are those of :func:`~adamantine.study.lr_find.lr_find.find_learning_rate`.
    """

    def __init__(
        self,
        cluster: str,
        workload: str,
        data_dir: str | Path | None,
        optimizer: str,
        settings: Mapping[str, Any] | None,
        batch_size: int,
        device: torch.device | str,
        on_step: OnStep | None,
    ) -> None:
        self._threads = torch.get_num_threads()
        gpus = int(torch.device(device).type != "cpu")
        self._pool = RayPool(cluster, cpus=self._threads, gpus=gpus)
        folder = None if data_dir is None else str(Path(data_dir).resolve())
        self._what = (workload, folder, optimizer, settings, batch_size, str(device))
        self._on_step = on_step or (lambda *_: None)
        self.optimizer_name = ""
        self.taken = 0

    def run_all(self, what: str, seeds: Iterable[int], rates: Sequence[float]) -> list[list[float]]:
        """The losses of each seed's run.

        Raises
        ------
        AdamantineError
            A run failed, and not because it had diverged; or its worker or node died each time.
        """
        wanted = list(seeds)
        for seed in wanted:
            self._pool.add(seed, _short_run, self._threads, self._what, what, seed, list(rates))
        losses: dict[int, list[float]] = {}
        while self._pool.busy:
            results, _ = self._pool.finished(SECONDS_BETWEEN_CHECKS)
            for seed, result in results:
                if isinstance(result, Lost):
                    raise AdamantineError(
                        f"the worker that trained {what}, seed {seed}, died {ATTEMPTS} times "
                        f"({result.reason}); the same command tries it again"
                    )
                if isinstance(result, AdamantineError):
                    raise result
                losses[seed], steps, self.optimizer_name = result
                self.taken += steps
            self._on_step(what, len(losses), len(wanted))
            self._pool.hand_out()
        return [losses[seed] for seed in wanted]

    def close(self) -> None:
        """Stop what is running."""
        self._pool.close()


def _short_run(
    threads: int, what: tuple[Any, ...], name: str, seed: int, rates: Sequence[float]
) -> tuple[list[float], int, str] | AdamantineError:
    """In the worker: its losses, the steps that it took, and the optimizer's name."""
    torch.set_num_threads(threads)
    workload, folder, optimizer, settings, batch_size, device = what
    try:
        if (workload, folder) not in _loaded:
            _loaded[workload, folder] = workloads.load(workload, folder)
        loaded = _loaded[workload, folder]
        runs = Runs(loaded, builder_of(optimizer, settings), None, batch_size, device, None)
        return runs.run(name, seed, rates), runs.taken, runs.optimizer_name
    except BaseException as error:
        return portable(error, None)
