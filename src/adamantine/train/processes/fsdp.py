"""Parameters divided among processes (FSDP2), and checkpoints that do not know of it."""

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


def divide(model: nn.Module) -> None:
    """Divide the parameters of `model` where they are, the first process's among all.

    Blocks are put together one at a time: the elements of ``nn.ModuleList`` and ``nn.Sequential``
    that have modules of their own. All else is one unit.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)
    # Of the parameters' device, which need not be the machine's fastest.
    mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
    # Inner ones first; a parameter that two blocks share can belong to neither.
    if len(list(model.parameters())) == len(list(model.named_parameters(remove_duplicate=False))):
        for module in reversed(list(model.modules())):
            if isinstance(module, nn.ModuleList | nn.Sequential):
                for block in module:
                    held = next(block.children(), None), next(block.parameters(), None)
                    if None not in held:
                        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(value: Any, *, keep: bool) -> Any:
    """`value` with its divided tensors put together; where not `keep`, these are dropped.

    All processes have to call it.
    """
    if isinstance(value, DTensor):
        full = value.full_tensor()
        return full.detach() if keep else None
    if isinstance(value, dict):
        # Copied as what it is: a model's state is an OrderedDict with versions as an attribute.
        replaced = {key: whole(element, keep=keep) for key, element in value.items()}
        if any(replaced[key] is not value[key] for key in replaced):
            value = value.copy()
            value.update(replaced)
        return value
    return value


def parts_of_model(saved: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """What of a whole model's state belongs into this process."""
    own = model.state_dict()
    parts = saved.copy()
    parts.update({name: _part(value, own.get(name)) for name, value in saved.items()})
    return parts


def parts_of_optimizer(saved: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """What of a whole optimizer's state belongs into this process."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state = {
        number: {name: _part(value, params[number]) for name, value in states.items()}
        if number < len(params)
        else states
        for number, states in saved["state"].items()
    }
    return {**saved, "state": state}


def _part(value: Any, like: Any) -> Any:
    if not isinstance(value, Tensor) or not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    mesh = like.device_mesh
    return distribute_tensor(value.to(like.device), mesh, like.placements, src_data_rank=None)
