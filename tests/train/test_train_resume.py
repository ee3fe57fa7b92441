"""Checkpoints, and runs that are stopped and go on."""

import json
import random
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import adamantine
from adamantine.errors import CheckpointError, DivergedError
from adamantine.records import RunRecord, parse_lines
from adamantine.train import Callbacks, RunFolder, TrainConfig
from adamantine.train.checkpoint import Checkpoint
from adamantine.train.schedules import NAMES

OPTIMIZERS = {
    "Adam": adamantine.Adam,
    "AdamW": partial(adamantine.AdamW, amsgrad=True),
    "SGD": partial(adamantine.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "RMSprop": partial(adamantine.RMSprop, centered=True, momentum=0.5),
    "NAdam": adamantine.NAdam,
    "Adagrad": partial(adamantine.Adagrad, initial_accumulator_value=0.1),
    "Adam in int8": partial(adamantine.Adam, state_dtype="int8", max_grad_norm=1.0),
    "AdamW in a bit of all": partial(
        adamantine.AdamW, state_dtype={"exp_avg": "bfloat16", "exp_avg_sq": "int8"}
    ),
    "AdamWScheduleFree": partial(adamantine.AdamWScheduleFree, warmup_steps=7),
    "torch's Adam": torch.optim.Adam,
}
ADAM = adamantine.Adam


class Stop(Callbacks):
    """Ctrl-C in step `step` of epoch `epoch`."""

    def __init__(self, epoch, step=2, error=KeyboardInterrupt):
        self.at, self.epoch, self.error = (epoch, step), 0, error

    def on_epoch_start(self, epoch, steps):
        self.epoch = epoch

    def on_step(self, step):
        if (self.epoch, step) == self.at:
            raise self.error


def config(**changes):
    return TrainConfig(**({"epochs": 4, "batch_size": 16, "seed": 3} | changes))


def stopped(out, epoch, optimizer=ADAM, **arguments):
    """Leave a run in `out` that was interrupted in epoch `epoch`."""
    arguments = {"config": config()} | arguments
    with pytest.raises(KeyboardInterrupt):
        tiny.run(optimizer, out=out, callbacks=Stop(epoch), **arguments)


def disturb():
    """What another process's generators would be at."""
    torch.rand(7), random.random()


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [*((name, "cosine") for name in OPTIMIZERS), *(("SGD", name) for name in NAMES)],
)
def test_a_resumed_run_gives_the_same_bits(tmp_path, optimizer, schedule):
    make, settings_ = OPTIMIZERS[optimizer], config(schedule=schedule)
    whole, expected = tiny.run(make, settings_)
    for epoch in (3, 4):
        stopped(tmp_path, epoch, make, config=settings_, **({} if epoch == 3 else RESUME))
        disturb()
    record, model = tiny.run(make, settings_, out=tmp_path, **RESUME)
    assert tiny.same_bits(model, expected)
    assert tiny.results(record) == tiny.results(whole)


RESUME = {"if_exists": "resume"}


def test_what_is_measured_is_the_same_in_a_resumed_run(tmp_path):
    """Five steps an epoch, of which the first and the fourth are measured, in each."""
    make = partial(adamantine.Adam, collect_stats=3)
    whole, _ = tiny.run(make, config())
    stopped(tmp_path, 3, make)
    record, _ = tiny.run(make, config(), out=tmp_path, **RESUME)
    assert [epoch.parameters for epoch in record.epochs] == [
        epoch.parameters for epoch in whole.epochs
    ]
    assert RunFolder(tmp_path).read().epochs == record.epochs


def test_a_loader_with_a_generator_of_its_own_goes_on_too(tmp_path):
    def problem():
        generator = torch.Generator().manual_seed(11)
        return tiny.workload(train=tiny.loader(generator=generator))

    _, expected = tiny.run(ADAM, config(), problem())
    stopped(tmp_path, 3, problem=problem())
    _, model = tiny.run(ADAM, config(), problem(), out=tmp_path, **RESUME)
    assert tiny.same_bits(model, expected)


def test_a_loader_that_draws_from_the_global_generator(tmp_path):
    problem = tiny.workload(train=tiny.loader())
    _, expected = tiny.run(ADAM, config(), problem)
    stopped(tmp_path, 2, problem=problem)
    disturb()
    _, model = tiny.run(ADAM, config(), problem, out=tmp_path, **RESUME)
    assert tiny.same_bits(model, expected)


