"""A model of Hugging Face with its tokenised data: is a sentence about weather or about food?

    pip install 'adamantine[examples]'
    adamantine compare adamw sgd --workload examples.huggingface_text:workload --epochs 3

The sentences are made up at random, and the model is built from its configuration, so nothing
is downloaded. `from_pretrained(…)` in the place of both begins from pretrained weights.
"""

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from adamantine.workloads import Workload

WORDS = "rain wind snow sun cloud storm", "bread soup cake rice salad tea"


class Scores(nn.Module):
    """Takes token numbers and mask in one tensor, and gives the scores of the classes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        tokens, mask = inputs.unbind(dim=1)
        return self.model(input_ids=tokens, attention_mask=mask).logits


def workload() -> Workload:
    tokenizer, (texts, labels) = make_tokenizer(), sentences(480)
    read = tokenizer(texts, padding=True, return_tensors="pt")
    inputs = torch.stack([read["input_ids"], read["attention_mask"]], dim=1)  # (N, 2, length)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = BertConfig(vocab_size=len(tokenizer), num_attention_heads=2, num_labels=2, **sizes)
    return Workload(
        name="weather-or-food",
        model=lambda: Scores(BertForSequenceClassification(config)),
        train=(inputs[:320], labels[:320]),
        validation=(inputs[320:400], labels[320:400]),
        test=(inputs[400:], labels[400:]),
        loss=nn.functional.cross_entropy,
    )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Yours comes with your model: ``AutoTokenizer.from_pretrained(…)``."""
    words = ["[PAD]", "[UNK]", *" ".join(WORDS).split()]
    plain = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, "[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")


def sentences(count: int) -> tuple[list[str], Tensor]:
    """Three to eight words each, two of three of them about the subject."""
    dice = random.Random(0)
    labels = [dice.randrange(2) for _ in range(count)]
    subjects = [[one if dice.random() < 2 / 3 else 1 - one for _ in range(dice.randint(3, 8))]
                for one in labels]  # fmt: skip
    texts = [" ".join(dice.choice(WORDS[each].split()) for each in own) for own in subjects]
    return texts, torch.tensor(labels)
