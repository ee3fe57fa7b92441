"""Grids hold what their names say, rounding is fair, and the comparison of formats runs."""

import warnings

import numpy as np
import pytest
import torch
from benchmarks.grid_drift import Pair, quiet
from benchmarks.grid_training import LEARNING_RATE, GridAdam
from benchmarks.grids import Grid
from torch import nn

from adamantine.codecs import int8
from benchmarks import formats, grid_speed, grids, records

TABLES = {
    "E5M3": grids.floats(5, 3),
    "E4M4": grids.floats(4, 4),
    "E6M2": grids.floats(6, 2),
    "E4M3, signed": grids.shifted_floats(4, 3),
    "E3M4, signed": grids.shifted_floats(3, 4),
    "linear": grids.power_law(1),
    "power law 2": grids.power_law(2),
    "power law 4": grids.power_law(4),
    "dynamic": grids.dynamic(8, signed=False),
    "dynamic, nearest": grids.dynamic(8, signed=False),
}


def test_the_package_has_these_grids():
    unsigned = [int8.decode_unsigned(code, 1.0) for code in range(256)]
    signed = [int8.decode_signed(code, 1.0) for code in range(256)]
    np.testing.assert_array_equal(formats.E5M3.levels, unsigned)
    np.testing.assert_array_equal(formats.E4M3.levels, np.unique(signed))


def test_dynamic_map_of_four_bits():
    sizes = [0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875]
    expected = [*(-size for size in reversed(sizes)), 0, *sizes, 1]
    np.testing.assert_allclose(grids.dynamic(4, signed=True), expected, rtol=1e-6)


