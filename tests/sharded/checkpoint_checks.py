"""Checkpoints of DTensors; each a function of a mesh, as in ``checks``."""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint import state_dict as tools
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.utils._pytree import tree_map_only

import adamantine
from adamantine.errors import StateError, UsageError
from sharded.cases import assert_same, backward, network, parameters, sharded, spread, whole

ROUNDED: list[dict[str, Any]] = [{}, {"state_dtype": "int8"}, {"state_dtype": "bfloat16"}]


def trained(net: Any, cls: Any = adamantine.AdamW, **options: Any) -> Any:
    optimizer = cls(net.parameters(), lr=1e-2, **options)
    for step in range(3):
        backward(net, step)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def one_more_step(net: Any, optimizer: Any) -> None:
    backward(net, 99)
    optimizer.step()
    optimizer.zero_grad()


def copied(saved: Any) -> Any:
    """Tensors that need no conversion are taken over, as by torch."""
    return tree_map_only(torch.Tensor, torch.clone, saved)


def a_state_dict_holds_numbers_in_the_placements_of_parameters(mesh: Any) -> None:
    for options in ROUNDED:
        net = sharded(network(), mesh)
        optimizer = trained(net, **options)
        saved = optimizer.state_dict()
        for param, entry in zip(net.parameters(), saved["state"].values(), strict=True):
            for name in ("exp_avg", "exp_avg_sq"):
                assert isinstance(entry[name], DTensor)
                assert entry[name].placements == param.placements
                assert entry[name].shape == param.shape
                assert entry[name].dtype != torch.uint8
            assert set(entry) == {"step", "exp_avg", "exp_avg_sq"}
        other = sharded(network(), mesh)
        loaded = adamantine.AdamW(other.parameters(), lr=1e-2, **options)
        loaded.load_state_dict(copied(saved))
        other.load_state_dict(net.state_dict())
        one_more_step(net, optimizer)
        one_more_step(other, loaded)
        assert_same(list(other.parameters()), [whole(p.detach()) for p in net.parameters()], 0, 0)


def masters_are_saved_and_loaded(mesh: Any) -> None:
    for master in ("float32", "24bit"):
        net = sharded(network(torch.bfloat16), mesh)
        optimizer = trained(net, master=master)
        other = sharded(network(torch.bfloat16), mesh)
        other.load_state_dict(net.state_dict())
        loaded = adamantine.AdamW(other.parameters(), lr=1e-2, master=master)
        loaded.load_state_dict(copied(optimizer.state_dict()))
        for each in ((net, optimizer), (other, loaded)):
            one_more_step(*each)
        assert_same(list(other.parameters()), [whole(p.detach()) for p in net.parameters()], 0, 0)


def codes_of_parts_are_not_saved_as_codes(mesh: Any) -> None:
    net = sharded(network(), mesh)
    optimizer = trained(net, state_dtype="int8")
    with pytest.raises(UsageError, match="compact=True does not go with DTensors"):
        optimizer.state_dict(compact=True)
    trained(net, state_dtype="bfloat16").state_dict(compact=True)


def whole_states_and_other_placements_are_taken_apart(mesh: Any) -> None:
    plain = network()
    optimizer = trained(plain)
    for options in ROUNDED:
        net = sharded(plain, mesh)
        loaded = adamantine.AdamW(net.parameters(), lr=1e-2, **options)
        loaded.load_state_dict(optimizer.state_dict())
        for own, param in zip(net.parameters(), plain.parameters(), strict=True):
            assert loaded.state[own]["exp_avg"].placements == own.placements
            if not options:
                assert_same(
                    [loaded.state[own]["exp_avg"]], [optimizer.state[param]["exp_avg"]], 0, 0
                )
        one_more_step(net, loaded)
    # A whole tensor's codes are blocks of the whole.
    compact = trained(network(), state_dtype="int8").state_dict(compact=True)
    net = sharded(plain, mesh)
    with pytest.raises(StateError, match="codes of a whole tensor"):
        adamantine.AdamW(net.parameters(), state_dtype="int8").load_state_dict(compact)
    # Another placement is brought into the parameter's.
    given = parameters((6, 5))
    rows, columns = (spread(given, mesh, [Shard(dim)]) for dim in (0, 1))
    first, second = adamantine.AdamW(rows), adamantine.AdamW(columns)
    rows[0].grad = rows[0].detach().clone()
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.state[columns[0]]["exp_avg"].placements == (Shard(1),)
    assert_same(
        [second.state[columns[0]]["exp_avg"]], [whole(first.state[rows[0]]["exp_avg"])], 0, 0
    )
    with pytest.raises(StateError, match="is a DTensor, and its parameter is not"):
        adamantine.AdamW(given).load_state_dict(first.state_dict())


