"""The chain: p(x) = p(length) p(x_1) product of p(x_i | x_i-1), with gaps filled by Bayes' rule.

Shannon 1948, "A Mathematical Theory of Communication", §3; sums over what is unknown by the forward and backward
recursions of Baum et al. 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mezzotint.data.lengths import Lengths
from mezzotint.objective.length import LengthCost
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Frame, Loss, Request
from mezzotint_markov import CARD, MarkovSpec


class Transitions(nn.Module):
    """Log-probabilities of tokens after tokens, of low rank before they are normalised."""

    def __init__(self, spec: MarkovSpec) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.zeros(spec.vocab + 1, spec.width))
        self.after = nn.Parameter(torch.zeros(spec.vocab, spec.width))
        self.frequency = nn.Parameter(torch.zeros(spec.vocab))

    def forward(self) -> Tensor:
        """(V + 1, V): log p(token | token before it); the last row is for the first token of a text."""
        return (self.before @ self.after.mT + self.frequency).float().log_softmax(-1)


class Markov:
    """The system."""

    card = CARD

    def __init__(self, spec: MarkovSpec, lengths: Lengths | None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths)
        self.net = Transitions(spec)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.net.frequency.zero_()
            for vectors in (self.net.before, self.net.after):
                vectors.normal_(0, self.spec.width**-0.5, generator=generator)

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        chain, length = self._log_p(batch).neg().sum(), self.length(batch.real).sum()
        yield Loss(chain + length, {"chain": chain.detach(), "length": length}, self.length.symbols(batch.free))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats, exact: of the whole text, less what the given tokens cost by themselves."""
        return self.length(batch.real).double() - self._log_p(batch) + self._log_given(batch)

    def evidence(self, canvas: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats, exact: -log p(length, given tokens)."""
        return self.length(canvas.real).double() - self._log_given(canvas)

    def sample(self, request: Request) -> Iterator[Frame]:
        """From left to right, each token given the one before it and all that is given behind it."""
        canvas, rows = request.canvas, len(request.canvas.ids)
        u = Rng(request.seed, canvas.index.tolist()).at("token").uniform(canvas.ids.shape[1]).to(canvas.ids.device)
        with torch.no_grad():
            log_p, open_BLV = self.net().double(), self._open(canvas, request.forbidden, request.spaced)
            ahead = self._ahead(canvas, log_p, open_BLV)
        ids, known, confidence = canvas.ids.clone(), canvas.given.clone(), canvas.given.float()
        before, steps = torch.full_like(ids[:, 0], self.spec.vocab), ids.shape[1]
        nfe = torch.ones(rows, dtype=torch.int64)
        for i in range(steps + 1):
            t = torch.full((rows,), 1 - i / steps, dtype=torch.float64)
            yield Frame(i, steps, t, ids.clone(), known.clone(), confidence.clone(), nfe, i == steps)
            if i < steps:
                p_BV = tilt(log_p[before] + open_BLV[:, i] + ahead[:, i], request.temperature, request.top_p)
                free = canvas.free[:, i]
                ids[:, i] = torch.where(free, inverse_cdf(p_BV, u[:, i]), ids[:, i])
                chance = p_BV.gather(1, ids[:, i, None])[:, 0].float()
                confidence[:, i] = torch.where(free, chance, confidence[:, i])
                known[:, i], before = canvas.real[:, i], ids[:, i]

    def _log_p(self, batch: Canvas) -> Tensor:
        """(B,) float64: log p(tokens | length) of whole texts."""
        before = torch.cat([torch.full_like(batch.ids[:, :1], self.spec.vocab), batch.ids[:, :-1]], dim=1)
        log_p: Tensor = self.net()[before, batch.ids].double()
        return (log_p * batch.real).sum(1)

    def _log_given(self, canvas: Canvas) -> Tensor:
        """(B,) float64: log p(given tokens | length)."""
        if not bool(canvas.given.any()):
            return torch.zeros(len(canvas.ids), dtype=torch.float64, device=canvas.ids.device)
        log_p: Tensor = self.net().double()
        open_BLV = self._open(canvas)
        return (log_p[-1] + open_BLV[:, 0] + self._ahead(canvas, log_p, open_BLV)[:, 0]).logsumexp(-1)

    def _open(self, canvas: Canvas, forbidden: tuple[int, ...] = (), spaced: Tensor | None = None) -> Tensor:
        """(B, L, V) float64: 0 for the ids that a position can have, minus infinity for the others."""
        shape, device = (*canvas.ids.shape, self.spec.vocab), canvas.ids.device
        allowed = torch.zeros(shape, dtype=torch.float64, device=device)
        allowed = allowed.index_fill(-1, torch.tensor(forbidden, dtype=torch.int64, device=device), -torch.inf)
        allowed = allowed if spaced is None else canvas.respect_spacing(allowed, spaced)
        only = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        only.scatter_(-1, canvas.ids[..., None], 0.0)
        return torch.where(canvas.given[..., None], only, allowed)

    @staticmethod
    def _ahead(canvas: Canvas, log_p: Tensor, open_BLV: Tensor) -> Tensor:
        """(B, L, V): log p(what is given behind a position | its token); padding says nothing."""
        message = torch.zeros_like(open_BLV[:, 0])
        messages = [message]
        for i in range(open_BLV.shape[1] - 1, 0, -1):
            # (B, V) by (V, V) in logarithms: sum over the token at i for each token at i - 1.
            there = open_BLV[:, i] + message
            top = there.amax(-1, keepdim=True)
            summed = ((there - top).exp() @ log_p[:-1].exp().mT).log() + top
            message = torch.where(canvas.real[:, i, None], summed, 0.0)
            messages.append(message)
        return torch.stack(messages[::-1], dim=1)
