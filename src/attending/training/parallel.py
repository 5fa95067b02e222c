"""One process or many: torchrun's world, sums over it, and FSDP2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """The processes that train together; one unless torchrun started more."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @property
    def first(self) -> bool:
        """Whether this process is the one that talks and writes what is written once."""
        return self.rank == 0

    def total(self, value: float) -> float:
        """The sum over all processes."""
        return self._reduced(value, dist.ReduceOp.SUM)

    def greatest(self, value: float) -> float:
        """The greatest over all processes."""
        return self._reduced(value, dist.ReduceOp.MAX)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def _reduced(self, value: float, operation: dist.ReduceOp.RedOpType) -> float:
        if self.size == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(found, op=operation)
        return float(found)


def join() -> World:
    """The world this process belongs to; under torchrun its group is started."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)


def leave(world: World) -> None:
    """End the group."""
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def shard(module: nn.Module, blocks: Sequence[nn.Module], whole: Sequence[nn.Module], world: World, dtype: str) -> None:
    """Split the weights of `module` over the world by FSDP2, in place; nothing happens in a world of one.

    Args:
        module: What is trained; always entered through its own `forward`.
        blocks: Parts whose weights are gathered together, such as the layers.
        whole: Parts that every process keeps: frozen ones, which processes enter at different times.
        world: The processes.
        dtype: What is computed in; gradients are summed in float32.
    """
    if world.size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    kept = {parameter for one in whole for parameter in one.parameters()}
    reduced = torch.bfloat16 if dtype == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=reduced, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy, ignored_params=kept)
    fully_shard(module, mesh=mesh, mp_policy=policy, ignored_params=kept)


def fold(module: nn.Module) -> None:
    """Let go of gathered weights, which FSDP2 keeps at hand after a pass without gradients."""
    from torch.distributed.fsdp import FSDPModule

    if isinstance(module, FSDPModule):
        module.reshard()


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's rows of a tensor that FSDP2 has split; others as they are."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All rows of a tensor that FSDP2 has split; every process must ask."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
