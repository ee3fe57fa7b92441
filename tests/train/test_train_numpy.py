"""NumPy's numbers in what a run is made of: its checkpoint is read without running anything."""

from functools import partial

import numpy as np
import pytest
import tiny
import torch
from torch.optim.lr_scheduler import ChainedScheduler, LambdaLR, MultiStepLR

import adamantine
from adamantine.errors import CheckpointError
from adamantine.train import Callbacks, RunFolder, TrainConfig
from adamantine.train.schedules import ENDLESS

CONFIG = TrainConfig(epochs=3, batch_size=16, seed=3, schedule="inverse-sqrt")

OPTIMIZERS = {
    "ours": partial(
        adamantine.Adam,
        lr=np.float64(0.02),
        betas=tuple(np.array([0.8, 0.95])),
        eps=np.float32(1e-7),
        amsgrad=np.bool_(True),
        max_grad_norm=np.float32(1),
        skip_nonfinite=np.int64(5),
    ),
    "an array": partial(adamantine.SGD, lr=np.array(0.02), momentum=np.float32(0.9)),
    "torch's": partial(torch.optim.Adam, lr=np.float64(0.02), weight_decay=np.float32(0.01)),
}


class Counting(torch.nn.Module):
    """A layer that keeps a number beside its tensors."""

    def __init__(self):
        super().__init__()
        self.seen = np.float64(0)

    def forward(self, inputs):
        self.seen += len(inputs)
        return inputs

    def get_extra_state(self):
        return {"seen": self.seen}

    def set_extra_state(self, state):
        self.seen = np.float64(state["seen"])


class Stop(Callbacks):
    def on_epoch_end(self, record):
        raise KeyboardInterrupt


def schedule(optimizer):
    """As people write them: a factor by NumPy, and milestones out of an array."""
    return ChainedScheduler(
        [
            LambdaLR(optimizer, lambda step: 0.6 + 0.4 * np.cos(step / 7)),
            MultiStepLR(optimizer, np.array([4, 9]), gamma=np.float32(0.5)),
        ]
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_with_numpys_numbers_is_resumed_to_the_bit(tmp_path, monkeypatch, name):
    monkeypatch.setitem(ENDLESS, "inverse-sqrt", schedule)
    problem = tiny.workload(model=lambda: torch.nn.Sequential(Counting(), tiny.model()))
    whole, expected = tiny.run(OPTIMIZERS[name], CONFIG, problem)
    with pytest.raises(KeyboardInterrupt):
        tiny.run(OPTIMIZERS[name], CONFIG, problem, out=tmp_path, callbacks=Stop())
    torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    record, model = tiny.run(OPTIMIZERS[name], CONFIG, problem, out=tmp_path, if_exists="resume")
    assert tiny.results(record) == tiny.results(whole)
    assert model[0].seen == expected[0].seen
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_setting_of_numpys_is_part_of_what_the_run_is(tmp_path):
    make = {rate: partial(adamantine.Adam, lr=np.float32(rate)) for rate in (0.25, 0.5)}
    with pytest.raises(KeyboardInterrupt):
        tiny.run(make[0.25], CONFIG, out=tmp_path, callbacks=Stop())
    with pytest.raises(CheckpointError, match=r"optimizer\.lr was 0\.25 and is now 0\.5"):
        tiny.run(make[0.5], CONFIG, out=tmp_path, if_exists="resume")


def test_a_checkpoint_that_cannot_be_read_says_why_and_destroys_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny.run(adamantine.Adam, CONFIG, out=tmp_path, callbacks=Stop())
    path = RunFolder(tmp_path).checkpoint
    content = torch.load(path, weights_only=True)
    spoilt = {
        r"Unsupported global: GLOBAL numpy\S+scalar": {**content, "rng": {"x": np.float64(1)}},
        "missing 1 required positional argument: 'rng'": {
            key: value for key, value in content.items() if key != "rng"
        },
        "it has no entry 'python'": {
            **content,
            "rng": {k: v for k, v in content["rng"].items() if k != "python"},
        },
    }
    for cause, changed in spoilt.items():
        torch.save(changed, path)
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}
        with pytest.raises(CheckpointError, match=cause) as caught:
            tiny.run(adamantine.Adam, CONFIG, out=tmp_path, if_exists="resume")
        message = str(caught.value)
        assert str(path) in message
        assert "--out" in message
        assert "overwrite" not in message
        assert "weights_only" not in message
        assert "\n" not in message
        assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}
