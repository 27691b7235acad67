"""The one training loop: a generator of records that knows systems, batches and time, and no file.

A step is a pure function of (seed, step, state): batches, corruption and dropout are drawn from them, so a run that is
stopped and continued goes on as if nothing had happened, to the bit on the same machine. Where several processes train,
each computes its share of every batch; losses and gradients are sums over all shares, divided by the count over all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mezzotint.errors import RunError
from mezzotint.rng import Rng
from mezzotint.spec.training import TrainingSpec
from mezzotint.training.checkpoint import Checkpoint, fill, named
from mezzotint.training.parallel import Weights, weights
from mezzotint.training.team import ALONE, Team
from mezzotint.types import Canvas, Loss, Scheduled, System

Batches = Callable[[int, int, int], Canvas]
"""(step, first row, number of rows) -> those rows of the step's global batch."""


@dataclass(frozen=True)
class Tick:
    """What the loop reports, a few times a second at most, and at every event."""

    step: int
    fraction: float
    """The share of the run that is done."""
    loss: float
    """Nats per symbol, the mean since the last report."""
    parts: Mapping[str, float]
    lr: float
    tokens_per_second: float
    """Real tokens, padding not counted, since the last report."""
    elapsed: float
    """Seconds of training, those before an interruption included."""
    remaining: float
    validate: bool = False
    """Here the run asks for a validation."""
    save: bool = False
    """Here the run asks to be saved."""


@dataclass
class Trainer:
    """A system in training: its weights, their average, its optimisers, and how far it has come."""

    system: System
    spec: TrainingSpec
    seed: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    step: int = 0
    elapsed: float = 0.0
    team: Team = ALONE
    weights: Weights = field(init=False)
    optimisers: dict[str, torch.optim.AdamW] = field(init=False)
    ema: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        players: Mapping[str, nn.Module] = self.system.players
        self.weights = weights(self.team, players, self.device, self.spec.shard)
        betas = (self.spec.beta1, self.spec.beta2)
        self.lr_scales: Mapping[str, float] = {}
        self.optimisers = {
            name: torch.optim.AdamW(
                module.parameters(), lr=self.spec.lr, betas=betas, weight_decay=self.spec.weight_decay, fused=True
            )
            for name, module in players.items()
        }
        self.ema = {k: v.detach().clone() for k, v in named(players).items()}

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.spec.max_steps:
            return min(self.step / self.spec.max_steps, 1.0)
        return min(self.elapsed / (60 * self.spec.minutes), 1.0)

    def checkpoint(self) -> Checkpoint:
        """The state to be saved, whole on every process; all have to ask for it at once."""
        full = self.weights.full_tensor
        state: dict[str, Tensor] = {}
        for player, module in self.system.players.items():
            for name, parameter in module.named_parameters():
                for key, value in self.optimisers[player].state[parameter].items():
                    state[f"{player}.{name}.{key}"] = full(value)
        counters = {"step": self.step, "elapsed": self.elapsed, "finished": self.fraction >= 1}
        raw = {k: full(v) for k, v in named(self.system.players).items()}
        return Checkpoint(raw, self.averaged(), state, counters)

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights, whole on every process; all have to ask for them at once."""
        return {k: self.weights.full_tensor(v) for k, v in self.ema.items()}

    def restore(self, checkpoint: Checkpoint, source: str) -> None:
        """Go on from a saved state, whether one process saved it or many."""
        local = self.weights.local_shard
        fill(self.system.players, checkpoint.weights, source, local)
        current = named(self.system.players)
        self.ema = {k: local(v.to(self.device), current[k]) for k, v in checkpoint.ema.items()}
        for player, module in self.system.players.items():
            for name, parameter in module.named_parameters():
                prefix = f"{player}.{name}."
                self.optimisers[player].state[parameter] = {
                    k.removeprefix(prefix): local(v.to(self.device), parameter)
                    for k, v in checkpoint.optimiser.items()
                    if k.startswith(prefix)
                }
        self.step, self.elapsed = int(checkpoint.counters["step"]), float(checkpoint.counters["elapsed"])

    def run(self, batches: Batches, report_every: float = 0.25, save_seconds: float = 60.0) -> Iterator[Tick]:
        """Train to the end. After a tick that asks to be saved or validated, the caller does so and goes on."""
        meter = Meter()
        saved_at = time.monotonic()
        while self.fraction < 1:
            before, began = self.fraction, time.monotonic()
            meter.add(self.update(batches))
            now = time.monotonic()
            # Clocks differ, and what follows has to be the same everywhere.
            seconds, report_due, save_due = self.team.broadcast(
                [now - began, meter.seconds >= report_every, now - saved_at >= save_seconds]
            )
            self.elapsed += seconds
            done = self.fraction >= 1
            validate = done or _crossed(before, self.fraction, self.spec.validations)
            every = self.spec.save_every
            save = done or bool(self.step % every == 0 if every else save_due)
            if save or validate or report_due:
                yield self._tick(meter, validate, save)
                meter = Meter()
                saved_at = time.monotonic() if save else saved_at

    def _tick(self, meter: Meter, validate: bool, save: bool) -> Tick:
        """The report of what the meter has; RunError where the loss is no longer finite."""
        fraction = self.fraction
        remaining = self.elapsed / fraction - self.elapsed if fraction else math.inf
        loss, parts, rate = meter.read(self.team)
        if not math.isfinite(loss):
            raise self.team.shared_error(
                RunError(
                    f"the loss is {loss} at step {self.step}; the checkpoints are whole, but train with a lower lr"
                )
            )
        lr = self._learning_rate(fraction)
        return Tick(self.step, fraction, loss, parts, lr, rate, self.elapsed, remaining, validate, save)

    def _learning_rate(self, fraction: float) -> float:
        """Rising linearly in the warm-up, then falling linearly to zero at the end."""
        if fraction < self.spec.warmup:
            return self.spec.lr * max(fraction / self.spec.warmup, 0.02)
        return self.spec.lr * max(1 - fraction, 1e-3) / (1 - self.spec.warmup)

    def update(self, batches: Batches) -> list[Loss]:
        """One step of every player; returns each one's loss, summed over all parts of the batch."""
        torch.manual_seed((self.seed * 1_000_003 + self.step) * self.team.size + self.team.rank)
        self.lr_scales = self.system.schedule(self.fraction) if isinstance(self.system, Scheduled) else {}
        size = self.spec.batch // self.spec.accumulate
        loss_streams = []
        for part in range(self.spec.accumulate):
            rows = self.team.share(range(part * size, (part + 1) * size))
            rng = Rng(self.seed, rows, f"train/{self.step}", self.spec.batch)
            batch = batches(self.step, rows.start, len(rows)).to(self.device)
            with self.autocast():
                loss_streams.append(iter(self.system.losses(batch, rng)))
        losses = [loss for loss in iter(lambda: self._train_player(loss_streams), None) if loss is not None]
        self.step += 1
        assert losses, "a system has at least one player"
        return losses

    def _train_player(self, loss_streams: list[Iterator[Loss]]) -> Loss | None:
        """Back-propagate one player's loss in every part of the batch, then update that player; None after the last."""
        losses: list[Loss] = []
        for stream in loss_streams:
            with self.autocast():
                loss = self.weights.next_loss(stream)
            if loss is None:
                return None
            loss.total.backward()
            losses.append(Loss(loss.total.detach(), loss.parts, loss.count, loss.player))
        loss = _sum(losses)
        self._move(loss.player, self.weights.reduce_gradients(self.system.players[loss.player], loss.count))
        return loss

    def _move(self, player: str, count: float) -> None:
        module = self.system.players[player]
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        torch._foreach_div_(grads, max(count, 1.0))
        if self.spec.clip:
            nn.utils.clip_grad_norm_(module.parameters(), self.spec.clip)
        optimiser = self.optimisers[player]
        for group in optimiser.param_groups:
            group["lr"] = self._learning_rate(self.fraction) * self.lr_scales.get(player, 1.0)
        optimiser.step()
        # A loss may reach through another player's network; what it left there is not that player's.
        for each in self.optimisers.values():
            each.zero_grad(set_to_none=True)
        self._average(player, module)

    def _average(self, player: str, module: nn.Module) -> None:
        decay = min(self.spec.ema, (1 + self.step) / (10 + self.step))
        current = named({player: module})
        weights = {k: v for k, v in current.items() if v.is_floating_point()}
        with torch.no_grad():
            torch._foreach_lerp_([self.ema[k] for k in weights], list(weights.values()), 1 - decay)
            for name in current.keys() - weights.keys():
                self.ema[name].copy_(current[name])


