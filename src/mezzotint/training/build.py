"""A system ready to be trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from mezzotint.data.lengths import Lengths
from mezzotint.errors import UsageError
from mezzotint.spec.recipe import Recipe
from mezzotint.systems import entry
from mezzotint.training.device import autocast, pick_device, pick_precision
from mezzotint.training.loop import Trainer
from mezzotint.training.team import ALONE, Team
from mezzotint.types import AcceptsEmbeddings, HasFrozen, System


@dataclass(frozen=True)
class Start:
    """What a fresh system is given."""

    table: Tensor | None = None
    """(V, width): vectors of tokens."""
    frozen: Callable[[Mapping[str, nn.Module]], None] | None = None
    """Fills the networks that it starts from."""
    tuned: Callable[[Mapping[str, nn.Module]], None] | None = None
    """Makes its own networks, fresh, those of a trained run with what is to be tuned."""


def build_trainer(
    system: str,
    recipe: Recipe,
    lengths: Lengths | None,
    seed: int,
    device: str,
    team: Team = ALONE,
    start: Start = Start(),
) -> Trainer:
    """A fresh system on its device, ready to be trained; UsageError if it does not fit the memory or the processes."""
    where = pick_device(device)
    rows = recipe.training.batch // recipe.training.accumulate
    if rows < team.size:
        raise UsageError(
            f"{rows} rows at once are too few for {team.size} processes; set a larger batch or fewer parts"
        )
    try:
        model: System = entry(system).load(entry(system).system)(recipe.spec, lengths)
        shard = recipe.training.shard and team.size > 1
        networks = [*model.players.values(), *_begun(model, start, seed, shard)]
        for module in networks:
            module.to(where)
        dtype = pick_precision(recipe.training.precision, where)
        trainer = Trainer(model, recipe.training, seed, where, autocast(where, dtype), team=team)
    except RuntimeError as e:
        if "memory" not in str(e):
            raise
        raise UsageError("a network of this size does not fit the memory; choose a smaller --size, dim or depth") from e
    if recipe.training.compile:
        for module in model.players.values():
            module.compile(dynamic=True)
    return trainer


def _begun(model: System, start: Start, seed: int, shard: bool) -> list[nn.Module]:
    """Give a system its weights; returns the networks that it starts from, if it does."""
    frozen: list[nn.Module] = []
    if start.frozen is not None:
        assert isinstance(model, HasFrozen), "only a system that starts from others has a place for them"
        if shard:
            raise UsageError("shard=true has not been tried with networks that are not trained; leave it out")
        start.frozen(model.frozen)
        frozen = list(model.frozen.values())
    model.initialise(seed)
    if start.table is not None:
        if not isinstance(model, AcceptsEmbeddings):
            raise UsageError(f"{model.card.name} takes no vectors of others; leave embeddings out")
        model.embed(start.table)
    if start.tuned is not None:
        if shard:
            raise UsageError("shard=true has not been tried with adapters; leave it out")
        start.tuned(model.players)
    return frozen