def a_state_that_was_made_before_sharding_is_refused(mesh: Any) -> None:
    (param,) = spread(parameters((6, 5)), mesh, [Replicate()])
    optimizer = adamantine.AdamW([param])
    param.grad = param.detach().clone()
    optimizer.step()
    optimizer.state[param]["exp_avg"] = torch.zeros(6, 5)
    with pytest.raises(StateError, match="'exp_avg' of parameter 0 of group 0 is an ordinary"):
        optimizer.step()


def torchs_tools_save_and_load(mesh: Any) -> None:
    """Flat, whole, offloaded and broadcast; the same as ``torch.optim`` where that has it."""
    for switches in (
        {},
        {"flatten_optimizer_state_dict": True},
        {"full_state_dict": True},
        {"full_state_dict": True, "cpu_offload": True},
        {"cpu_offload": True, "flatten_optimizer_state_dict": True},
        {"full_state_dict": True, "broadcast_from_rank0": True},
    ):
        way = tools.StateDictOptions(**switches)
        for options in ROUNDED:
            ended = []
            classes = [adamantine.AdamW] if options else [adamantine.AdamW, torch.optim.AdamW]
            for cls in classes:
                net = sharded(network(), mesh)
                optimizer = trained(net, cls, **options)
                model_state = tools.get_model_state_dict(net, options=way)
                saved = copied(tools.get_optimizer_state_dict(net, optimizer, options=way))
                other = sharded(network(), mesh)
                loaded = cls(other.parameters(), lr=1.0, **options)
                back = tools.StateDictOptions(**switches)
                if switches == {"full_state_dict": True, "cpu_offload": True}:
                    back.broadcast_from_rank0 = True  # only that one has been given it
                if back.broadcast_from_rank0 and mesh.get_rank() > 0:
                    model_state, saved = {}, {}
                tools.set_model_state_dict(other, model_state, options=back)
                tools.set_optimizer_state_dict(other, loaded, saved, options=back)
                assert loaded.param_groups[0]["lr"] == 1e-2
                one_more_step(net, optimizer)
                one_more_step(other, loaded)
                expected = [whole(p.detach()) for p in net.parameters()]
                assert_same(list(other.parameters()), expected, 0, 0)
                ended.append(expected)
            assert_same(ended[0], ended[-1], 1e-5, 1e-6)


