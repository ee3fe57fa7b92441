"""Swapping the import line changes nothing: the programs of ``docs/clients.md``, run both ways."""

from __future__ import annotations

import pytest

from clients.programs import (
    MODULES,
    PAGE,
    ROOT,
    assert_same_losses,
    blocks,
    run,
    with_import_from,
)

NEEDS = {
    "Hugging Face Trainer": ("transformers", "accelerate"),
    "Accelerate": ("accelerate",),
    "Lightning": ("lightning",),
}
ELSEWHERE = {"DistributedDataParallel"}  # test_distributed.py, with two processes

OF_THEIR_OWN = {
    # What these programs say about themselves, whosever optimizer they run.
    "Lightning": [r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"],
    "torch.compile": [
        "ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning",
        "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning",
    ],
}

PROGRAMS = [
    pytest.param(
        name,
        marks=[
            *(pytest.mark.filterwarnings(w) for w in OF_THEIR_OWN.get(name, [])),
            *([pytest.mark.slow] if name in NEEDS else []),  # importing these takes seconds
        ],
    )
    for name, (note, _) in blocks().items()
    if not note and name not in ELSEWHERE
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    _, code = blocks()[name]
    assert_same_losses(*(run(with_import_from(module, code))["losses"] for module in MODULES))


def test_nanogpt() -> None:
    path = ROOT / "examples" / "nanogpt.py"
    code = path.read_text(encoding="utf-8")
    runs = [run(with_import_from(module, code), str(path)) for module in MODULES]
    assert_same_losses(*(names["train"](steps=50, report=0) for names in runs))


def test_the_page_quotes_the_example() -> None:
    quotes = [(note.split()[1], code) for note, code in blocks().values() if note]
    assert quotes, PAGE
    for name, code in quotes:
        lines = (line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
        assert "\n".join(line.strip() for line in code.splitlines()) in "\n".join(lines)