@pytest.mark.parametrize("signed", [True, False])
def test_dynamic_map_is_the_one_in_use(signed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("bitsandbytes.functional", exc_type=ImportError)
    theirs = np.sort(peer.create_dynamic_map(signed).numpy())
    np.testing.assert_allclose(grids.dynamic(8, signed), theirs, rtol=1e-6)


def _sample(table, blocks=4, block=256):
    """Values over four decades, with a sign where the table has one."""
    random = np.random.default_rng(0)
    size = 10 ** -(4 * random.random(blocks * block))
    sign = random.choice([-1, 1], size.shape) if table[0] < 0 else 1
    return (sign * size).astype(np.float32)


def _neighbours(table, values):
    low = np.searchsorted(table, values, "right") - 1
    return table[low], table[np.minimum(low + 1, len(table) - 1)]


@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize("name", ["E5M3", "E4M3, signed", "dynamic", "power law 4"])
def test_rounding_goes_to_neighbours_and_is_fair(name, power):
    table = TABLES[name]
    values = _sample(table)
    scale = np.abs(values.reshape(-1, 256)).max(1).astype(np.float64) / table[-1]
    scale = np.repeat(2 ** np.ceil(np.log2(scale)) if power else scale, 256)
    low, high = _neighbours(table, np.clip(values / scale, table[0], table[-1]))

    nearest = values.copy()
    Grid(table, power, stochastic=False).rewrite(nearest, 0)
    target = np.clip(values / scale, table[0], table[-1])
    expected = np.where(target - low < high - target, low, high)
    np.testing.assert_allclose(nearest / scale, expected, rtol=1e-5, atol=1e-9)

    total, draws = np.zeros(len(values)), 2000
    for step in range(draws):
        rounded = values.copy()
        Grid(table, power).rewrite(rounded, grids.key(1, step))
        total += rounded
        to_low = np.isclose(rounded, low * scale, rtol=1e-5, atol=1e-12)
        assert np.all(to_low | np.isclose(rounded, high * scale, rtol=1e-5, atol=1e-12))
    share = (target - low) / np.where(high > low, high - low, 1)
    error = (high - low) * scale * np.sqrt(np.clip(share * (1 - share), 1e-3, None) / draws)
    assert np.all(np.abs(total / draws - target * scale) <= 5 * error + 1e-6 * scale)


def test_a_block_of_zeros_stays_and_a_last_block_may_be_short():
    values = np.zeros(300, np.float32)
    values[256:] = 3
    Grid(grids.floats(5, 3)).rewrite(values, 0)
    assert not values[:256].any()
    np.testing.assert_array_equal(values[256:], 3)  # on the grid whatever the scale


def test_what_lies_below_the_lowest_level_is_counted():
    values = np.ones(256, np.float32)
    values[:64] = 2.0**-40
    assert Grid(grids.floats(5, 3)).rewrite(values, 0) == 0.25
    np.testing.assert_array_equal(values[:64], 2.0**-31)


@pytest.mark.parametrize("name", grid_speed.CODECS)
def test_timed_loops_are_codecs_of_their_grids(name):
    decode, encode, _ = grid_speed.CODECS[name]
    table = grids.dynamic(8, signed=False)
    decoded = np.array([decode(np.uint8(code), table) for code in range(256)])
    levels = TABLES[name]
    np.testing.assert_allclose(np.unique(decoded), levels, rtol=1e-6, atol=1e-12)
    random = np.random.default_rng(0)
    for value in _sample(levels, 1, 20) * levels[-1]:
        drawn = random.integers(0, 2**32, 500, np.uint32)
        got = decoded[[encode(value, bits, table) for bits in drawn]]
        low, high = _neighbours(levels, value)
        if name.endswith("nearest"):
            assert np.all(got == (high if value - low > high - value else low))
            continue
        assert np.all(np.isclose(got, low, rtol=1e-6) | np.isclose(got, high, rtol=1e-6))
        assert abs(got.mean() - value) <= 5 * (high - low) * 0.5 / 500**0.5


def test_small_floats_forget_a_storm_and_nearest_rounding_does_not():
    size = {"elements": 2048, "loud_steps": 2000, "quiet_steps": 1000}
    kept = quiet(formats.EIGHT[0], **size)
    nearest = next(pair for pair in formats.EIGHT if pair.name == "dynamic, nearest")
    assert abs(kept - 1) < 0.03
    assert quiet(nearest, **size) > 1.7


def test_a_grid_fine_enough_changes_no_update():
    fine = Grid(grids.floats(6, 12))
    pair = Pair("fine", Grid(grids.mirrored([0, *fine.levels])), fine)
    models = []
    for optimizer in ("torch", None, pair):
        torch.manual_seed(0)
        model = nn.Linear(40, 30)
        params = list(model.parameters())
        ours = None if optimizer == "torch" else GridAdam(params, optimizer, seed=0)
        theirs = torch.optim.Adam(params, lr=LEARNING_RATE)
        for _ in range(30):
            loss = model(torch.randn(8, 40)).square().mean()
            if ours is not None:
                ours.step(loss)
                continue
            theirs.zero_grad()
            loss.backward()
            theirs.step()
        models.append(model.weight.detach())
    torch.testing.assert_close(models[1], models[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(models[2], models[0], rtol=1e-3, atol=1e-4)


def test_formats_simulates_times_and_trains(monkeypatch):
    tiny = formats.Size(2048, 20, 10, 5, 2048, 20, seeds=2, epochs=1, rounds=2)
    monkeypatch.setattr(formats, "QUICK", tiny)
    monkeypatch.setattr(formats, "EIGHT", formats.EIGHT[:2])
    monkeypatch.setattr(formats, "FOUR", formats.FOUR[:1])
    monkeypatch.setattr(formats, "TRAINED", formats.TRAINED[:1])
    monkeypatch.setattr(grid_speed, "CODECS", {"E5M3": grid_speed.CODECS["E5M3"]})
    threads = torch.get_num_threads()
    found = formats.run(records.Options(quick=True, rounds=2))
    assert torch.get_num_threads() == threads
    assert [row["name"] for row in found["eight"]] == ["E4M3 and E5M3", "E4M3 and E4M4"]
    assert len(found["nanoseconds"]["E5M3"]) == 2
    assert found["training"]["workload"] == "digits"
    assert all(len(seeds) == 2 for seeds in found["training"]["accuracy_percent"].values())
    printed = formats.to_markdown(found)
    assert "| E2M1 and E4M0 |" in printed
    assert "| float32 |" in printed
    assert "training" not in formats.to_markdown({**found, "training": None})
    assert formats.picture(found).startswith(b"\x89PNG")
