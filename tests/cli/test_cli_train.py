import json
import re

import pytest
import torch

from adamantine.records import EpochRecord, RunRecord
from cli.runs import TWO_LINES, weights, without_times

KEYS = [
    "epoch",
    "average_loss",
    "test_loss",
    "test_accuracy",
    "train_seconds",
    "test_seconds",
    "lr",
]
OWN = """
import torch
from torch import nn
from adamantine.workloads import Metric, Workload

inputs = torch.linspace(-1, 1, 40).unsqueeze(1)
data = (inputs, 3 * inputs)
batches = [(inputs[i : i + 10], 3 * inputs[i : i + 10]) for i in range(0, 40, 10)]


def make(train, factor=1.0):
    return Workload(
        "line",
        lambda: nn.Linear(1, 1),
        train=train,
        test=data,
        loss=lambda o, t: nn.functional.mse_loss(o, t) * factor,
        metric=Metric("mean absolute error", lambda o, t: (o - t).abs().squeeze(1), "min"),
    )


def refusing(outputs, targets):
    if outputs.abs().max() > 1e6:
        raise ValueError("expected outputs between -1e6 and 1e6")
    return nn.functional.mse_loss(outputs, targets)


def mistaken(outputs, targets, left=[7]):
    left[0] -= 1
    return nn.functional.mse_loss(outputs, targets if left[0] else targets[:3])


def with_loss(loss):
    return Workload("line", lambda: nn.Linear(1, 1), data, data, loss, line.metric)


line = make(data)
strict, wrong = with_loss(refusing), with_loss(mistaken)
in_batches = make(batches)
broken = make(data, float("nan"))
"""


