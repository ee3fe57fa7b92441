"""What ``adamantine train`` does."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from adamantine import workloads
from adamantine.cli.interrupt import Interrupted
from adamantine.cli.options.machine import find_device, use_threads
from adamantine.cli.options.optimizers import check_settings, check_sparse
from adamantine.cli.output.files import PAGE
from adamantine.cli.output.terminal import note
from adamantine.cli.train.options import TrainOptions, from_json
from adamantine.cli.train.output import TrainOutput
from adamantine.cli.train.processes import (
    check_options,
    device_of,
    how_to_go_on,
    options_of,
    output_of,
    restarted,
)
from adamantine.errors import AdamantineError, DivergedError, ProcessLostError, UsageError
from adamantine.optim.by_name import build
from adamantine.report import curves_png, run_html, stats_png
from adamantine.study.statistics.wording import counted
from adamantine.trackers.session import check as check_trackers
from adamantine.train import RunFolder, seed_everything, train
from adamantine.train.diagnosis import failure
from adamantine.train.files import write_bytes, write_text
from adamantine.train.folder import IfExists
from adamantine.train.processes.alone import Alone


def run_train(
    options: TrainOptions,
    *,
    out: Path | None,
    if_exists: IfExists,
    allow_changed_data: bool,
    batch_size_given: bool,
    as_json: bool,
    processes: Alone,
    log: Sequence[str] = (),
    live: bool = False,
) -> None:
    """Train as asked, print every epoch, and leave the record in `out`.

    What can be wrong with the request is looked for before any data is loaded.
    """
    folder = RunFolder(out) if out is not None else None
    if earlier := processes.first(lambda: restarted(processes, folder)):
        if_exists = "resume"
        if processes.is_first:
            note(
                f"Started again by torchrun: going on after {counted(len(earlier.epochs), 'epoch')}"
            )
    processes.first(lambda: check_trackers(log, out))
    if folder:
        processes.first(lambda: folder.claim(if_exists))
    config = options.config
    check_settings(options.optimizer, options.settings)
    check_options(processes, options.settings.get("state_dtype"))
    threads = use_threads(options.threads, options.workload)
    device = find_device(device_of(processes, options.device))
    shared = processes.count > 1
    options = replace(options, threads=threads, device=device.type if shared else str(device))
    output = output_of(processes, as_json=as_json, live=live)
    try:
        with processes.one_by_one():  # the first one of a machine may have to fetch the data
            bar = output.on_terminal
            workload = workloads.load(options.workload, options.data_dir, progress=bar)
        if batch_size_given and not workloads.in_memory(workload.train):
            raise UsageError(
                f"workload {options.workload} brings batches of its own; leave out --batch-size"
            )
        seed_everything(options.seed)
        model = workload.model().to(device)
        check_sparse(options.optimizer, options.settings, model)
        model = processes.prepared(model)
        with output.interrupt if processes.is_first else nullcontext():
            record = train(
                workload,
                model,
                build(options.optimizer, model, options.settings),
                config,
                out=out,
                if_exists=if_exists,
                allow_changed_data=allow_changed_data,
                callbacks=output,
                options=options.to_json() | options_of(processes),
                processes=processes,
                trackers=log,
            )
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted{_what_is_saved(folder, output, processes)}") from None
    except ProcessLostError as error:
        raise ProcessLostError(f"{error}{_what_is_saved(folder, output, processes)}") from error
    except DivergedError:
        if folder and processes.is_first:
            draw(folder)
        raise
    except Exception as error:
        if isinstance(error, AdamantineError | BrokenPipeError) or not output.began:
            raise
        raise failure(error, _in_words(options, output)) from error
    finally:
        output.close()
        output.finish()
    if folder and processes.is_first:
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
        if (page := folder.path / PAGE).exists():  # of this run, when it was shorter
            write_text(page, run_html(record))


def _in_words(options: TrainOptions, output: TrainOutput) -> str:
    """The run, and how far it has come: for an error that has another cause than divergence."""
    settings = "".join(f"{name}={value}, " for name, value in options.settings.items())
    run = f"{options.optimizer} with {settings}batch_size={options.batch_size}"
    return f"training {options.workload} by {run} and seed {options.seed} ({output.place})"


def _what_is_saved(folder: RunFolder | None, output: TrainOutput, processes: Alone) -> str:
    """After an end before the end: how much is lost, and how to go on."""
    if not output.began:
        return " before the training began"
    if folder is None:
        return "; nothing is saved, for there was no --out"
    record = folder.read()
    # Another machine may not see the folder.
    done = len(record.epochs) if record else output.done
    return f"; {counted(done, 'epoch')} saved. {how_to_go_on(processes, folder.path)}"
