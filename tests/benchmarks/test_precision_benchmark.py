"""Bytes and times of Adams: who is measured, what is counted, and what is said of it."""

import importlib
import sys

import numpy as np
import pytest
import torch

from benchmarks import memory, peers, precision, records, runs, step

TINY = (
    step.Case("two tensors", ((33,), (7,)), steps=2, rounds=1),
    step.Case("one tensor", ((5000,),), steps=1, rounds=1),
)
TRAINED = {"parameters": 100, "model_bytes": 400, "optimizer_bytes": 205, "peak_bytes": 640}


@pytest.fixture(scope="module")
def measured():
    """What `precision` finds on tiny cases, with ours and torch's optimizers alone."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return _measured(monkeypatch)


def _measured(monkeypatch):
    of_torch = [*precision.OURS.values(), precision.FUSED, peers.of_torch("no_such.Adam8bit")]
    monkeypatch.setattr(precision, "QUICK_CASES", TINY)
    monkeypatch.setattr(precision, "STEPS", of_torch)
    monkeypatch.setattr(precision, "OF_16_BITS", (precision.FULL, precision.MASTER_24))
    trained = []
    monkeypatch.setattr(precision, "in_process", lambda run: trained.append(run) or TRAINED)
    threads = torch.get_num_threads()
    found = precision.run(records.Options(quick=True, rounds=3))
    torch.set_num_threads(threads)
    assert [run.optimizer for run in trained] == ["torch.optim.Adam"] + ["adamantine.Adam"] * 3
    return found


def test_precision_measures_every_contender_in_every_case(measured):
    labels = {each.label for each in [*precision.OURS.values(), precision.FUSED]}
    for case in measured["steps"]:
        assert set(case["contenders"]) == labels
    for key in ("steps", "around"):
        for case, given in zip(measured[key], TINY, strict=True):
            assert case["parameters"] == given.parameters
            for of in case["contenders"].values():
                assert len(of["nanoseconds"]) == 3 * given.steps
    fused = measured["steps"][0]["contenders"][precision.FUSED.label]
    assert fused["tensor_bytes"] == 8 * 40 + 2 * 4  # two states, and a step count a tensor
    assert measured["left_out"] == {"no_such.Adam8bit()": "no_such is not installed"}


def test_precision_of_16_bit_parameters(measured):
    by_label = measured["of_16_bits"][1]["contenders"]
    assert set(by_label) == {precision.FULL.label, precision.MASTER_24.label}
    assert by_label[precision.FULL.label]["tensor_bytes"] == 8 * 5000 + 4
    # A byte below the bfloat16, codes of two states, their exponents, and a step count.
    assert by_label[precision.MASTER_24.label]["tensor_bytes"] == 3 * 5000 + 2 * 20 + 4
    printed = precision.to_markdown(measured)
    assert "speed (95 %), float32 parameters: 1" in printed
    assert "bytes of parameter and state | one tensor | ≤ 5.1 | **5.009**, met |" in printed
    older = {key: value for key, value in measured.items() if key != "of_16_bits"}
    assert precision.MASTER_24.label not in precision.to_markdown(older)


def test_precision_tables(measured):
    printed = precision.to_markdown(measured)
    assert "Left out: `no_such.Adam8bit()`: no_such is not installed." in printed
    assert "| `adamantine.Adam(state_dtype='int8')`" in printed
    assert "clip_grad_norm_(foreach=True), torch.optim.Adam(fused=True), zero_grad()" in printed
    assert "| 6.05 | 6.40 | 0 MiB |" in printed
    assert "| transformer | ≤ 6.2 | **6.050**, met |" in printed


def test_bars_are_judged_by_ratios_of_medians():
    def case(name, times):
        return {
            "case": name,
            "parameters": 10,
            "contenders": {
                each.label: {"tensor_bytes": 21, "array_bytes": 0, "nanoseconds": [ns] * 9}
                for each, ns in times.items()
            },
        }

    eight, sixteen = precision.OURS["int8"], precision.OURS["bfloat16"]
    large = case(precision.LARGE.name, {precision.FUSED: 11.0, eight: 10.0, sixteen: 10.0})
    rows = precision._bars({"steps": [large], "around": [], "trainings": []}).splitlines()
    assert "| ≤ 2.1 | **2.100**, met |" in "\n".join(rows)
    assert rows[-2].endswith("| ≥ 1.2 × | **1.1 ×** (1.1 – 1.1), missed |")
    assert rows[-1].endswith("| ≥ 1 × | **1.1 ×** (1.1 – 1.1), met |")


def test_what_is_timed_is_the_whole_of_it():
    grads = [torch.full((3,), 2.0), torch.full((2,), -1.0)]
    subject = precision.CLIPPED.make(grads)
    assert subject.turn() > 0
    # All that clipping leaves of a gradient is its share of the norm, and Adam its sign.
    params = subject._params
    assert all(param.grad is None for param in params)
    norm = (3 * 4 + 2 * 1) ** 0.5
    state = subject._optimizer.state[params[0]]
    torch.testing.assert_close(state["exp_avg"], torch.full((3,), 0.1 * 2 / norm))
    torch.testing.assert_close(params[1].detach(), torch.full((2,), 1.001))


PEERS = {contender.label: contender for contender in precision.STEPS}


@pytest.mark.parametrize(
    ("label", "per_parameter"),
    [
        ("bitsandbytes.optim.Adam8bit(min_8bit_size=1)", 2 + 2 * 4 / 256),
        ("optax.adam(0.001), jit", 8),
        ("optax.adam(0.001, mu_dtype='bfloat16'), jit", 6),
    ],
)
def test_peers_step_as_adam_does(label, per_parameter):
    contender = PEERS[label]
    with peers.quiet():
        pytest.importorskip(contender.needs, reason="pip install -e '.[benchmark]'")
        grads = [torch.linspace(1, 2, 4096)]
        subject = contender.make(grads)
        assert subject.turn() > 0
    # Code books of 256 floats for each of two states, or a step count.
    assert subject.held().tensors == pytest.approx(4096 * per_parameter, abs=2 * 256 * 4)
    params = subject._params if hasattr(subject, "_params") else subject._held[0]
    np.testing.assert_allclose(np.asarray(params[0].tolist()), 1 - 1e-3, atol=1e-5)


def test_a_peer_that_does_not_work_is_left_out_with_its_reason():
    def broken(grads):
        raise RuntimeError("no C++ compiler\nlong trace")

    found, left_out = peers.subjects([peers.Contender("x", "json", broken)], [])
    assert (found, left_out) == ({}, {"x": "RuntimeError: no C++ compiler"})
    # Ours has no such excuse.
    with pytest.raises(RuntimeError, match="compiler"):
        peers.subjects([peers.Contender("x", "adamantine", broken)], [])


def test_importing_the_benchmarks_imports_no_peer():
    script = "import sys; import benchmarks.precision; print(*sys.modules)"
    done = runs.child.run([sys.executable, "-c", script], {"PYTHONPATH": runs.paths()})
    assert not {"jax", "optax", "bitsandbytes", "torchao"}.intersection(done.output.split())


def test_held_looks_into_tensors_made_of_tensors():
    class Codes:
        def __init__(self):
            self.codes = torch.zeros(8, dtype=torch.uint8)

        def __tensor_flatten__(self):
            return ["codes"], {}

    param = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([param])
    optimizer.state[param]["exp_avg"] = Codes()
    assert memory.held(optimizer).tensors == 8


def test_packages_of_peers_are_in_the_extra():
    text = (runs.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = text.partition("benchmark = [")[2].partition("]\n")[0]
    for name in precision.PEERS:
        assert f'"{name}' in extra
        assert importlib.util.find_spec(name) is None or f"\n{name}==" in (
            runs.ROOT / "constraints.txt"
        ).read_text(encoding="utf-8")
