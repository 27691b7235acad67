"""A diffusion prior on the latents of texts, from which a system that has a latent space draws its points.

Rombach et al. 2021 (latent diffusion), arXiv:2112.10752, §3; on one vector a text, as Zhou et al. 2025 (DiffLM), ACL.
The posteriors of a corpus, mixed, are no standard normal distribution, and the bound pays for the difference (Hoffman
and Johnson 2016, "ELBO surgery"); this learns the mixture instead. The network predicts v (Salimans and Ho 2022,
arXiv:2202.00512, §4 and App. D): z_0 = alpha z_t - sigma v.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mezzotint.data.canvas import free
from mezzotint.net.streams import StreamTransformer
from mezzotint.objective.regression import squared_error
from mezzotint.process.gaussian import CosineVariance, Gaussian
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.gaussian import GaussianStep, ancestral
from mezzotint.space.latent import draw
from mezzotint.spec.adavae import PriorSpec
from mezzotint.types import Canvas, Loss, Noised, Posterior, Prediction


class Net(nn.Module):
    """All stored modules: the network, and the mean and deviation by which latents are standardised."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, spec: PriorSpec) -> None:
        super().__init__()
        # Over one position attention is a linear map, so that this is a residual network of two layers a block.
        self.body = StreamTransformer(spec.net, spec.latent, spec.latent, 1)
        self.register_buffer("mean", torch.zeros(spec.latent))
        self.register_buffer("deviation", torch.ones(spec.latent))


class LatentDiffusion:
    """The prior. Where it is trained, a batch's ids (B, 1) say which of the `posteriors` each row is drawn from."""

    def __init__(self, spec: PriorSpec, posteriors: Posterior | None = None) -> None:
        self.spec = spec
        self.process = Gaussian(CosineVariance(spec.beta1))
        self.net = Net(spec)
        self.players = {"prior": self.net}
        self.posteriors = posteriors

    def initialise(self, seed: int) -> None:
        """Fresh weights, and the mean and deviation of draws from all posteriors."""
        self.net.body.initialise(torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.net.body.leave.weight)  # v = 0: the estimate of latents that are normal
        if self.posteriors is not None:
            q = self.posteriors
            variance = q.mean.var(dim=0, correction=0) + q.logvar.exp().mean(0)
            self.net.mean.copy_(q.mean.mean(0))
            self.net.deviation.copy_(variance.sqrt())

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """E[z_0 | z_t] for states (B, 1, Z); there are no tokens to have odds of."""
        alpha, sigma = self.process.wide(noised.t, noised.z)
        v = self.net.body(noised.z.to(self.net.body.leave.weight.dtype), noised.t).to(noised.z)
        return Prediction(noised.z.new_zeros(len(noised.z), 1, 1), alpha * noised.z - sigma * v)

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The squared error of v, which is that of the estimate over sigma^2, for a fresh draw of each posterior."""
        assert self.posteriors is not None, "there is nothing to learn from"
        rows = batch.ids[:, 0]
        q = Posterior(self.posteriors.mean[rows], self.posteriors.logvar[rows])
        z0 = ((draw(q, rng.at("latent")) - self.net.mean) / self.net.deviation)[:, None]
        t = (1 - rng.at("time").stratified()).to(rows.device)
        estimate = self.denoise(self.process.corrupt(z0, t, batch.free, rng.at("noise")), batch).estimate
        assert estimate is not None
        _, sigma = self.process.alpha_sigma(t)
        error = (squared_error(estimate, z0, batch.free) / sigma**2).sum()
        yield Loss(error, {"error": error.detach()}, float(len(rows)), player="prior")

    def points(self, rng: Rng) -> Tensor:
        """(B, Z): a latent for each of the streams, by ancestral steps."""
        canvas = free([1] * len(rng.index), range(len(rng.index)), 0).to(self.net.mean.device)
        start = self.net.mean.new_zeros(len(rng.index), 1, self.spec.latent)
        counted = Counted(self.denoise, canvas)
        last = start

        def denoise(
            noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
        ) -> Prediction:
            nonlocal last
            prediction = counted(noised, cond, previous, at)
            assert prediction.estimate is not None
            last = prediction.estimate
            return prediction

        for _ in drive(
            denoise, GaussianStep(self.process, ancestral, start), canvas, self.spec.steps, rng, counted.calls
        ):
            pass
        # The last step, to t = 0, ends at the estimate itself.
        return self.net.mean + self.net.deviation * last[:, 0]
