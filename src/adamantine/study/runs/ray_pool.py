"""Calls done by a Ray cluster, each begun twice at most."""

import importlib
import importlib.util
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamantine.errors import AdamantineError, UsageError
from adamantine.study.runs.tasks import ATTEMPTS


@dataclass(frozen=True)
class Lost:
    """What a call comes to whose worker died each time.

    Parameters
    ----------
    reason
        The last time's, in Ray's words.
    """

    reason: str


def check_cluster(cluster: str | None) -> None:
    """Raise :class:`UsageError` unless it names a cluster and Ray is installed."""
    if cluster is None:
        return
    if cluster != "ray" and not cluster.startswith("ray://"):
        raise UsageError(f"cluster is {cluster!r}, expected ray or ray://HOST:PORT")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--cluster ray needs the package ray: pip install 'adamantine[ray]'")


class RayPool:
    """A connection to a cluster, and calls that are done there.

    Parameters
    ----------
    cluster
        ``"ray"``: that of ``RAY_ADDRESS``, else one that ``ray start`` has started here, else
        one of this machine alone; ``"ray://HOST:PORT"``: that whose head is there.
    cpus, gpus
        That each call takes.
    jobs
        Calls at a time; None for as many as the cluster has room for.

    Raises
    ------
    AdamantineError
        There is no cluster at the address.
    UsageError
        No node has so many processors.
    """

    def __init__(
        self, cluster: str, *, cpus: int = 1, gpus: int = 0, jobs: int | None = None
    ) -> None:
        ray: Any = importlib.import_module("ray")  # it takes a second, and types little
        self._ray, self._jobs = ray, jobs
        self._needs = {"CPU": cpus, "GPU": gpus}
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, cluster)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for kind, number in self._needs.items():
            if all(node.get(kind, 0) < number for node in nodes):
                raise UsageError(
                    f"no node of the cluster has {number} {kind}s, which each run takes; give "
                    "fewer --threads, or another --device"
                )
        self._do = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD"
        )(_do)
        self._waiting: deque[tuple[Any, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._running: dict[Any, tuple[Any, Callable[..., Any], tuple[Any, ...]]] = {}
        self._begun: dict[Any, int] = {}

    @property
    def size(self) -> int:
        """Calls that run at a time."""
        if self._jobs is not None:
            return self._jobs
        has = self._ray.cluster_resources()
        return max(1, min(int(has.get(kind, 0) // n) for kind, n in self._needs.items() if n))

    @property
    def busy(self) -> int:
        """Calls queued or running."""
        return len(self._waiting) + len(self._running)

    def add(self, key: Any, function: Callable[..., Any], *arguments: Any) -> None:
        """Queue ``function(*arguments)``; both have to be picklable, the function by its name."""
        self._waiting.append((key, function, arguments))
        self.hand_out()

    def hand_out(self) -> None:
        """Begin as much as there is room for."""
        if not self._waiting:
            return
        for _ in range(min(self.size - len(self._running), len(self._waiting))):
            key, function, arguments = call = self._waiting.popleft()
            self._begun[key] = self._begun.get(key, 0) + 1
            paths = [path for path in sys.path if path] + [str(Path.cwd())]
            self._running[self._do.remote(paths, function, arguments)] = call

    def finished(self, seconds: float, *others: Any) -> tuple[list[tuple[Any, Any]], list[Any]]:
        """Results by their keys, of calls that have ended by now; waits so long for one.

        A result is what the call returned, or :class:`Lost`; who died for the first time is queued
        again.

        Parameters
        ----------
        others
            Ray's references that end the wait, too.

        Returns
        -------
        The results, and those of `others` that are there.
        """
        wanted = [*self._running, *others]
        ready: list[Any] = []
        if wanted:
            ready, rest = self._ray.wait(wanted, timeout=seconds)
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0) if rest else ([], [])
            ready += more
        results: list[tuple[Any, Any]] = []
        for reference in (each for each in ready if each in self._running):
            call = self._running.pop(reference)
            try:
                results.append((call[0], self._ray.get(reference)))
            except self._ray.exceptions.RayError as error:
                if self._begun[call[0]] < ATTEMPTS:
                    self._waiting.appendleft(call)
                else:
                    results.append((call[0], Lost(_reason(error))))
        return results, [each for each in ready if each in others]

    def close(self) -> None:
        """Stop all of it now."""
        self._waiting.clear()
        for reference in self._running:
            with suppress(Exception):
                self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._ours:
            self._ray.shutdown()


def _connect(ray: Any, cluster: str) -> None:
    try:
        ray.init(
            address=None if cluster == "ray" else cluster,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise AdamantineError(
            f"cannot use the cluster {cluster}: {_reason(error)}; is it running (ray status), and "
            "with this version of Ray and Python?"
        ) from error


def _do(paths: Sequence[str], function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """In the worker: what the caller can import, it can as well, if it has it."""
    sys.path += [path for path in paths if path not in sys.path and Path(path).is_dir()]
    return function(*arguments)


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
