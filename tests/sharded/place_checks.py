"""Random numbers go by an element's place in the whole tensor; functions of a mesh."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

import adamantine
from adamantine.backends.shards import Part
from adamantine.codecs.blocks import BLOCK
from sharded.cases import give_gradients, parameters, spread, whole


def in_order_of_memory(tensor: Tensor) -> list[int]:
    order = sorted(range(tensor.dim()), key=lambda dim: (-tensor.stride(dim), tensor.shape[dim]))
    return tensor.permute(order).reshape(-1).tolist()


def layouts(line: Any) -> list[tuple[Any, list[Any]]]:
    two = init_device_mesh("cpu", (line.size() // 2, 2), mesh_dim_names=("a", "b"))
    return [
        *((line, [placement]) for placement in (Replicate(), Shard(0), Shard(1), Shard(2))),
        (two, [Shard(0), Shard(1)]),
        (two, [Shard(1), Shard(1)]),
        (two, [Replicate(), Shard(2)]),
    ]


def places_are_those_in_the_whole(mesh: Any) -> None:
    for over, placements in layouts(mesh):
        for shape in ((4, 6, 8), (1, 5, 3), (2, 1, 7)):
            numbers = torch.arange(int(torch.tensor(shape).prod()))
            for dims in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
                # In memory in another order than that of its dimensions.
                other = numbers.view([shape[dim] for dim in dims])
                back = [dims.index(dim) for dim in range(3)]
                tensor = distribute_tensor(other.permute(back), over, placements)
                part = Part(tensor)
                expected = in_order_of_memory(part.local)
                assert part.places(1).tolist() == expected, (placements, shape, dims)
                whole_of_it = other.permute(back)
                assert torch.equal(part.cut(whole_of_it), part.local)


def places_under_two_kinds_of_parallelism(mesh: Any) -> None:
    """FSDP2 over tensor parallelism shards in an order of its own."""
    from torch.distributed.fsdp import fully_shard

    two = init_device_mesh("cpu", (mesh.size() // 2, 2), mesh_dim_names=("fsdp", "tp"))
    net = nn.Sequential(nn.Linear(3, 8))
    with torch.no_grad():
        net[0].weight.copy_(torch.arange(24).view(8, 3))
    parallelize_module(net, two["tp"], {"0": ColwiseParallel()})
    fully_shard(net, mesh=two["fsdp"])
    part = Part(net[0].weight)
    assert part.places(1).tolist() == in_order_of_memory(part.local.long())
    assert torch.equal(part.cut(torch.arange(24).view(8, 3).float()), part.local)


def stepped(params: list[Tensor], backend: Any, options: dict[str, Any]) -> Any:
    optimizer = adamantine.AdamW(params, lr=1e-2, backend=backend, rounding_seed=5, **options)
    for step in range(3):
        give_gradients(params, step)
        optimizer.step()
    return optimizer


def rounding_gives_the_bits_of_one_process(mesh: Any) -> None:
    bfloat16 = torch.bfloat16
    for backend in ("cpu", "reference"):
        for over, placements in [*layouts(mesh)[:3], layouts(mesh)[4]]:
            for dtype, options in (
                (bfloat16, {"param_rounding": "stochastic"}),
                (torch.float32, {"state_dtype": "bfloat16"}),
                (bfloat16, {"param_rounding": "kahan", "state_dtype": "bfloat16"}),
                (bfloat16, {"master": "24bit", "cautious": True}),
            ):
                plain = parameters((9, 20), (3, 64, 5), (1, 7), dtype=dtype)
                others = spread(plain, over, placements)
                one, several = (stepped(p, backend, options) for p in (plain, others))
                for param, other in zip(plain, others, strict=True):
                    assert torch.equal(whole(other.detach()), param.detach())
                    for name, value in one.state[param].items():
                        assert torch.equal(whole(several.state[other][name]), value)


def codes_are_those_of_one_process_where_shards_end_on_blocks(mesh: Any) -> None:
    for backend in ("cpu", "reference"):
        for placements in ([Shard(0)], [Shard(1)], [Replicate()]):
            plain = parameters((4, 4 * BLOCK))
            others = spread(plain, mesh, placements)
            options = {"state_dtype": "int8"}
            stepped(plain, backend, options)
            stepped(others, backend, options)
            assert torch.equal(whole(others[0].detach()), plain[0].detach())


def codes_are_within_one_of_those_of_one_process_elsewhere(mesh: Any) -> None:
    """Three bits after the leading one: neighbours are an eighth of the smaller apart."""
    plain = parameters((7, 390), (5, 3))
    for placements in ([Shard(0)], [Shard(1)]):
        states = []
        for params in ([nn.Parameter(p.detach().clone()) for p in plain], plain):
            given = spread(params, mesh, placements) if params is plain else params
            optimizer = adamantine.AdamW(given, state_dtype="int8")
            give_gradients(given, 0)
            optimizer.step()
            states.append(list(optimizer.state_dict()["state"].values()))
        for one, several in zip(*states, strict=True):
            for name in ("exp_avg", "exp_avg_sq"):
                expected = one[name]
                apart = (whole(several[name]) - expected).abs()
                smallest = expected.abs().max() / 256
                assert (apart <= expected.abs().clamp(min=smallest) / 7).all(), name


def kernels_and_the_reference_agree_on_codes_of_shards(mesh: Any) -> None:
    for placements in ([Shard(0)], [Shard(1)]):
        pair = []
        for backend in ("cpu", "reference"):
            params = spread(parameters((7, 390), (4, 2 * BLOCK)), mesh, placements)
            stepped(params, backend, {"state_dtype": "int8"})
            pair.append([whole(p.detach()) for p in params])
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-6)
