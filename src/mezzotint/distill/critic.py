"""The critic: a discriminator of masked texts of the reference from masked texts of the student.

Zheng et al. 2025 (DiDi-Instruct), arXiv:2509.25035. The teacher's network with a logit at each position in place of
its output; only the last blocks and that head learn. At its optimum the logit is the log-ratio of the two laws, each
with a tenth of the other in it: that of reference to student where they are near, at most log 9 where they are far.
Departure: a network without a condition is not told the time; how much is masked says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.distill.divergence import row_means
from mezzotint.net.conditioning import TimeEmbedding
from mezzotint.net.transformer import Trunk
from mezzotint.process.absorbing import Absorbing
from mezzotint.sampler.subs import add_frame, num_positions
from mezzotint.spec.mdlm import MDLMSpec
from mezzotint.types import Canvas, Noised

REFERENCE_LABEL = 0.9
"""Smoothed; the student's is 1 - 0.9."""
POWER_ITERATIONS = 16
"""For a largest singular value."""


class Spectral(nn.Linear):
    """A linear layer divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    Departure: that value is found anew in every call, from the same start, so that there is no state to be saved,
    averaged or told to other processes.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            v = torch.ones(self.in_features, dtype=self.weight.dtype, device=self.weight.device)
            for _ in range(POWER_ITERATIONS):
                u = F.normalize(self.weight @ v, dim=0)
                v = F.normalize(self.weight.T @ u, dim=0)
        return F.linear(x, self.weight / torch.dot(u, self.weight @ v), self.bias)


class CriticNet(Trunk):
    """Token ids to a logit at each position; the last `learning` blocks and the head have gradients."""

    def __init__(self, spec: MDLMSpec, learning: int) -> None:
        super().__init__(spec.net, num_positions(spec))
        dim, width = spec.net.dim, spec.net.condition
        self.vocab = spec.vocab
        self.embed = nn.Embedding(spec.vocab + 1, spec.net.factor or dim)
        self.widen = nn.Linear(spec.net.factor, dim, bias=False) if spec.net.factor else None
        self.time = TimeEmbedding(width) if width else None
        self.requires_grad_(False)
        for block in self.blocks[-learning:]:
            block.requires_grad_(True)
        self.head = nn.Sequential(Spectral(dim, dim), nn.SiLU(), Spectral(dim, 1))

    def start_from(self, teacher: Mapping[str, Tensor], generator: torch.Generator) -> None:
        """The teacher's weights (by its names), and a fresh head as in torch."""
        self.load_state_dict({k: v for k, v in teacher.items() if not k.startswith("head.")}, strict=False)
        for layer in (self.head[0], self.head[2]):
            assert isinstance(layer, Spectral)
            bound = layer.in_features**-0.5
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)

    def forward(
        self,
        ids_BL: Tensor,
        sigma: Tensor,
        real: Tensor | None,
        soft: tuple[tuple[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """(B, L) float32. `soft`: pairs (rows (K,), positions (K,)) and logits (K, V), embedded as a mean of tokens."""
        x_BLD = self.embed(ids_BL)
        if soft is not None:
            at, logits = soft
            table = self.embed.weight[: self.vocab]
            x_BLD = x_BLD.index_put(at, (logits.float().softmax(-1).to(table.dtype) @ table).to(x_BLD.dtype))
        x_BLD = x_BLD if self.widen is None else self.widen(x_BLD)
        condition = None if self.time is None else self.time(sigma)
        logit: Tensor = self.head(self.through(x_BLD, condition, real))
        return logit[..., 0].float()


@dataclass(frozen=True)
class MaskedLogits:
    """The critic's logits (K,) at the masked pairs `at`."""

    logits: Tensor
    at: tuple[Tensor, Tensor]


class Critic:
    """The network with the process whose states it classifies."""

    def __init__(self, spec: MDLMSpec, process: Absorbing, learning: int) -> None:
        self.spec = spec
        self.process = process
        self.net = CriticNet(spec, learning)

    def logits(self, noised: Noised, cond: Canvas, soft: tuple[tuple[Tensor, Tensor], Tensor] | None = None) -> Tensor:
        """(B, L) log-odds of the reference; `soft` as in `CriticNet.forward`, for masked pairs."""
        z, real = add_frame(noised.z, cond.real, self.spec)
        if self.spec.frame >= 0 and soft is not None:
            (rows, positions), token_logits = soft
            soft = (rows, positions + 1), token_logits
        logits: Tensor = self.net(z, self.process.schedule.sigma(noised.t), real, soft)
        return logits if self.spec.frame < 0 else logits[:, 1:-1]

    def masked_logits(self, noised: Noised, cond: Canvas) -> MaskedLogits:
        """The logits at the masked positions."""
        rows, positions = (cond.free & (noised.z == self.process.mask)).nonzero(as_tuple=True)
        return MaskedLogits(self.logits(noised, cond)[rows, positions], (rows, positions))


def mean_logit(masked: MaskedLogits, count: int) -> Tensor:
    """(count,): the mean of a row's logits, which rises with the reference's odds of its state; 0 without any."""
    return row_means(masked.logits, masked.at[0], count)


def critic_loss(reference: Tensor, student: Tensor) -> Tensor:
    """Nats: binary cross-entropy of logits (K,) and (K',) at masked positions, with smoothed labels, summed.

    Departure: one mean over the masked positions of both, which are as many on average, instead of the mean of two.
    """
    losses = [
        F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label), reduction="sum")
        for logits, label in ((reference, REFERENCE_LABEL), (student, 1 - REFERENCE_LABEL))
    ]
    return losses[0] + losses[1]
