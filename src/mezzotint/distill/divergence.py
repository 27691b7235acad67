"""The integral KL divergence from the student's law to a reference's, by the score-function identity.

Zheng et al. 2025 (DiDi-Instruct), arXiv:2509.25035, theorem 3.1. With q_t the law of texts masked to the level t,
IKL = integral of omega(t) KL(q_t || reference_t), and

    grad IKL = E [ omega(t) / pi(t) * R(z, t) * grad log p(x) ],   R = log q_t(z) - log reference_t(z),

over t from pi, x from the student, z from x masked to the level t. A critic stands for the reward, -R.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.process.schedule import Schedule
from mezzotint.rng import Rng

EDGE = 0.02
"""The least distance of times from 0 and 1."""
OMEGA = (0.1, 10.0)
"""The bounds of omega."""
SAME = 1e-8
"""Rewards of a group that differ by less are as good as equal."""


@dataclass(frozen=True)
class TimeLaw:
    """pi: the Beta law of whole numbers a and b, the a-th smallest of a + b - 1 uniform numbers."""

    a: int = 1
    b: int = 1

    def draw(self, rng: Rng) -> Tensor:
        """(B,) float64 in [EDGE, 1 - EDGE]."""
        return rng.uniform(self.a + self.b - 1).sort(dim=1).values[:, self.a - 1].clamp(EDGE, 1 - EDGE)

    def density(self, t: Tensor) -> Tensor:
        """pi(t), elementwise; a time that was clamped to an edge counts as drawn there."""
        log_beta = math.lgamma(self.a) + math.lgamma(self.b) - math.lgamma(self.a + self.b)
        return t ** (self.a - 1) * (1 - t) ** (self.b - 1) * math.exp(-log_beta)


def omega(schedule: Schedule, t: Tensor) -> Tensor:
    """-alpha' / (1 - alpha) within OMEGA, elementwise: 1 / t under the log-linear schedule."""
    return schedule.weight(t).clamp(*OMEGA)


def advantages(reward: Tensor, has_reward: Tensor, group: int, clip: float) -> Tensor:
    """(R,): each reward less the mean of its group, in the group's standard deviations (n - 1), at most `clip` of them.

    Departure: a member of which nothing was masked has no reward (has_reward (R,) is False), no say and no advantage;
    nor has one that is alone, or whose group is all of one reward.
    """
    difference, deviation = _group_deviations(reward, has_reward, group)
    scaled = torch.where(deviation > SAME, difference / deviation.clamp(min=SAME), 0.0)
    return scaled.clamp(-clip, clip).flatten()


def spread(reward: Tensor, has_reward: Tensor, group: int) -> Tensor:
    """(R,): the standard deviation of the rewards of each member's group."""
    difference, deviation = _group_deviations(reward, has_reward, group)
    return deviation.expand_as(difference).flatten()


def surrogate(log_prob: Tensor, reward: Tensor, weight: Tensor) -> Tensor:
    """(R,): its gradient is an unbiased estimate of that of weight * KL, where reward is -R; both are held fixed."""
    return -(weight * reward).detach().to(log_prob.dtype) * log_prob


# ---- distances from the teacher -------------------------------------------------------------------------------------


def token_kl(logits: Tensor, others: Tensor) -> Tensor:
    """(K,) nats: KL(softmax(logits) || softmax(others)) at each pair, both (K, V)."""
    log_p, log_q = logits.float().log_softmax(-1), others.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def entropy(logits: Tensor) -> Tensor:
    """(K,) nats, from (K, V)."""
    log_p = logits.float().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def row_means(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count,): the mean of values (K,) over the pairs of each row, 0 where it has none."""
    sums = torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, rows, values)
    return sums / torch.bincount(rows, minlength=count).clamp(min=1)


def _group_deviations(reward: Tensor, has_reward: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Each reward less its group's mean (groups, G), 0 where there is none; the standard deviation (groups, 1)."""
    reward_NG, has_NG = reward.view(-1, group), has_reward.view(-1, group)
    n = has_NG.sum(1, keepdim=True)
    mean = (reward_NG * has_NG).sum(1, keepdim=True) / n.clamp(min=1)
    difference = (reward_NG - mean).masked_fill(~has_NG, 0.0)
    return difference, ((difference**2).sum(1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