def test_the_folder_of_a_finished_run(tmp_path):
    out = tmp_path / "deep" / "er"
    options = {"workload": "tiny", "lr": None}
    record, model = tiny.run(ADAM, config(), out=out, options=options)
    assert {path.name for path in out.iterdir()} == {"run.json", "metrics.jsonl", "checkpoint.pt"}
    assert RunFolder(out).read() == record
    assert RunRecord.from_json(json.loads((out / "run.json").read_text())).options == options
    lines = (out / "metrics.jsonl").read_text()
    assert parse_lines(lines, "metrics.jsonl") == record.epochs
    weights = torch.load(out / "checkpoint.pt", weights_only=True)["model"]
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_a_finished_run_is_refused_returned_or_overwritten(tmp_path):
    first, trained = tiny.run(ADAM, config(), out=tmp_path)
    with pytest.raises(CheckpointError, match=r"finished run \(4 epochs done\).*--overwrite"):
        tiny.run(ADAM, config(), out=tmp_path)
    again, model = tiny.run(ADAM, config(), out=tmp_path, **RESUME)
    assert again.epochs == first.epochs
    assert again.status == "finished"
    assert tiny.same_bits(model, trained)
    shorter, _ = tiny.run(ADAM, config(epochs=1), out=tmp_path, if_exists="overwrite")
    assert RunFolder(tmp_path).read() == shorter


def test_an_unfinished_run_says_both_ways_out(tmp_path):
    stopped(tmp_path, 2)
    assert RunFolder(tmp_path).read().status == "interrupted"
    with pytest.raises(
        CheckpointError, match=r"unfinished run \(interrupted, 1 epochs.*--resume.*--overwrite"
    ):
        tiny.run(ADAM, config(), out=tmp_path)


def test_what_overwrites_begins_without_the_old_runs_files(tmp_path):
    tiny.run(ADAM, config(), out=tmp_path)
    RunFolder(tmp_path).curves.write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    stopped(tmp_path, 1, config=config(seed=9), if_exists="overwrite")
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "metrics.jsonl", "notes.txt"}
    assert RunFolder(tmp_path).read().seed == 9
    assert RunFolder(tmp_path).read().epochs == ()


def test_nothing_to_resume_begins(tmp_path):
    for out in (tmp_path / "new", tmp_path):
        record, _ = tiny.run(ADAM, config(epochs=1), out=out, **RESUME)
        assert len(record.epochs) == 1


def test_a_run_stopped_before_its_first_checkpoint_begins_again(tmp_path):
    stopped(tmp_path, 1)
    _, expected = tiny.run(ADAM, config())
    _, model = tiny.run(ADAM, config(), out=tmp_path, **RESUME)
    assert tiny.same_bits(model, expected)


@pytest.mark.parametrize("stop_in", [1, 2])  # before the first checkpoint, and after it
@pytest.mark.parametrize(
    ("make", "changes", "named"),
    [
        (partial(ADAM, lr=0.01), {}, "optimizer.lr was 0.001 and is now 0.01"),
        (partial(ADAM, betas=(0.8, 0.99)), {}, "optimizer.betas was [0.9, 0.999] and is now [0.8,"),
        (adamantine.SGD, {}, "optimizer.name was adamantine.Adam and is now adamantine.SGD"),
        (torch.optim.Adam, {}, "optimizer.name was adamantine.Adam and is now torch.Adam"),
        (partial(ADAM, max_grad_norm=2.0), {}, "optimizer.max_grad_norm was None and is now 2.0"),
        (partial(ADAM, state_dtype="int8"), {}, "optimizer.state_dtype was None and is now int8"),
        (partial(ADAM, state_dtype={"exp_avg": "int8"}), {}, "was None and is now {'exp_avg': 'in"),
        (partial(ADAM, backend="reference"), {}, "optimizer.backend was auto and is now reference"),
        (ADAM, {"schedule": "step", "epochs": 9}, "epochs was 4 and is now 9; schedule was"),
        (ADAM, {"batch_size": 8, "seed": 4}, "batch_size was 16 and is now 8; seed was 3 and is"),
        (ADAM, {"schedule": "cosine"}, "schedule was none and is now cosine"),
    ],
)
def test_a_different_configuration_is_named_and_changes_nothing(
    tmp_path, stop_in, make, changes, named
):
    stopped(tmp_path, stop_in)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError) as caught:
        tiny.run(make, config(**changes), out=tmp_path, **RESUME)
    assert named in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_model_is_named(tmp_path):
    stopped(tmp_path, 2)
    wider = tiny.workload(model=lambda: torch.nn.Linear(tiny.FEATURES, tiny.CLASSES))
    with pytest.raises(CheckpointError, match="parameters was 91 and is now 18"):
        tiny.run(ADAM, config(), wider, out=tmp_path, **RESUME)