def _crossed(before: float, after: float, times: int) -> bool:
    return times > 0 and math.floor(before * times) < math.floor(after * times)


def _sum(losses: list[Loss]) -> Loss:
    parts = {k: torch.stack([loss.parts[k] for loss in losses]).sum() for k in losses[0].parts}
    total = torch.stack([loss.total for loss in losses]).sum()
    return Loss(total, parts, sum(loss.count for loss in losses), losses[0].player)


class Meter:
    """Sums since the last report; tensors stay on their device until read."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.steps: list[list[Loss]] = []

    def add(self, losses: list[Loss]) -> None:
        """The losses of one step, one a player."""
        self.steps.append(losses)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def read(self, team: Team) -> tuple[float, dict[str, float], float]:
        """The first player's loss per symbol, all parts per symbol of their players, symbols per second of the first,
        over all processes."""
        sums: dict[tuple[int, str], float] = {}
        for losses in self.steps:
            for player, loss in enumerate(losses):
                figures = {"": float(loss.total), "/": loss.count} | {k: float(v) for k, v in loss.parts.items()}
                for name, value in figures.items():
                    sums[player, name] = sums.get((player, name), 0.0) + value
        totals = dict(zip(sums, team.sum(list(sums.values())), strict=True))
        means = {key: value / max(totals[key[0], "/"], 1.0) for key, value in totals.items()}
        parts = {name: mean for (_, name), mean in means.items() if name not in ("", "/")}
        return means[0, ""], parts, totals[0, "/"] / max(self.seconds, 1e-9)
