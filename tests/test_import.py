"""``import adamantine`` is light, and what is documented is there."""

from __future__ import annotations

import subprocess
import sys

import adamantine

HEAVY = (
    "numba", "llvmlite", "triton", "optuna", "matplotlib", "plotly", "typer", "click", "rich",
    "sklearn", "scipy", "pooch", "pandas",
)  # fmt: skip


def test_import_loads_torch_and_nothing_else_that_is_heavy() -> None:
    script = (
        "import sys, torch; before = set(sys.modules); import adamantine; adamantine.Adam;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert set(done.stdout.split()) & set(HEAVY) == set()
    assert "adamantine" in done.stdout


def test_a_first_step_does_not_load_dynamo() -> None:
    """It takes a second, and torch's own optimizers load it to switch it off."""
    script = """if True:
        import sys, torch, adamantine
        param = torch.nn.Parameter(torch.ones(3))
        optimizer = adamantine.Adam([param])
        param.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())
        print("torch._dynamo" in sys.modules)
        """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "False"


def test_the_version_needs_no_torch() -> None:
    script = "import sys, adamantine; print(adamantine.__version__, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == [adamantine.__version__, "False"]


def test_public_names_exist_and_are_documented() -> None:
    for name in adamantine.__all__:
        thing = getattr(adamantine, name)
        if name != "__version__":
            for section in ("Parameters\n", "Raises\n", "Notes\n"):
                assert section in thing.__doc__, f"{name} lacks {section}"
