"""Texts as points of a latent space: what a run with one can do beside writing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from mezzotint.data.canvas import pack, room
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import UsageError
from mezzotint.rng import Rng
from mezzotint.space.latent import moments
from mezzotint.training.loop import Tick
from mezzotint.training.prior import check_learnable, learn, plan
from mezzotint.types import Canvas, Latent, Posterior

ROWS = 64
EXAMPLES = 2_000
"""Texts that an attribute is learned from at most."""
PRIOR_TEXTS = 100_000
"""Texts that a prior is learned from at most."""
GREEDY = {"temperature": 0.0}
"""By default a point is one text: the likeliest, token by token."""

T = TypeVar("T")
Write = Callable[[Tensor, Mapping[str, Any]], "list[T]"]
"""(points (n, Z), options) -> the texts there."""


class LatentSpace(Generic[T]):
    """The space of one run; Z dimensions. `options` are those of `Run.generate`, with temperature 0 by default."""

    def __init__(
        self, system: Latent, tokenizer: Tokenizer, device: torch.device, write: Write[T], folder: Path
    ) -> None:
        self.system = system
        self.tokenizer = tokenizer
        self.device = device
        self.write = write
        self.folder = folder
        self.spec = system.spec

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, Z) float32: the mean of each text's posterior. UsageError for a text too long for the run."""
        return self.posteriors(texts).mean

    def posteriors(self, texts: Sequence[str]) -> Posterior:
        """q(z | x) of n texts, in float32 on the CPU. UsageError for a text too long for the run."""
        if isinstance(texts, str):
            raise UsageError(f"texts are a list of them, not one string; write [{texts[:40]!r}]")
        spec, rows = self.spec, [np.asarray(ids, dtype=np.int64) for ids in self.tokenizer.encode_all(texts)]
        most = room(spec.canvas, spec.ending)
        for text, row in zip(texts, rows, strict=True):
            if len(row) > most:
                raise UsageError(f"'{text[:40]}…' is {len(row)} tokens long; this run's texts have at most {most}")
        parts = (rows[begin : begin + ROWS] for begin in range(0, len(rows), ROWS))
        end, pad = self.tokenizer.end, self.tokenizer.pad
        return self.posteriors_of(pack(part, range(len(part)), spec.ending, spec.canvas, end, pad) for part in parts)

    @torch.no_grad()
    def posteriors_of(self, batches: Iterable[Canvas]) -> Posterior:
        """q(z | x) of whole texts that are packed already, in float32 on the CPU."""
        means, logvars = [torch.zeros(0, self.spec.latent)], [torch.zeros(0, self.spec.latent)]
        for batch in batches:
            q = self.system.posterior(batch.to(self.device))
            means.append(q.mean.float().cpu())
            logvars.append(q.logvar.float().cpu())
        return Posterior(torch.cat(means), torch.cat(logvars))

    def learn_prior(
        self,
        texts: Sequence[str],
        *,
        minutes: float | None = None,
        max_steps: int | None = None,
        seed: int = 0,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[Tick]:
        """Learn what the points of such texts are drawn from, for `Run.generate` to draw from; yields how it stands.

        A diffusion prior (training/latent_prior.py) on the posteriors of at most 100,000 of the texts, those that
        are too long left out. It is written into the run's folder at the end, and drawn from once the run is loaded
        anew. It trains for `minutes` (5) or `max_steps`. RunError for a run that is published or not finished.
        """
        check_learnable(self.folder)
        recipe = plan(self.spec.latent, minutes, max_steps, settings or {})
        points = self.posteriors(self._subset_that_fits(texts, PRIOR_TEXTS))
        return learn(self.folder, points, recipe, seed, self.device)

    def decode(self, points: Tensor, **options: Any) -> list[T]:
        """The texts at points (n, Z), a tensor or what becomes one."""
        points = torch.as_tensor(points, dtype=torch.float32)
        if points.ndim != 2 or points.shape[1] != self.spec.latent or not len(points):
            raise UsageError(f"points have {self.spec.latent} numbers each, not shape {list(points.shape)}")
        if not points.isfinite().all():
            raise UsageError("a point is of finite numbers")
        return self.write(points, GREEDY | options)

    def reconstruct(self, texts: Sequence[str], **options: Any) -> list[T]:
        """The texts at the means of some texts' posteriors."""
        return self.decode(self.encode(texts), **options)

    def walk(self, a: str, b: str, points: int = 7, **options: Any) -> list[T]:
        """Texts on the straight line from one text to another, both ends included, evenly spaced."""
        (walk,) = self.walks([(a, b)], points, **options)
        return walk

    def walks(self, pairs: Sequence[tuple[str, str]], points: int = 7, **options: Any) -> list[list[T]]:
        """The walk from the one text to the other of every pair, written together."""
        if not pairs:
            return []
        starts, ends = (self.encode(texts) for texts in zip(*pairs, strict=True))
        return self.between(starts, ends, points, **options)

    def between(self, starts: Tensor, ends: Tensor, points: int = 7, **options: Any) -> list[list[T]]:
        """The walks from the points `starts` (n, Z) to the points `ends`."""
        if not isinstance(points, int) or points < 2:
            raise UsageError(f"a walk has at least 2 points, a whole number, not {points}")
        share = torch.linspace(0, 1, points)[None, :, None]
        texts = self.decode((starts[:, None] + share * (ends - starts)[:, None]).flatten(0, 1), **options)
        return [texts[first : first + points] for first in range(0, len(texts), points)]

    def analogy(self, a: str, b: str, c: str, **options: Any) -> list[T]:
        """The text that is to c what b is to a: at c + b - a (Mikolov et al. 2013, arXiv:1301.3781, §4)."""
        points = self.encode([a, b, c])
        return self.decode(points[2:] + points[1:2] - points[:1], **options)

    def like(self, examples: Sequence[str], n: int, *, seed: int = 0, **options: Any) -> list[T]:
        """n texts at points drawn from where the examples lie: the normal law with the moments of their posteriors.

        A prior of what has an attribute, where the examples have it. At most 2,000 are read, and those that are too
        long are not.
        """
        if n < 1:
            raise UsageError(f"n must be at least 1, not {n}")
        normal = moments(self.posteriors(self._subset_that_fits(examples, EXAMPLES)))
        return self.decode(normal.points(Rng(seed, range(n)).at("latent")), seed=seed, **options)

    def draw(self, n: int, *, seed: int = 0, **options: Any) -> list[T]:
        """n texts at points of the standard normal law, whatever prior the run has learned since."""
        if n < 1:
            raise UsageError(f"n must be at least 1, not {n}")
        return self.decode(Rng(seed, range(n)).at("latent").normal(self.spec.latent), seed=seed, **options)

    def transfer(
        self, texts: Sequence[str], to: Sequence[str], away: Sequence[str], strength: float = 1.0, **options: Any
    ) -> list[T]:
        """The texts moved by the difference of means from the texts `away` to the texts `to`, `strength` times.

        Both are examples: texts that have an attribute, and texts that have it not. At most 2,000 of each are read, and
        those that are too long are not.
        """
        if not texts:
            raise UsageError("there is no text to be transferred")
        direction = self._mean_point(to) - self._mean_point(away)
        return self.decode(self.encode(texts) + strength * direction, **options)

    def _mean_point(self, examples: Sequence[str]) -> Tensor:
        return self.encode(self._subset_that_fits(examples, EXAMPLES)).mean(0)

    def _subset_that_fits(self, texts: Sequence[str], most: int) -> list[str]:
        """Those of `most` texts, chosen by a fixed shuffle, that are not too long; UsageError where there is none."""
        longest = room(self.spec.canvas, self.spec.ending)
        subset = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:most]]
        fitting = [t for t, ids in zip(subset, self.tokenizer.encode_all(subset), strict=True) if len(ids) <= longest]
        if not fitting:
            raise UsageError(f"none of the examples is a text of at most this run's {longest} tokens")
        return fitting
