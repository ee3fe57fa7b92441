"""``import adamantine as optim`` is all of ``torch.optim``: programs after PyTorch's own examples.

Each is run twice, as it stands and with that one line in the place of torch's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.programs import assert_same_losses, run

PROGRAMS = sorted((Path(__file__).parent / "torch_programs").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_program_of_torch(path: Path) -> None:
    code = path.read_text(encoding="utf-8")
    line = "import torch.optim as optim"
    assert code.count(line) == 1
    swapped = code.replace(line, "import adamantine as optim")
    assert_same_losses(*(run(text, str(path))["main"]() for text in (swapped, code)))
