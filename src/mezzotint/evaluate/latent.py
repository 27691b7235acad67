"""What a latent space holds: importance-weighted likelihood, divergence, mutual information, dimensions in use.

Burda et al. 2015 (IWAE), arXiv:1509.00519, §5 (units) and eq. 8; Hoffman and Johnson 2016, "ELBO surgery", for what
the divergence is made of; He et al. 2019, arXiv:1901.05534, §3, for the estimate of mutual information. Posteriors are
of M texts and Z dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, log

import torch
from torch import Tensor

from mezzotint.evaluate.table import Numbers, Score
from mezzotint.evaluate.words import words
from mezzotint.objective.elbo import divergence, importance_bound
from mezzotint.rng import Rng
from mezzotint.space.latent import draw, log_normal, log_prior
from mezzotint.types import Canvas, Latent, Posterior

ACTIVE_VARIANCE = 0.01
"""The variance over texts from which a dimension of the means counts as in use."""
BATCH_ROWS = 512
"""Posteriors that are held against all others at once."""
MIN_NATS = 0.1
"""Nats about a text below which its latent says nothing."""
MIN_TEXTS = 20
"""Different texts without which nothing can be said of that."""
CAP_MARGIN = 2.0
"""Nats below its cap from which the estimate of information falls short of it by more and more."""


@torch.no_grad()
def posterior(system: Latent, batch: Canvas) -> Posterior:
    """In float64 and on the CPU."""
    q = system.posterior(batch)
    return Posterior(q.mean.double().cpu(), q.logvar.double().cpu())


@torch.no_grad()
def log_weights(system: Latent, batch: Canvas, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """(B, S) float64 each: log of p(x | z) p(z) / q(z | x) for S draws of every posterior, and -log p(x | z)."""
    q = system.posterior(batch)
    q = Posterior(q.mean.double(), q.logvar.double())
    rng = Rng(seed, batch.index.tolist())
    weights, costs = [], []
    for s in range(draws):
        z = draw(q, rng.at(f"importance/{s}"))
        cost = system.token_nll(batch, z).double().sum(1)
        costs.append(cost)
        weights.append(log_prior(z) - log_normal(z, q.mean, q.logvar) - cost)
    return torch.stack(weights, dim=1).cpu(), torch.stack(costs, dim=1).cpu()


def importance(weights: Tensor, symbols: Numbers) -> Score:
    """Nats per token of the bound by all S draws of log weights (n, S), with its values at fewer in the note."""
    draws = weights.shape[1]
    fewer = [s for s in (1, 10, 100, 1000) if s < draws]
    curve = [f"{s}: {float(importance_bound(weights[:, :s]).sum() / symbols.sum()):.3f}" for s in fewer]
    note = "; ".join(
        [f"upper bound, importance-weighted, under the standard normal prior, {draws} draws a text", *curve]
    )
    return Score.ratio("importance_nats_per_token", importance_bound(weights).numpy(), symbols, note)


def posterior_scores(q: Posterior, seed: int, distinct: int | None = None) -> Iterator[Score]:
    """Divergence, mutual information and active units of M texts' posteriors, so many of the texts different (all)."""
    kl = divergence(q).sum(1)
    lower, upper = mutual_information(q, Rng(seed, range(len(q.mean))))
    units = active_units(q)
    cap = log(len(q.mean))
    yield Score.mean("divergence_nats", kl.numpy(), "nats a text, from its posterior to the standard normal")
    notes = [f"nats, a lower bound; no more than {cap:.2f}, the logarithm of the number of texts, can be found"]
    if float(lower.mean()) > cap - CAP_MARGIN:
        notes.append("so near to that it falls well short of what the latents say")
    notes += collapse_warning(float(lower.mean()), units, len(kl) if distinct is None else distinct)
    yield Score.mean("mutual_information", lower.numpy(), "; ".join(notes))
    # What latents say of their texts is a part of the divergence.
    tighter, kind = (upper, "own posterior left out") if upper.mean() < kl.mean() else (kl, "the divergence")
    yield Score.mean("mutual_information_upper", tighter.numpy(), f"nats, an upper bound: {kind}")
    note = f"of {q.mean.shape[1]} dimensions, whose means vary by {ACTIVE_VARIANCE} or more"
    yield Score("active_units", float(units), None, len(kl), note)


def mutual_information(q: Posterior, rng: Rng) -> tuple[Tensor, Tensor]:
    """(M,) twice: log q(z | x) - log of the mean of q(z | x') over all texts x', and over all but x, for one draw z of
    each text's posterior.

    Their means estimate from below and from above the nats that a latent says of its text (Poole et al. 2019,
    arXiv:1905.06922, on known conditional laws); of the first no value is above log M.
    """
    z = draw(q, rng.at("information"))
    precision = (-q.logvar).exp()
    # sum over dimensions of (z - mean)^2 / variance, multiplied out, against every posterior
    constant = (q.logvar + q.mean**2 * precision).sum(1)
    every, others = [], []
    for rows in torch.arange(len(z)).split(BATCH_ROWS):
        part = z[rows]
        log_q = -0.5 * (part**2 @ precision.T - 2 * part @ (q.mean * precision).T + constant)
        every.append(torch.logsumexp(log_q, dim=1))
        log_q[torch.arange(len(rows)), rows] = -inf
        others.append(torch.logsumexp(log_q, dim=1))
    own = -0.5 * (q.logvar + (z - q.mean) ** 2 * precision).sum(1)
    return own - torch.cat(every) + log(len(z)), own - torch.cat(others) + log(max(1, len(z) - 1))


def active_units(q: Posterior) -> int:
    """How many dimensions of the means vary over the texts.

    Departure: the authors' code takes the mean over some texts and the deviations from it over others.
    """
    return int((q.mean.var(dim=0, correction=0) >= ACTIVE_VARIANCE).sum())


def collapse_warning(information: float, units: int, distinct: int) -> list[str]:
    """A sentence where the latents say nothing of their texts, or where too few of these differ; else none."""
    if units and information >= MIN_NATS:
        return []
    if distinct < MIN_TEXTS:
        return [f"{distinct} different texts are too few to tell whether the posterior has collapsed"]
    advice = "train longer, with more free bits or a smaller beta"
    return [f"THE POSTERIOR HAS COLLAPSED: latents say {information:.2f} nats of their texts; {advice}"]


def reconstruction(texts: Sequence[str], written: Sequence[str]) -> Score:
    """BLEU-4 of what was written at the mean of each text's posterior against the text, over our words."""
    from sacrebleu.metrics.bleu import BLEU

    hypotheses, references = ([" ".join(words(text)) for text in each] for each in (written, texts))
    bleu = BLEU(tokenize="none", force=True).corpus_score(hypotheses, [references]).score
    exact = sum(a == b for a, b in zip(texts, written, strict=True))
    note = f"BLEU of the likeliest text at the posterior's mean; {exact} of {len(texts)} come back word for word"
    return Score("reconstruction_bleu", float(bleu), None, len(texts), note)