def flat_parameters_of_fsdp1_are_as_torchs(mesh: Any) -> None:
    """Ordinary tensors, of which torch's own tools make whole states and back."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    for flat in (False, True):
        ended = []
        for cls in (adamantine.AdamW, torch.optim.AdamW):
            nets = [
                FullyShardedDataParallel(
                    network(), device_id=torch.device("cpu"), use_orig_params=not flat
                )
                for _ in range(2)
            ]
            optimizers = [cls(net.parameters(), lr=1e-2) for net in nets]
            for step in range(4):
                backward(nets[0], step)
                nets[0].clip_grad_norm_(0.5)
                optimizers[0].step()
                optimizers[0].zero_grad()
            states = FullyShardedDataParallel.optim_state_dict(nets[0], optimizers[0])
            nets[1].load_state_dict(nets[0].state_dict())
            optimizers[1].load_state_dict(
                FullyShardedDataParallel.optim_state_dict_to_load(nets[1], optimizers[1], states)
            )
            for net, optimizer in zip(nets, optimizers, strict=True):
                one_more_step(net, optimizer)
                with FullyShardedDataParallel.summon_full_params(net):
                    ended.append([p.detach().clone() for p in net.parameters()])
        # As torch's in each: with use_orig_params its own do not all go on as if never stopped.
        for ours, theirs in zip(ended[:2], ended[2:], strict=True):
            assert_same(ours, theirs, 1e-5, 1e-6)


def save(net: Any, optimizer: Any, place: Path) -> None:
    model, states = tools.get_state_dict(net, optimizer)
    with warnings.catch_warnings(action="ignore"):  # one process saves alone
        checkpoint.save({"model": model, "optimizer": states}, checkpoint_id=place)


def load(net: Any, optimizer: Any, place: Path) -> None:
    model, states = tools.get_state_dict(net, optimizer)
    with warnings.catch_warnings(action="ignore"):
        checkpoint.load({"model": model, "optimizer": states}, checkpoint_id=place)
    tools.set_state_dict(net, optimizer, model_state_dict=model, optim_state_dict=states)


def save_all(build: Callable[[], Any], folder: Path, processes: int) -> None:
    for index, options in enumerate(ROUNDED):
        net = build()
        save(net, trained(net, **options), folder / f"from_{processes}_{index}")


def load_all(build: Callable[[], Any], folder: Path, cls: Any = adamantine.AdamW) -> None:
    """What is there goes on as one process does that was never interrupted."""
    for index, options in enumerate(ROUNDED):
        expected = network()
        one_more_step(expected, trained(expected, **options))
        places = sorted(folder.glob(f"from_*_{index}"))
        assert places
        for place in places:
            for own in (options, {}) if cls is adamantine.AdamW else ({},):
                net = build()
                optimizer = cls(net.parameters(), lr=1.0, **own)
                load(net, optimizer, place)
                one_more_step(net, optimizer)
                # An int8 is rounded by its own scale, which shards may change.
                near = 1e-6 if not options else 5e-3
                assert_same(list(net.parameters()), list(expected.parameters()), 1e-5, near)


PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def the_page_runs(mesh: Any, folder: Path) -> None:
    code = "".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S))
    assert code.count("init_process_group") == code.count('"checkpoint"') / 2 == 1
    code = code.replace('torch.distributed.init_process_group("gloo")', "")
    exec(code.replace('"checkpoint"', repr(str(folder / "page"))), {})


def files_are_saved_and_loaded(mesh: Any, folder: Path) -> None:
    save_all(lambda: sharded(network(), mesh), folder, mesh.size())
    load_all(lambda: sharded(network(), mesh), folder)


def a_save_beside_the_training_has_the_states_of_its_moment(mesh: Any, folder: Path) -> None:
    own_group = torch.distributed.new_group(backend="gloo")  # or its messages meet the training's
    for index, options in enumerate(ROUNDED):
        net = sharded(network(), mesh)
        optimizer = trained(net, **options)
        model, states = tools.get_state_dict(net, optimizer)
        expected = [whole(p.detach()).clone() for p in net.parameters()]
        place = folder / f"beside_{mesh.size()}_{index}"
        with warnings.catch_warnings(action="ignore"):
            saving = checkpoint.async_save(
                {"model": model, "optimizer": states},
                checkpoint_id=place,
                process_group=own_group,
            )
            one_more_step(net, optimizer)
            saving.result()
        other = sharded(network(), mesh)
        loaded = adamantine.AdamW(other.parameters(), lr=1.0, **options)
        load(other, loaded, place)
        assert_same(list(other.parameters()), expected, 0, 0)
        one_more_step(other, loaded)
        after = [whole(p.detach()) for p in net.parameters()]
        assert_same(list(other.parameters()), after, 0, 5e-3 if options else 0)


class Killed(checkpoint.FileSystemWriter):
    """Writes for one process what all others wait for in vain: it is killed with a file begun."""

    def write_data(self, plan: Any, planner: Any) -> Any:
        if torch.distributed.get_rank() == 1:
            Path(self.path, "__1_0.distcp").write_bytes(b"begun")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write_data(plan, planner)


def train_until_killed(number: int, port: int, folder: Path) -> None:
    """One of two processes, of which the second dies while it saves a second time."""
    os.environ.update(
        RANK=str(number), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=20))
    mesh = torch.distributed.init_device_mesh("cpu", (2,))
    net = sharded(network(), mesh)
    optimizer = trained(net, state_dtype="int8")
    save(net, optimizer, folder / "first")
    torch.distributed.barrier()
    one_more_step(net, optimizer)
    model, states = tools.get_state_dict(net, optimizer)
    checkpoint.save({"model": model, "optimizer": states}, storage_writer=Killed(folder / "second"))
