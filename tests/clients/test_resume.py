"""Training stopped and resumed by Hugging Face and by Lightning, across the import line too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import adamantine
from clients.programs import assert_same_losses

pytestmark = pytest.mark.slow
ADAMW = {"ours": adamantine.AdamW, "torch": torch.optim.AdamW}

# Who writes the checkpoint after 25 steps, and who goes on from it.
handovers = pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ours", "ours"),
        ("torch", "ours"),
        ("ours", "torch"),
    ],
)


@handovers
def test_hugging_face(tmp_path: Path, first: str, second: str) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    def trainer(cls: Any, steps: int) -> Trainer:
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2)
        )
        texts = (torch.randint(32, (200, 1)) + torch.arange(8)) % 32
        settings = TrainingArguments(
            output_dir=str(tmp_path / "run"),
            max_steps=steps,
            per_device_train_batch_size=4,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_steps=25,
            disable_tqdm=True,
            report_to="none",
            use_cpu=True,
        )
        return Trainer(
            model,
            settings,
            train_dataset=[{"input_ids": text, "labels": text} for text in texts],
            optimizer_cls_and_kwargs=(cls, {"lr": 3e-3}),
        )

    def losses(trainer: Trainer) -> list[float]:
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    trainer(ADAMW[first], 25).train()
    resumed = trainer(ADAMW[second], 50)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-25"))
    assert type(getattr(resumed.optimizer, "optimizer", resumed.optimizer)) is ADAMW[second]
    through = trainer(torch.optim.AdamW, 50)
    through.train()
    assert_same_losses(losses(resumed), losses(through))


@handovers
@pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"
)
def test_lightning(tmp_path: Path, first: str, second: str) -> None:
    lightning = pytest.importorskip("lightning")

    class Regression(lightning.LightningModule):
        def __init__(self, cls: Any) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
            )
            self.cls, self.losses = cls, []
            self.automatic_optimization = False  # the other way to step than the page shows

        def training_step(self, inputs: torch.Tensor) -> None:
            optimizer = self.optimizers()
            loss = (self.net(inputs) - inputs.mean(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.lr_schedulers().step()
            self.losses.append(loss.item())

        def configure_optimizers(self) -> Any:
            optimizer = self.cls(self.parameters(), lr=1e-2)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)]

    batches = torch.randn(25, 16, 8, generator=torch.Generator().manual_seed(1))
    data = torch.utils.data.DataLoader(batches, batch_size=None)

    def fit(cls: Any, epochs: int, checkpoint: Path | None = None) -> tuple[Any, list[float]]:
        torch.manual_seed(0)
        model = Regression(cls)
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
        return trainer, model.losses

    saved = tmp_path / "half.ckpt"
    trainer, start = fit(ADAMW[first], 1)
    trainer.save_checkpoint(saved)
    _, rest = fit(ADAMW[second], 2, saved)
    _, through = fit(torch.optim.AdamW, 2)
    assert_same_losses(start + rest, through)
