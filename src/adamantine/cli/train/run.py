"""What ``adamantine train`` does."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from adamantine import workloads
from adamantine.cli.interrupt import Interrupted
from adamantine.cli.options.machine import find_device, use_threads
from adamantine.cli.options.optimizers import check_settings, check_sparse
from adamantine.cli.output.terminal import note
from adamantine.cli.train.options import TrainOptions, from_json
from adamantine.cli.train.output import TrainOutput, train_output
from adamantine.errors import AdamantineError, DivergedError, UsageError
from adamantine.optim.by_name import build
from adamantine.report import curves_png, stats_png
from adamantine.train import RunFolder, seed_everything, train
from adamantine.train.diagnosis import failure
from adamantine.train.files import write_bytes
from adamantine.train.folder import IfExists


def run_train(
    options: TrainOptions,
    *,
    out: Path | None,
    if_exists: IfExists,
    allow_changed_data: bool,
    batch_size_given: bool,
    as_json: bool,
) -> None:
    """Train as asked, print every epoch, and leave the record in `out`.

    What can be wrong with the request is looked for before any data is loaded.
    """
    folder = RunFolder(out) if out is not None else None
    if folder:
        folder.claim(if_exists)
    config = options.config
    check_settings(options.optimizer, options.settings)
    threads = use_threads(options.threads, options.workload)
    device = find_device(options.device)
    options = replace(options, threads=threads, device=str(device))
    output = train_output(as_json=as_json)
    try:
        workload = workloads.load(options.workload, options.data_dir, progress=output.on_terminal)
        if batch_size_given and not workloads.in_memory(workload.train):
            raise UsageError(
                f"workload {options.workload} brings batches of its own; leave out --batch-size"
            )
        seed_everything(options.seed)
        model = workload.model().to(device)
        check_sparse(options.optimizer, options.settings, model)
        with output.interrupt:
            record = train(
                workload,
                model,
                build(options.optimizer, model.named_parameters(), options.settings),
                config,
                out=out,
                if_exists=if_exists,
                allow_changed_data=allow_changed_data,
                callbacks=output,
                options=options.to_json(),
            )
    except KeyboardInterrupt:
        raise Interrupted(_how_to_go_on(folder, output)) from None
    except DivergedError:
        if folder:
            draw(folder)
        raise
    except Exception as error:
        if isinstance(error, AdamantineError | BrokenPipeError) or not output.began:
            raise
        raise failure(error, _in_words(options, output)) from error
    finally:
        output.close()
    if folder:
        if not output.epochs:
            note(f"The run in {folder.path} is finished: {len(record.epochs)} epochs")
        draw(folder)
        note(f"Saved in {folder.path}: {', '.join(sorted(p.name for p in folder.files()))}")


def options_to_resume(out: Path) -> dict[str, Any]:
    """The options of the run in `out`; none, with a note that says so, where there is no run."""
    folder = RunFolder(out)
    earlier = folder.read()
    if earlier is None:
        note(f"No run in {out} yet: starting from the beginning")
        return {}
    return from_json(earlier.options, str(folder.run))


def draw(folder: RunFolder) -> None:
    """Draw the run's curves, if it has any epochs yet, and what was measured of its steps."""
    record = folder.read()
    if record and record.epochs:
        write_bytes(folder.curves, curves_png(record))
        if any(epoch.parameters for epoch in record.epochs):
            write_bytes(folder.stats, stats_png(record))


def _in_words(options: TrainOptions, output: TrainOutput) -> str:
    """The run, and how far it has come: for an error that has another cause than divergence."""
    settings = "".join(f"{name}={value}, " for name, value in options.settings.items())
    run = f"{options.optimizer} with {settings}batch_size={options.batch_size}"
    return f"training {options.workload} by {run} and seed {options.seed} ({output.place})"


def _how_to_go_on(folder: RunFolder | None, output: TrainOutput) -> str:
    if not output.began:
        return "interrupted before the training began"
    if folder is None:
        return "interrupted; nothing is saved, for there was no --out"
    record = folder.read()
    done = len(record.epochs) if record else 0
    command = f"adamantine train --resume --out {shlex.quote(str(folder.path))}"
    return f"interrupted; {done} epochs are saved. Go on with: {command}"
