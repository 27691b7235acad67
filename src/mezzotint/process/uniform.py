"""Uniform noise: each free token is drawn anew from the whole vocabulary, independently, with probability 1 - alpha(t).

Sources: Austin et al. 2021 (D3PM), arXiv:2107.03006, App. A.2.1, and Hoogeboom et al. 2021, arXiv:2102.05379, for the
process; Schiff et al. 2024 (UDLM), arXiv:2412.10193, and Sahoo et al. 2025 (Duo), arXiv:2506.10892, for the posterior
and the bound in continuous time.

What makes a prediction right here is not p(x | z_t) but p(x | z_t without the position's own token): put in the place
of a known x, it gives the reverse of the process exactly (tests/test_duo.py), and it is what the bound is least at.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.process.schedule import Schedule
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Noised


class Uniform:
    """The process over a vocabulary of `vocab` ids; it has no mask, and every state is a text."""

    def __init__(self, schedule: Schedule, vocab: int) -> None:
        self.schedule = schedule
        self.vocab = vocab

    def corrupt(self, z0: Tensor, t: Tensor, free: Tensor, rng: Rng) -> Noised:
        """z0 (B, L) with each free position kept with probability alpha(t), t (B,), else any id of the vocabulary."""
        uniforms = rng.at("whether").uniform(z0.shape[1]).to(z0.device)
        is_replaced = free & (uniforms >= self.schedule.alpha(t)[:, None])
        return Noised(torch.where(is_replaced, self._random_ids(z0, rng), z0), t)

    def prior(self, canvas: Canvas, rng: Rng) -> Noised:
        """The state at t = 1: any id of the vocabulary at every free position, the canvas elsewhere."""
        t = torch.ones(len(canvas.ids), dtype=torch.float64, device=canvas.ids.device)
        return Noised(torch.where(canvas.free, self._random_ids(canvas.ids, rng), canvas.ids), t)

    def _random_ids(self, like: Tensor, rng: Rng) -> Tensor:
        return (rng.at("what").uniform(like.shape[1]) * self.vocab).long().to(like.device)

    def posterior(self, p_KV: Tensor, z_K: Tensor, t_K: Tensor, s_K: Tensor) -> Tensor:
        """(K, V): q(z_s | z_t, x) for tokens z at times t, s < t, with the odds p (K, V) of the clean token for x.

        q(z_t | z_s) q(z_s | x), normalised: each keeps the token or draws any.
        """
        alpha_t, alpha_s = (self.schedule.alpha(time)[:, None].to(p_KV) for time in (t_K, s_K))
        alpha_ts = alpha_t / alpha_s
        q_s = alpha_s * p_KV + (1 - alpha_s) / self.vocab
        likelihood = ((1 - alpha_ts) / self.vocab).expand_as(q_s).scatter_add(1, z_K[:, None], alpha_ts)
        joint = q_s * likelihood
        return joint / joint.sum(1, keepdim=True)

    def divergence(self, p_KV: Tensor, z_K: Tensor, x_K: Tensor, t_K: Tensor) -> Tensor:
        """(K,) float64 nats per unit of time: how fast the reverse process of odds p diverges from that of token x.

        The Kullback-Leibler divergence of q(z_s | z_t, p) from q(z_s | z_t, x) over t - s, as s goes to t: what the
        bound integrates. In the Rao-Blackwellised form of Duo nothing but p is a vector. Written out it is

            -alpha' / (V alpha) * sum over j of r_j log(r_j / rho_j) - r_j + rho_j,

        r_j = q(z_t = j | x) / q(z_t | x) and rho_j the same with p: jumps to j that x has, and that p has.
        """
        V, alpha = self.vocab, self.schedule.alpha(t_K).double()
        noise = 1 - alpha
        q_KV = V * alpha[:, None].to(p_KV) * p_KV + noise[:, None].to(p_KV)  # V q(z_t = j | p)
        log_q = q_KV.log()
        log_qz, log_qx = (log_q.gather(1, ids[:, None])[:, 0].double() for ids in (z_K, x_K))
        log_rho = log_q.sum(1, dtype=torch.float64) - V * log_qz
        clean = V * alpha + noise
        odds = clean / noise  # of the clean token against any other, given x
        terms = (
            (V - 1) / odds * -odds.log() - log_rho / odds - V / clean,
            odds * odds.log() - log_rho - (odds - 1) * (log_qx - log_qz) - V / noise,
        )
        total = torch.where(z_K == x_K, *terms) + V * (-log_qz).exp()
        return -self.schedule.slope(t_K) / (V * alpha) * total

    def remainder(self) -> float:
        """Nats a free token: the divergence of the prior from q(z_1 | x), whatever x is; alpha(1) is not quite 0."""
        alpha = float(self.schedule.alpha(torch.ones((), dtype=torch.float64)))
        q = torch.tensor([alpha + (1 - alpha) / self.vocab, (1 - alpha) / self.vocab], dtype=torch.float64)
        return float((q * (self.vocab * q).log() * torch.tensor([1, self.vocab - 1])).sum())
