import math
from dataclasses import replace

import pytest
import tiny
import torch
from torch import nn

from adamantine.errors import DivergedError, UsageError, WorkloadError
from adamantine.train import Callbacks, TrainConfig, seed_everything
from adamantine.train.loop import GPU_WINDOW, LossReader, evaluate
from adamantine.train.seeds import data_order
from adamantine.workloads import ACCURACY, Metric

SGD = torch.optim.SGD


def by_hand(config, lr):
    """The tutorial's program, written out."""
    seed_everything(config.seed)
    model = tiny.model()
    optimizer = SGD(model.parameters(), lr=lr)
    order = data_order(config.seed)
    seed_everything(config.seed)
    inputs, targets = tiny.examples()
    averages = []
    for _ in range(config.epochs):
        model.train()
        running_loss, batches = 0.0, 0
        for chosen in torch.randperm(len(inputs), generator=order).split(config.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            batches += 1
        averages.append(running_loss / batches)
    model.eval()
    with torch.no_grad():
        inputs, targets = tiny.examples(23)
        outputs = model(inputs)
        test_loss = nn.functional.cross_entropy(outputs, targets).item()
        hits = (outputs.argmax(1) == targets).sum().item()
    return model, averages, test_loss, hits / 23


def test_does_what_the_tutorials_program_does():
    config = TrainConfig(epochs=3, batch_size=16, seed=5)
    record, model = tiny.run(lambda p: SGD(p, lr=0.1), config)
    expected, averages, test_loss, accuracy = by_hand(config, lr=0.1)
    assert [epoch.average_loss for epoch in record.epochs] == averages
    assert tiny.same_bits(model, expected)
    assert record.epochs[-1].test_loss == pytest.approx(test_loss, rel=1e-6)
    assert record.epochs[-1].test_metric == accuracy


def test_the_size_of_test_batches_changes_nothing_but_rounding():
    results = []
    for size in (1, 7, 23, 1000):
        config = TrainConfig(epochs=1, batch_size=16, test_batch_size=size)
        record, _ = tiny.run(SGD, config)
        results.append(record.epochs[0])
    assert {r.test_metric for r in results} == {results[0].test_metric}
    assert [r.test_loss for r in results] == pytest.approx([results[0].test_loss] * 4, rel=1e-6)


def test_model_trains_in_train_mode_and_is_tested_in_eval_mode_without_gradients():
    seen = []

    class Spy(nn.Linear):
        def forward(self, inputs):
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(inputs)

    problem = tiny.workload(model=lambda: Spy(tiny.FEATURES, tiny.CLASSES))
    tiny.run(SGD, TrainConfig(epochs=2, batch_size=35), problem)
    assert seen == [(True, True), (True, True), (False, False)] * 2


def test_an_optimizer_with_modes_of_its_own_changes_them_with_the_model():
    """And is left as it was tested: that is what is saved."""
    calls = []

    class Modal(torch.optim.SGD):
        def train(self):
            calls.append("train")

        def eval(self):
            calls.append("eval")

        def step(self, closure=None):
            calls.append("step")

    tiny.run(Modal, TrainConfig(epochs=2, batch_size=35))
    assert calls == ["train", "step", "step", "eval"] * 2


def test_callbacks_come_in_order():
    calls = []

    class Log(Callbacks):
        def on_epoch_start(self, epoch, steps):
            calls.append(("start", epoch, steps))

        def on_step(self, step):
            calls.append(step)

        def on_test(self):
            calls.append("test")

        def on_epoch_end(self, record):
            calls.append(("end", record.epoch))

    tiny.run(SGD, TrainConfig(epochs=2, batch_size=30), callbacks=Log())
    assert calls == [
        *[("start", 1, 3), 1, 2, 3, "test", ("end", 1)],
        *[("start", 2, 3), 1, 2, 3, "test", ("end", 2)],
    ]


def test_batches_of_a_loader_keep_their_size():
    record, _ = tiny.run(SGD, problem=tiny.workload(train=tiny.loader()))
    assert record.configuration["batch_size"] is None
    assert record.configuration["train_examples"] is None
    assert record.configuration["test_examples"] == 23


def test_the_record_says_what_was_done():
    settings = {"lr": 0.25, "momentum": 0.5}
    record, model = tiny.run(
        lambda p: SGD(p, **settings), TrainConfig(epochs=2, batch_size=16, seed=3, schedule="step")
    )
    configuration = record.configuration
    assert record.status == "finished"
    assert record.seed == 3
    assert configuration["optimizer"].items() >= {"name": "torch.SGD", **settings}.items()
    assert configuration["parameters"] == sum(p.numel() for p in model.parameters())
    assert configuration["schedule"] == "step"
    assert configuration["metric"] == {"name": "accuracy", "direction": "max"}
    assert [epoch.lr for epoch in record.epochs] == pytest.approx([0.25, 0.025])
    assert record.versions["torch"] == torch.__version__
    assert all(e.train_seconds > 0 and e.test_seconds > 0 for e in record.epochs)


# What a metric and a loss may be


def outputs_and_targets(batches):
    """A model that gives its input back, and batches of (outputs, targets) for it."""
    return nn.Identity(), [(torch.tensor(o), torch.tensor(t)) for o, t in batches]


def absolute_error(outputs, targets):
    return (outputs - targets).abs()


def test_means_are_over_examples_not_over_batches():
    model, batches = outputs_and_targets([([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), ([10.0], [0.0])])
    metric = Metric("mae", absolute_error, "min")
    assert evaluate(model, nn.functional.mse_loss, metric, batches) == (
        pytest.approx((1 + 4 + 9 + 100) / 4),
        (1 + 2 + 3 + 10) / 4,
    )


def test_a_scalar_metric_is_taken_as_the_batchs_mean():
    model, batches = outputs_and_targets([([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), ([10.0], [0.0])])
    metric = Metric("mae", lambda o, t: absolute_error(o, t).mean(), "min")
    assert evaluate(model, nn.functional.mse_loss, metric, batches)[1] == (6 + 10) / 4


def test_hits_are_counted_exactly():
    outputs = torch.eye(2)[torch.tensor([0] * 9449 + [1] * 551)]
    targets = torch.zeros(10_000, dtype=torch.long)
    batches = [(outputs[i : i + 3000], targets[i : i + 3000]) for i in range(0, 10_000, 3000)]
    as_booleans = Metric("accuracy", lambda o, t: o.argmax(1) == t)
    for metric in (ACCURACY, as_booleans):
        _, accuracy = evaluate(nn.Identity(), nn.functional.cross_entropy, metric, batches)
        assert accuracy == 0.9449


def test_a_metric_of_the_wrong_shape():
    problem = tiny.workload(metric=Metric("f1", lambda o, t: o, "max"))
    with pytest.raises(WorkloadError, match=r"'f1' gave a tensor of shape \(23, 3\) for a batch"):
        tiny.run(SGD, problem=problem)


def test_a_loss_of_the_wrong_shape():
    loss = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(
        WorkloadError, match=r"the loss is a tensor of shape \(16,\), expected a sc"
    ):
        tiny.run(SGD, problem=tiny.workload(loss=loss))


@pytest.mark.parametrize("which", ["train", "test"])
def test_a_spent_generator(which):
    once = iter([tiny.examples(8)])
    with pytest.raises(WorkloadError, match="gave no batch"):
        tiny.run(SGD, problem=tiny.workload(**{which: once}))


def test_a_metric_that_takes_the_losss_name():
    with pytest.raises(UsageError, match="a metric cannot be called 'loss'"):
        tiny.run(SGD, problem=tiny.workload(metric=replace(ACCURACY, name="loss")))


@pytest.mark.parametrize(
    "bad", [{"epochs": 0}, {"batch_size": 0}, {"seed": -1}, {"schedule": "x"}, {"epochs": -2}]
)
def test_wrong_settings_are_refused_when_they_are_written(bad):
    ((name, value),) = bad.items()
    with pytest.raises(UsageError, match=f"{name} is {value!r}"):
        TrainConfig(**bad)


# What happens when the loss is lost


def diverge(optimizer, config=None, problem=None):
    with pytest.raises(DivergedError) as caught:
        tiny.run(optimizer, config, problem)
    return caught.value


def test_nan_in_the_data_is_found_in_its_step():
    inputs, targets = tiny.examples()
    spoilt = inputs.clone()
    spoilt[40, 2] = math.nan
    config = TrainConfig(epochs=1, batch_size=16, seed=1)
    order = torch.randperm(tiny.EXAMPLES, generator=data_order(1))
    step = (order == 40).nonzero().item() // 16 + 1
    error = diverge(SGD, config, tiny.workload(train=(spoilt, targets)))
    assert (error.epoch, error.step) == (1, step)
    assert math.isnan(error.loss)
    assert f"epoch 1, step {step}: this batch's inputs hold NaN or infinity" in str(error)


def test_too_high_a_learning_rate_is_named():
    error = diverge(lambda p: SGD(p, lr=1e38))
    assert "the weights have grown to" in str(error)
    assert "the learning rate 1e+38 is too high: try --lr 1e+37" in str(error)


def test_a_loss_that_overflows_with_finite_weights():
    error = diverge(SGD, problem=tiny.workload(loss=lambda o, t: o.square().mean() / 0))
    assert error.loss == math.inf
    assert "and inputs are finite, so the model or its loss overflowed" in str(error)


def test_the_step_after_a_nan_is_not_taken():
    problem = tiny.workload(loss=lambda o, t: o.mean() * math.nan)
    seed_everything(0)
    before = problem.model()
    seed_everything(0)
    model = problem.model()
    optimizer = SGD(model.parameters())
    with pytest.raises(DivergedError):
        tiny.train(problem, model, optimizer)
    assert all(map(torch.equal, before.parameters(), model.parameters()))


def test_weights_that_the_very_last_step_broke():
    class BreaksThem(SGD):
        steps = 0

        def step(self, closure=None):
            super().step(closure)
            self.steps += 1
            if self.steps == 5:
                self.param_groups[0]["params"][0].data.fill_(math.inf)

    error = diverge(BreaksThem, TrainConfig(epochs=1, batch_size=16))
    assert (error.epoch, error.step) == (1, 5)
    assert "an earlier step made the weights NaN or infinite" in str(error)


def test_an_infinite_test_loss_alone_stops_nothing():
    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) / (len(targets) != 23)

    record, _ = tiny.run(SGD, TrainConfig(epochs=2, batch_size=16), tiny.workload(loss=loss))
    assert [epoch.test_loss for epoch in record.epochs] == [math.inf] * 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # of which only the windows are used here
@pytest.mark.parametrize("bad", [1, GPU_WINDOW, GPU_WINDOW + 1, 150])
def test_losses_read_in_windows_name_the_same_step(device, bad):
    losses = torch.arange(1.0, 151.0)
    losses[bad - 1] = math.inf
    reader = LossReader(torch.device(device))
    found = next((f for loss in losses if (f := reader.add(loss)) is not None), None)
    found = reader.read() if found is None else found
    assert found == math.inf
    assert reader.count == bad


def test_losses_read_in_windows_have_the_same_mean():
    for device in ("cpu", "cuda"):
        reader = LossReader(torch.device(device))
        for loss in torch.arange(1.0, 151.0):
            assert reader.add(loss) is None
        assert reader.read() is None
        assert (reader.count, reader.mean) == (150, 75.5)
