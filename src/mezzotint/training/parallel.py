"""Where the weights of a training are: a copy on every process, or on each its share (docs/decisions/0010).

Either way a gradient is the sum over all processes, to be divided by the count over all of them, and the systems know
nothing of it: they call their networks as they like, which torch's DistributedDataParallel, a wrapper, would not see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from mezzotint.errors import UsageError
from mezzotint.net.encoder_decoder import Crossing
from mezzotint.training.team import Team
from mezzotint.types import Loss

BUCKET = 2**24
"""Numbers that are sent at once: 64 MB."""


class Weights(Protocol):
    """How the players' weights are held."""

    def next_loss(self, stream: Iterator[Loss]) -> Loss | None:
        """A system's next loss, ready to be back-propagated."""
        ...

    def reduce_gradients(self, player: nn.Module, count: float) -> float:
        """After the backward pass of all parts: adds up the player's gradients and the counts over all processes."""
        ...

    def unsharded(self) -> AbstractContextManager[None]:
        """A context in which this process has all weights, and can compute at its own pace."""
        ...

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """A weight, or a tensor that belongs to it, unsharded, as files have it; all processes call it at once."""
        ...

    def local_shard(self, tensor: Tensor, like: Tensor) -> Tensor:
        """This process's shard of an unsharded tensor, placed as `like` is."""
        ...


class Replicated:
    """Every process has all weights, and the gradients are added up after the backward pass (data parallel)."""

    def __init__(self, team: Team) -> None:
        self.team = team

    def next_loss(self, stream: Iterator[Loss]) -> Loss | None:
        return next(stream, None)

    def reduce_gradients(self, player: nn.Module, count: float) -> float:
        if self.team.size == 1:
            return count
        trained = [p for p in player.parameters() if p.requires_grad]
        count, *gradients = self.team.sum([count, *(p.grad is not None for p in trained)])
        grads = []
        for p, processes in zip(trained, gradients, strict=True):
            if processes:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                grads.append(p.grad)
        for bucket in _buckets(grads):
            _all_reduce(bucket)
        return count

    def unsharded(self) -> AbstractContextManager[None]:
        return nullcontext()

    def full_tensor(self, tensor: Tensor) -> Tensor:
        return tensor

    def local_shard(self, tensor: Tensor, like: Tensor) -> Tensor:
        return tensor


def _buckets(grads: list[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of gradients of one type, of about BUCKET numbers each."""
    bucket: list[Tensor] = []
    for grad in grads:
        if bucket and (grad.dtype != bucket[0].dtype or sum(g.numel() for g in bucket) >= BUCKET):
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket


def _all_reduce(grads: list[Tensor]) -> None:
    from torch import distributed as dist

    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat)
    parts = flat.split([grad.numel() for grad in grads])
    torch._foreach_copy_(grads, [part.view_as(grad) for part, grad in zip(parts, grads, strict=True)])


class Sharded(nn.Module):
    """Each process keeps its share of weights, averages and optimiser state (FSDP2, Zhao et al. 2023).

    While a loss is computed and back-propagated the weights are whole everywhere, so no process waits for another in
    the middle of it: losses may call the networks as often as they like, such as for rollouts. What is back-propagated
    has to have gone through the same calls on all. The losses are computed inside this module's `forward`, whose hooks
    see to the gradients of weights that systems use in other ways than by calling a network.
    """

    def __init__(self, team: Team, players: Mapping[str, nn.Module], device: torch.device) -> None:
        super().__init__()
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
            raise UsageError(f"shard=true needs a newer torch than {torch.__version__}; leave it out")
        self.team = team
        self.networks = nn.ModuleDict(dict(players))
        mesh = init_device_mesh(device.type, (team.size,))
        for network in players.values():
            for block in _blocks(network):
                fully_shard(block, mesh=mesh, reshard_after_forward=False)
        fully_shard(self, mesh=mesh, reshard_after_forward=False)
        self.parts = [module for module in self.modules() if isinstance(module, FSDPModule)]
        for part in self.parts:
            part.set_reshard_after_backward(False)
            # Sums, not means; and by name, for gloo knows no sum of multiples, which FSDP2 would take for it.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)

    def forward(self, stream: Iterator[Loss]) -> tuple[Tensor | None, Loss | None]:
        loss = next(stream, None)
        return (None if loss is None else loss.total), loss

    def next_loss(self, stream: Iterator[Loss]) -> Loss | None:
        self._unshard()
        total, loss = self(stream)
        if loss is None:
            self._reshard()
            return None
        hooked: Loss = replace(loss, total=total)
        return hooked

    def reduce_gradients(self, player: nn.Module, count: float) -> float:
        self._reshard()
        return self.team.sum([count])[0]

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        self._unshard()
        try:
            yield
        finally:
            self._reshard()

    def full_tensor(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor

    def local_shard(self, tensor: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    def _unshard(self) -> None:
        for part in self.parts:
            part.unshard()

    def _reshard(self) -> None:
        for part in self.parts:
            part.reshard()


def _blocks(network: nn.Module) -> list[nn.Module]:
    """What is sent in one piece: the members of its lists of layers, inner ones first, and what of them is called
    before they are.

    A piece's gradients are sent when those of its inputs are there. Keys and values of a source are computed for all
    layers at once, so their gradients come after that.
    """
    early = [module.kv for module in network.modules() if isinstance(module, Crossing)]
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    members = [member for each in reversed(lists) for member in each]
    bare = (nn.ModuleList, nn.ModuleDict)
    return early + [m for m in members if not isinstance(m, bare) and next(m.parameters(), None) is not None]


def weights(team: Team, players: Mapping[str, nn.Module], device: torch.device, shard: bool) -> Weights:
    """The players' weights as they are to be held; to be made before their optimisers."""
    if team.size > 1 and not shard and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise UsageError("accelerate was told --use_fsdp and this run was not; train with --set shard=true as well")
    return Sharded(team, players, device) if shard and team.size > 1 else Replicated(team)
