"""A student small enough to enumerate: a table of logits for each state of L positions over V tokens and the mask.

Everything that a distiller or a sampler does with it has a law that is a finite sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.types import Canvas, Noised, Prediction

State = tuple[int, ...]


class Tabular:
    """A denoiser whose logits are the parameters `table` (states, L, V)."""

    def __init__(self, vocab: int, length: int, seed: int = 0) -> None:
        self.vocab, self.length = vocab, length
        self.states: list[State] = list(product(range(vocab + 1), repeat=length))
        generator = torch.Generator().manual_seed(seed)
        table = torch.randn(len(self.states), length, vocab, generator=generator, dtype=torch.float64)
        self.table = table.requires_grad_()

    def number(self, z: Tensor) -> Tensor:
        """(B,) which state each row (B, L) is in."""
        powers = (self.vocab + 1) ** torch.arange(self.length - 1, -1, -1)
        return (z * powers).sum(1)

    def __call__(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        logits = self.table[self.number(noised.z)]
        return Prediction(logits if at is None else logits[at])

    def p(self, z: State, place: int, token: int) -> Tensor:
        """Of a token at a masked place, as the table has it."""
        return self.table[self.states.index(z), place].softmax(-1)[token]

    @property
    def texts(self) -> list[State]:
        return [z for z in self.states if self.vocab not in z]

    def moves(self, z: State, hazard: float) -> Iterator[tuple[State, Tensor]]:
        """Every state that one ancestral step can lead to, with its probability."""
        masked = [i for i, token in enumerate(z) if token == self.vocab]
        for tokens in product(range(self.vocab + 1), repeat=len(masked)):
            then, p = list(z), torch.ones((), dtype=torch.float64)
            for place, token in zip(masked, tokens, strict=True):
                then[place] = token
                p = p * ((1 - hazard) if token == self.vocab else hazard * self.p(z, place, token))
            if float(p.detach()) > 0:
                yield tuple(then), p


def after(denoise: Tabular, law: dict[State, Tensor], hazard: float) -> dict[State, Tensor]:
    """The law of the state after one more step."""
    then: dict[State, Tensor] = {}
    for z, weight in law.items():
        for state, p in denoise.moves(z, hazard):
            then[state] = then.get(state, 0) + weight * p
    return then


def first_step(denoise: Tabular, process: Absorbing, split: float) -> dict[State, Tensor]:
    """The law of the state after the step 1 -> split from all masks."""
    tau = torch.tensor(split, dtype=torch.float64)
    blank = {(denoise.vocab,) * denoise.length: torch.ones((), dtype=torch.float64)}
    return after(denoise, blank, float(process.hazard(torch.ones_like(tau), tau)))


def two_steps(denoise: Tabular, process: Absorbing, split: float) -> dict[State, Tensor]:
    """The law of texts written in the steps 1 -> split -> 0."""
    return after(denoise, first_step(denoise, process, split), 1.0)


def masked(law: dict[State, Tensor], mask: int, alpha: float) -> dict[State, Tensor]:
    """The law of texts of which each token is masked with probability 1 - alpha."""
    then: dict[State, Tensor] = {}
    for text, weight in law.items():
        for hidden in product((False, True), repeat=len(text)):
            z = tuple(mask if h else token for h, token in zip(hidden, text, strict=True))
            p = (1 - alpha) ** sum(hidden) * alpha ** (len(text) - sum(hidden))
            then[z] = then.get(z, 0) + weight * p
    return then