TABLE = """
import torch
from torch import nn
from adamantine.workloads import Workload


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 4, sparse=True)
        self.head = nn.Linear(4, 2)

    def forward(self, words):
        return self.head(self.table(words))


words = torch.arange(90) % 30
data = words, (words > 12).long()
rows = Workload("rows", Model, data, data, nn.functional.cross_entropy)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's in the folder that the command is started from."""
    (tmp_path / "my_problems.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "my_problems"


def test_prints_two_lines_an_epoch_and_nothing_else(digits):
    result = digits()
    assert result.code == 0
    assert re.fullmatch(f"(?:{TWO_LINES}){{2}}", result.out)
    assert [int(n) for n, *_ in re.findall(TWO_LINES, result.out)] == [1, 2]
    assert result.err == ""


def test_json_is_one_object_an_epoch_and_says_the_same(digits):
    text, lines = digits().out, digits("--json").out.splitlines()
    records = [EpochRecord.from_json(json.loads(line)) for line in lines]
    assert [list(json.loads(line)) for line in lines] == [KEYS, KEYS]
    assert text == "".join(
        f"Epoch {r.epoch}, Average Loss: {r.average_loss:.4f}\nTest Accuracy: {r.test_metric:.2%}\n"
        for r in records
    )


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(digits):
    first, again, other = (digits("--json", "--seed", seed).out for seed in (1, 1, 2))
    assert without_times(first) == without_times(again)
    assert without_times(first) != without_times(other)


def test_digits_are_learnt(digits):
    """What the README's first command shows: Adam at its defaults, far above chance."""
    last = json.loads(digits("--json", "--epochs", 10).out.splitlines()[-1])
    assert 0.90 < last["test_accuracy"] < 1
    assert last["average_loss"] < 0.35


def test_settings_reach_the_optimizer(digits, tmp_path):
    options = ["--lr", 0.01, "--betas", 0.8, 0.99, "--eps", 1e-6, "--weight-decay", 0.1]
    assert digits(*options, "--optimizer", "adamw", "--out", tmp_path).code == 0
    optimizer = json.loads((tmp_path / "run.json").read_text())["configuration"]["optimizer"]
    assert optimizer["name"] == "adamantine.AdamW"
    expected = {"lr": 0.01, "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.1}
    assert {key: optimizer[key] for key in expected} == expected


def test_settings_not_given_are_the_optimizers_own(digits, tmp_path):
    assert digits("--optimizer", "rmsprop", "--momentum", 0.5, "--out", tmp_path).code == 0
    optimizer = json.loads((tmp_path / "run.json").read_text())["configuration"]["optimizer"]
    assert (optimizer["lr"], optimizer["alpha"], optimizer["momentum"]) == (0.01, 0.99, 0.5)


def test_the_folder_of_a_run(digits, tmp_path):
    out = tmp_path / "a run"
    result = digits("--out", out, "--json", "--schedule", "cosine", "--batch-size", 32)
    assert result.err == (f"Saved in {out}: checkpoint.pt, curves.png, metrics.jsonl, run.json\n")
    assert (out / "metrics.jsonl").read_text() == result.out
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    run = RunRecord.from_json(json.loads((out / "run.json").read_text()))
    assert run.status == "finished"
    assert run.configuration["schedule"] == "cosine"
    assert run.configuration["batch_size"] == 32
    assert run.configuration["threads"] == 1
    assert set(run.versions) == {"python", "adamantine", "torch", "numba", "numpy"}
    assert set(run.machine) == {"system", "processor", "cores", "gpu"}


def test_options_of_every_optimizer_are_kept_and_go_on(digits, adamantine, tmp_path):
    options = ["--state-dtype", "int8", "--max-grad-norm", 0.5, "--optimizer", "lion"]
    assert digits(*options, "--out", tmp_path).code == 0
    run = json.loads((tmp_path / "run.json").read_text())
    expected = {"state_dtype": "int8", "max_grad_norm": 0.5}
    assert expected.items() <= run["configuration"]["optimizer"].items()
    assert expected.items() <= run["options"].items()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["optimizer"]["state"]
    assert {state["exp_avg"].dtype for state in saved.values()} == {torch.uint8}
    assert adamantine("train", "--resume", "--out", tmp_path).code == 0
    changed = digits("--resume", "--out", tmp_path, "--max-grad-norm", 1)
    assert changed.failed(1, saying="optimizer.max_grad_norm was 0.5 and is now 1.0")


def test_stats_are_logged_and_drawn_and_change_nothing_else(digits, tmp_path):
    plain = digits("--json", "--out", tmp_path / "plain")
    measured = digits("--json", "--out", tmp_path / "measured", "--stats")
    assert measured.err.endswith("metrics.jsonl, run.json, stats.png\n")
    assert (tmp_path / "measured" / "stats.png").read_bytes().startswith(b"\x89PNG")
    first, other = weights(tmp_path / "plain"), weights(tmp_path / "measured")
    assert all(torch.equal(first[name], other[name]) for name in first)
    lines = without_times(measured.out)
    parameters = [line.pop("parameters") for line in lines]
    assert lines == without_times(plain.out)
    assert [list(epoch) for epoch in parameters] == [list(first)] * 2
    for told in (t for epoch in parameters for t in epoch.values()):
        # Adam's: of about the learning rate by element, but for those without a gradient.
        assert 0 < told["update_norm"] < 0.0011 * told["elements"] ** 0.5
        assert told["update_ratio"] == pytest.approx(told["update_norm"] / told["param_norm"], 0.1)
        assert (told["nonfinite"], told["clipped"]) == (0, 1)
        assert len(told["learning_rates"]) == 5
    again = digits("--resume", "--out", tmp_path / "measured")
    assert again.code == 0


def test_threads_are_as_many_as_asked_for(digits, tmp_path):
    digits("--threads", 2, "--out", tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["configuration"]["threads"] == 2
    assert torch.get_num_threads() == 2


# Workloads of the user's own


def test_a_metric_that_is_not_accuracy(adamantine, own):
    arguments = ["train", "--workload", f"{own}:line", "--epochs", 1, "--optimizer", "sgd"]
    assert re.fullmatch(
        r"Epoch 1, Average Loss: \d+\.\d{4}\nTest Mean absolute error: \d\.\d+\n",
        adamantine(*arguments).out,
    )
    assert "test_mean absolute error" in json.loads(adamantine(*arguments, "--json").out)


def test_batches_of_its_own_refuse_a_batch_size(adamantine, own):
    arguments = ["train", "--workload", f"{own}:in_batches", "--epochs", 1]
    assert adamantine(*arguments).code == 0
    assert adamantine(*arguments, "--batch-size", 64).failed(2, saying="leave out --batch-size")


def test_a_loss_that_is_not_finite(adamantine, own, tmp_path):
    out = tmp_path / "run"
    result = adamantine("train", "--workload", f"{own}:broken", "--out", out)
    assert result.failed(1, saying="the loss became nan in epoch 1, step 1: ")
    assert json.loads((out / "run.json").read_text())["status"] == "diverged"


def test_a_loss_that_refuses_what_is_not_finite(adamantine, own, tmp_path):
    arguments = ["train", "--workload", f"{own}:strict", "--optimizer", "sgd", "--lr", "1e38"]
    result = adamantine(*arguments, "--out", tmp_path / "run")
    assert result.failed(1, saying="the loss became nan in epoch 1, step ")
    assert "try --lr 1e+37" in result.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "diverged"


def test_an_exception_that_is_no_divergence_names_the_run(adamantine, own, tmp_path):
    """One line, without a traceback; the epochs before are kept."""
    arguments = ["train", "--workload", f"{own}:wrong", "--optimizer", "sgd", "--lr", 0.01]
    result = adamantine(*arguments, "--seed", 3, "--batch-size", 10, "--out", tmp_path / "run")
    assert result.failed(
        1, saying="sgd with lr=0.01, batch_size=10 and seed 3 (epoch 2, after step 1)"
    )
    assert re.search(r"my_problems\.py, line \d+: UserWarning: Using a target size", result.err)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


@pytest.fixture
def table(adamantine, tmp_path, monkeypatch):
    """Train a model with sparse gradients for two epochs, with the options given."""
    (tmp_path / "my_tables.py").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    line = ["train", "--workload", "my_tables:rows", "--epochs", 2, "--batch-size", 8]
    return lambda *options: adamantine(*line, *options)


@pytest.mark.parametrize(
    "options",
    [
        ["--optimizer", "adam", "--sparse", "lazy"],
        ["--optimizer", "adamw", "--sparse", "exact", "--weight-decay", 0.1],
        ["--optimizer", "sgd"],
        pytest.param(
            ["--optimizer", "sgd", "--weight-decay", 0.1, "--sparse", "lazy"],
            marks=pytest.mark.slow,
        ),
        pytest.param(["--optimizer", "adagrad"], marks=pytest.mark.slow),
    ],
)
def test_sparse_gradients_are_taken(table, tmp_path, options):
    result = table(*options, "--out", tmp_path / "run")
    assert result.code == 0
    assert re.fullmatch(f"(?:{TWO_LINES}){{2}}", result.out)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    mode = options[options.index("--sparse") + 1] if "--sparse" in options else None
    assert run["options"]["sparse"] == run["configuration"]["optimizer"].get("sparse") == mode


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        (["--optimizer", "adam"], "give adam --sparse lazy or --sparse exact"),
        (["--optimizer", "sgd", "--weight-decay", 0.1], "give sgd --sparse lazy or --sparse exact"),
        (["--optimizer", "rmsprop"], "rmsprop takes none; choose adagrad, adam, adamw, sgd with"),
        (["--optimizer", "rmsprop", "--sparse", "lazy"], "rmsprop has no --sparse"),
        (["--sparse", "lasy"], "unknown sparse='lasy'; choose 'lazy' or 'exact'"),
    ],
)
def test_sparse_gradients_are_refused_with_advice(table, options, saying):
    result = table(*options)
    assert result.failed(2, saying=saying), result.err
    assert result.out == ""


def test_an_exact_run_is_resumed_bit_for_bit(table, tmp_path, monkeypatch):
    from adamantine.cli.train.output import TrainOutput

    options = ["--optimizer", "adam", "--sparse", "exact", "--lr", 0.1]
    table(*options, "--out", tmp_path / "whole")

    def interrupt(self, step):
        if self.epochs == 1 and step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainOutput, "on_step", interrupt)
        assert table(*options, "--out", tmp_path / "run").code == 130
    assert table("--resume", "--out", tmp_path / "run").code == 0
    expected, now = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(now[name], expected[name]) for name in expected)


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--epochs", "0"], "epochs is 0, expected at least 1"),
        (["--epochs", "few"], "'--epochs'"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--seed", "-1"], "seed is -1"),
        (["--threads", "0"], "--threads is 0"),
        (["--device", "abacus"], "--device abacus cannot be used here"),
        (["--device", "meta"], "--device meta cannot be used here"),
        (["--schedule", "cosin"], "expected one of none, step, cosine"),
        (["--optimizer", "adma"], "optimizer is 'adma', did you mean 'adam'? There are ada"),
        (["--workload", "mnits"], "did you mean 'mnist'"),
        (["--lr", "-1"], "Invalid learning rate: -1.0"),
        (["--lr", "nan"], "Invalid learning rate: nan"),
        (["--betas", "0.9", "1"], "Invalid beta parameter at index 1"),
        (["--betas", "0.9"], "--betas"),
        (["--optimizer", "sgd", "--betas", "0.9", "0.99"], "sgd has no --betas; its settings are"),
        (["--momentum", "0.9"], "adam has no --momentum"),
        (["--momentum", "0"], "adam has no --momentum"),
        (["--optimizer", "sgd", "--eps", "1e-8"], "sgd has no --eps"),
        (["--optimizer", "prodigy", "--state-dtype", "int8"], "float32: its state 'p0' must not"),
        (["--state-dtype", "int9"], "Invalid state_dtype: 'int9' (expected 'float32', 'bfl"),
        (["--max-grad-norm", "0"], "Invalid max_grad_norm: 0.0"),
        (["--max-grad-norm", "nan"], "Invalid max_grad_norm: nan"),
        (["--stats"], "--stats needs --out DIR or --json"),
        (["--resume"], "--resume needs --out"),
        (["--allow-changed-data"], "--allow-changed-data is for --resume"),
        (["--overwrite"], "--overwrite needs --out"),
        (["--resume", "--overwrite", "--out", "x"], "exclude each other"),
        (["--learning-rate", "1"], "--learning-rate"),
        (["extra"], "extra"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(adamantine, arguments, saying, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workload = [] if "--workload" in arguments else ["--workload", "digits"]
    result = adamantine("train", *workload, *arguments)
    assert result.failed(2, saying=saying), result.err
    assert result.out == ""
    assert not list(tmp_path.iterdir())


def test_data_that_is_not_there_is_a_failure(adamantine, tmp_path):
    result = adamantine("train", "--data-dir", tmp_path)
    assert result.failed(1, saying="holds no MNIST")
