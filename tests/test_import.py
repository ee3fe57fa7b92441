"""``import adamantine`` is light, and what is documented is there."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
import torch

import adamantine

HEAVY = (
    "numba", "llvmlite", "triton", "optuna", "matplotlib", "plotly", "typer", "click", "rich",
    "sklearn", "scipy", "pooch", "pandas", "mlflow", "tensorboard", "wandb", "pyarrow", "ray",
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


OF_THE_COMMAND_LINE = (
    "optuna", "matplotlib", "plotly", "typer", "rich", "sklearn", "scipy", "pooch", "platformdirs",
    "requests", "filelock",
)  # fmt: skip
COMPILERS = "numba", "llvmlite", "triton"


@pytest.mark.parametrize("interpreted", [False, True], ids=["lists", "gpu"])
def test_optimizers_need_torch_and_numpy_alone(interpreted: bool) -> None:
    """As where Triton comes with torch: steps, sparse ones, checkpoints."""
    missing = OF_THE_COMMAND_LINE + COMPILERS[: 2 if interpreted else 3]
    script = f"""if True:
        import sys
        sys.modules.update(dict.fromkeys({missing!r}))
        import torch, adamantine
        params = [torch.nn.Parameter(torch.ones(n)) for n in (3, 2000)]
        optimizer = adamantine.AdamW(
            params, backend={"gpu" if interpreted else "auto"!r}, max_grad_norm=1.0
        )
        for _ in range(3):
            for param in params:
                param.grad = torch.ones_like(param)
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()
        table = torch.nn.Embedding(9, 2, sparse=True)
        rows = adamantine.SGD(table.parameters(), lr=0.1)
        table(torch.tensor([1, 2])).sum().backward()
        rows.step()
        print(float(params[0][0].detach()))
        """
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1" if interpreted else ""},
    )
    assert float(done.stdout) == pytest.approx(1 - 4e-3, abs=1e-4)


def test_the_version_needs_no_torch() -> None:
    script = "import sys, adamantine; print(adamantine.__version__, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == [adamantine.__version__, "False"]


def test_submodules_need_no_torch() -> None:
    """``from package import module`` asks the package for an attribute first."""
    script = "import sys; from adamantine import records; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "False"


def test_public_names_exist_and_are_documented() -> None:
    for name in adamantine.__all__:
        thing = getattr(adamantine, name)
        if name != "__version__":
            sections = ["Notes\n"]
            if inspect.isclass(thing) or inspect.signature(thing).parameters:
                sections += ["Parameters\n", "Raises\n"]
            for section in sections:
                assert section in thing.__doc__, f"{name} lacks {section}"


def test_every_public_name_of_torch_optim_is_there(subtests: pytest.Subtests) -> None:
    """Ours where ``ours()`` says so, and elsewhere torch's own object."""
    own = adamantine.ours()
    for name in (name for name in dir(torch.optim) if not name.startswith("_")):
        with subtests.test(name):
            found, torchs = getattr(adamantine, name), getattr(torch.optim, name)
            assert name in dir(adamantine)
            if name in own:
                assert found.__module__.startswith("adamantine.")
                assert issubclass(found, torch.optim.Optimizer)
                assert found is not torchs
            else:
                assert found is torchs


def test_what_torch_optim_has_not_either_is_an_error() -> None:
    for name in ("Adamw", "_functional"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(adamantine, name)
