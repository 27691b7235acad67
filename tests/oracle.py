"""Exact denoisers for a corpus of a few sentences, and what they must give.

For masking noise the optimal denoiser is the corpus restricted to the texts that agree with the visible tokens; with
it every sampler, bound and guide has a known answer, with no training at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.process.gaussian import Gaussian
from mezzotint.types import Canvas, Noised, Prediction

TEXTS = [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 1, 1], [2, 2, 1]]
"""A corpus of three tokens."""
WEIGHTS = [4.0, 3.0, 1.0, 2.0, 2.0]


class MaskedOracle:
    """p(token at a position | visible tokens, length) under the empirical distribution of `texts`.

    A row's length is its number of real positions; some text must have it.
    """

    def __init__(self, texts: Sequence[Sequence[int]], weights: Sequence[float], vocab: int) -> None:
        self.lengths = torch.tensor([len(text) for text in texts])
        longest = int(self.lengths.max())
        self.texts = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
        self.weights = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        self.vocab = vocab
        self.calls = 0

    def __call__(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        self.calls += 1
        texts = self.texts[:, : noised.z.shape[1]]
        visible = (noised.z != self.vocab) & cond.real
        agree = ((noised.z[:, None, :] == texts[None]) | ~visible[:, None, :]).all(-1)
        prior = (cond.real.sum(1)[:, None] == self.lengths) * self.weights
        posterior = agree * prior
        # A history that no text agrees with can come of a coarse grid; any answer serves there.
        posterior = torch.where(posterior.sum(-1, keepdim=True) > 0, posterior, prior)
        posterior = posterior / posterior.sum(-1, keepdim=True)
        onehot = torch.nn.functional.one_hot(texts, self.vocab).double()
        p_BLV = torch.einsum("bn,nlv->blv", posterior, onehot)
        logits = p_BLV.log()
        return Prediction(logits if at is None else logits[at])

    @property
    def entropy(self) -> float:
        """Of the corpus, in nats."""
        return -float((self.weights * self.weights.log()).sum())

    def law(self) -> dict[tuple[int, ...], float]:
        """Text to probability."""
        total: Counter[tuple[int, ...]] = Counter()
        for text, length, weight in zip(self.texts.tolist(), self.lengths.tolist(), self.weights.tolist(), strict=True):
            total[tuple(text[:length])] += weight
        return dict(total)


def blank(rows: int, length: int, first: int = 0) -> Canvas:
    """A canvas with nothing given."""
    return Canvas(
        torch.zeros(rows, length, dtype=torch.int64),
        torch.zeros(rows, length, dtype=torch.bool),
        torch.ones(rows, length, dtype=torch.bool),
        torch.arange(first, first + rows),
    )


def times(*values: float) -> Tensor:
    """Times of rows."""
    return torch.tensor(values, dtype=torch.float64)


def counts(ids: Tensor) -> Counter[tuple[int, ...]]:
    """How often each text was written."""
    return Counter(map(tuple, ids.tolist()))


def chi_square_p(observed: dict[tuple[int, ...], int], law: dict[tuple[int, ...], float]) -> float:
    """The probability of a deviation at least this large if `law` is true (Wilson-Hilferty approximation)."""
    n = sum(observed.values())
    if set(observed) - set(law):
        return 0.0
    x = sum((observed.get(k, 0) - n * p) ** 2 / (n * p) for k, p in law.items())
    k = len(law) - 1
    z = ((x / k) ** (1 / 3) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k))
    return 0.5 * math.erfc(z / math.sqrt(2))


class GaussianOracle:
    """E[z_0 | z_t] for a corpus of `texts` embedded by `vectors` (V, D): a softmax over the corpus.

    Its logits are the posterior of the token at each position.
    """

    def __init__(
        self, texts: Sequence[Sequence[int]], weights: Sequence[float], vectors: Tensor, process: Gaussian
    ) -> None:
        self.texts = torch.tensor(texts)
        self.weights = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        self.vectors = vectors.double()
        self.process = process

    def posterior(self, noised: Noised, free: Tensor) -> Tensor:
        """(B, N): the probability of each text; given positions hold their text's exact vectors."""
        evidence = self.process.evidence(noised, self.vectors)
        clean = (noised.z[:, :, None, :] - self.vectors).norm(dim=-1) < 1e-6
        evidence = torch.where(free[..., None], evidence, clean.double().log())
        picked = evidence[:, None].expand(-1, len(self.texts), -1, -1)
        at = self.texts[None, :, :, None].expand(len(noised.z), -1, -1, 1)
        return (picked.gather(-1, at)[..., 0].sum(-1) + self.weights.log()).softmax(-1)

    def __call__(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        onehot = torch.nn.functional.one_hot(self.texts, len(self.vectors)).double()
        p_BLV = torch.einsum("bn,nlv->blv", self.posterior(noised, cond.free), onehot)
        logits = p_BLV.log()
        return Prediction(logits if at is None else logits[at], p_BLV @ self.vectors)