def test_a_model_of_the_same_size_that_does_not_fit(tmp_path):
    stopped(tmp_path, 2)
    other = tiny.workload(model=lambda: torch.nn.Sequential(torch.nn.Flatten(), tiny.model()))
    with pytest.raises(
        CheckpointError, match=r"cannot read the checkpoint .*loading .* Missing key.*: \"1\.0\.wei"
    ):
        tiny.run(ADAM, config(), other, out=tmp_path, **RESUME)


def test_a_run_that_diverges_keeps_the_last_good_checkpoint(tmp_path):
    def loss(outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets) / (fuse["left"] > 0)

    class Burn(Callbacks):
        def on_step(self, step):
            fuse["left"] -= 1

    fuse = {"left": 12}  # five steps an epoch
    with pytest.raises(DivergedError) as caught:
        tiny.run(ADAM, config(), tiny.workload(loss=loss), out=tmp_path, callbacks=Burn())
    assert (caught.value.epoch, caught.value.step) == (3, 3)
    record = RunFolder(tmp_path).read()
    assert (record.status, len(record.epochs)) == ("diverged", 2)
    fuse["left"] = 10**6
    _, expected = tiny.run(ADAM, config(), tiny.workload(loss=loss))
    _, model = tiny.run(ADAM, config(), tiny.workload(loss=loss), out=tmp_path, **RESUME)
    assert tiny.same_bits(model, expected)


# Damage


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path):
    """A limit on file sizes stands in for the disk: too small for a checkpoint."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillDisk(Callbacks):
        def on_epoch_end(self, record):
            if record.epoch == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))

    try:
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt: File too large; the one writt"):
            tiny.run(ADAM, config(), out=tmp_path, callbacks=FillDisk())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    record = RunFolder(tmp_path).read()
    assert (record.status, len(record.epochs)) == ("failed", 2)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    _, expected = tiny.run(ADAM, config())
    _, model = tiny.run(ADAM, config(), out=tmp_path, **RESUME)
    assert tiny.same_bits(model, expected)


def test_a_place_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CheckpointError, match=r"cannot make the folder .*--out"):
            tiny.run(ADAM, config(), out=out)
    assert (tmp_path / "file").read_text() == "mine"


def test_leftovers_of_a_kill_are_gone_after_resuming(tmp_path):
    stopped(tmp_path, 3)
    (tmp_path / ".checkpoint.pt.1-0.tmp").write_bytes(b"half")
    (tmp_path / "metrics.jsonl").write_text("")  # killed between checkpoint and metrics
    record, _ = tiny.run(ADAM, config(), out=tmp_path, **RESUME)
    assert {path.name for path in tmp_path.iterdir()} == {
        "run.json",
        "metrics.jsonl",
        "checkpoint.pt",
    }
    assert RunFolder(tmp_path).read().epochs == record.epochs
    assert len(record.epochs) == 4


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    tiny.run(ADAM, config(epochs=1), out=out)
    return out / "checkpoint.pt"


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1), junk=st.binary(max_size=20))
@example(share=0.0, junk=b"\x80\x05")  # a pickle of a protocol that torch warns of
def test_a_damaged_checkpoint_is_refused(tmp_path_factory, intact, share, junk):
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    content = intact.read_bytes()[:-22]  # the archive's last record, without which it is none
    path.write_bytes(content[: int(share * len(content))] + junk)
    with pytest.raises(CheckpointError, match=r"cannot read the checkpoint .*damaged\.pt"):
        Checkpoint.load(path)


@pytest.mark.parametrize("content", [[], {"model": {}}, 3, None])
def test_a_file_of_torchs_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"cannot read the checkpoint .*other\.pt"):
        Checkpoint.load(path)


class Touch:
    """Unpickled carelessly, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    path, mark = tmp_path / "evil.pt", tmp_path / "mark"
    torch.save({"model": Touch(mark)}, path)
    with pytest.raises(CheckpointError, match=r"cannot read the checkpoint .*: Unsupported glo"):
        Checkpoint.load(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]\n"])
def test_a_damaged_record_is_refused_and_can_be_overwritten(tmp_path, name, content):
    stopped(tmp_path, 2)
    (tmp_path / name).write_bytes(content)
    for if_exists in ("refuse", "resume"):
        with pytest.raises(CheckpointError, match=r"cannot read the run in .*--out$"):
            tiny.run(ADAM, config(), out=tmp_path, if_exists=if_exists)
    tiny.run(ADAM, config(), out=tmp_path, if_exists="overwrite")
    assert RunFolder(tmp_path).read().status == "finished"


def test_a_finished_run_without_its_checkpoint_is_not_trained_again(tmp_path):
    tiny.run(ADAM, config(epochs=1), out=tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(CheckpointError, match=r"finished run whose checkpoint\.pt is gone"):
        tiny.run(ADAM, config(epochs=1), out=tmp_path, **RESUME)
    assert len(RunFolder(tmp_path).read().epochs) == 1
