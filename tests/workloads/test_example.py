import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adamantine.workloads import batches, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def diabetes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return load("examples.my_workload:workload")


@pytest.mark.usefixtures("one_thread")
def test_the_example_learns_what_least_squares_knows(diabetes) -> None:
    (train_x, train_y), (test_x, test_y) = diabetes.train, diabetes.test
    assert (len(train_x), len(test_x)) == (342, 100)
    assert diabetes.metric.direction == "min"

    def error(outputs: torch.Tensor) -> float:
        return diabetes.metric.per_example(outputs, test_y).mean().item()

    def with_constant(inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)

    best_line = torch.linalg.lstsq(with_constant(train_x), train_y).solution
    least_squares = error(with_constant(test_x) @ best_line)

    torch.manual_seed(0)
    model = diabetes.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        for inputs, targets in batches(diabetes.train, 32, generator):
            optimizer.zero_grad()
            diabetes.loss(model(inputs), targets).backward()
            optimizer.step()
    with torch.no_grad():
        assert error(model(test_x)) == pytest.approx(least_squares, rel=0.05)
    assert least_squares < 0.6 * error(torch.zeros_like(test_y))


MEASURED = """
from adamantine.train.loop import evaluate

shown = [value for value in list(globals().values()) if isinstance(value, Workload)]
assert len(shown) >= 2
for shown_one in shown:
    stream = batches(shown_one.test, 64)
    evaluate(shown_one.model(), shown_one.loss, shown_one.metric, stream)
"""
"""Each workload of the page can be trained and judged, too."""


def test_the_page_of_docs_runs_as_it_stands(tmp_path: Path) -> None:
    """Every Python block of docs/workloads.md, in order, in one fresh interpreter."""
    page = (ROOT / "docs" / "workloads.md").read_text()
    blocks = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) >= 3
    script = tmp_path / "page.py"
    script.write_text("\n".join([*blocks, MEASURED]))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
