"""What ``adamantine lr-find`` does."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamantine import workloads
from adamantine.cli.interrupt import Interrupted
from adamantine.cli.lr_find.output import Watch, summary
from adamantine.cli.options.machine import find_device, use_threads
from adamantine.cli.options.optimizers import check_settings, check_sparse
from adamantine.cli.output.files import make_folder
from adamantine.errors import UsageError
from adamantine.report.lr_find import lr_find_png
from adamantine.study.lr_find.lr_find import check_search, find_learning_rate
from adamantine.study.runs.ray_pool import check_cluster
from adamantine.train.files import write_atomically, write_text


@dataclass(frozen=True)
class LrFindOptions:
    """What was asked for."""

    workload: str
    optimizer: str
    settings: Mapping[str, Any]
    seeds: int
    steps: int
    low: float
    high: float
    batch_size: int
    batch_size_given: bool
    seed: int
    threads: int | None
    cluster: str | None
    device: str
    data_dir: Path | None


def run_lr_find(options: LrFindOptions, out: Path, *, as_json: bool) -> None:
    """Search as asked, print what was found, and leave the picture and the record in `out`.

    What can be wrong with the request is looked for before any data is loaded.
    """
    check_settings(options.optimizer, options.settings)
    check_search(options.seeds, options.steps, options.low, options.high, options.seed)
    check_cluster(options.cluster)
    use_threads(options.threads, options.workload)
    device = find_device(options.device)
    make_folder(out)
    workload = workloads.load(options.workload, options.data_dir, progress=sys.stderr.isatty())
    if options.batch_size_given and not workloads.in_memory(workload.train):
        raise UsageError(
            f"workload {options.workload} brings batches of its own; leave out --batch-size"
        )
    check_sparse(options.optimizer, options.settings, workload.model())
    watch = Watch()
    try:
        with watch.interrupt:
            record = find_learning_rate(
                workload if options.cluster is None else options.workload,
                options.optimizer,
                settings=options.settings,
                seeds=options.seeds,
                steps=options.steps,
                low=options.low,
                high=options.high,
                batch_size=options.batch_size,
                seed=options.seed,
                device=device,
                on_step=watch.on_step,
                data_dir=options.data_dir,
                cluster=options.cluster,
            )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written") from None
    finally:
        watch.close()
    picture, data = out / "lr_find.png", out / "lr_find.json"
    png = lr_find_png(record)
    write_atomically(picture, lambda file: file.write(png))
    write_text(data, json.dumps(record.to_json(), indent=2, allow_nan=False) + "\n")
    if as_json:
        print(json.dumps({"picture": str(picture), **record.to_json()}, allow_nan=False))
    else:
        print(summary(record))
        print(f"Picture: {picture}\nRecord: {data}")
