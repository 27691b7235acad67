"""The diffusion prior on latents: against a mixture whose denoiser is known, and from training to the run's file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mezzotint.errors import RunError, UsageError
from mezzotint.rng import Rng
from mezzotint.spec.adavae import PriorSpec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.training.latent_prior import LatentDiffusion
from mezzotint.training.prior import learn, plan, read_prior
from mezzotint.types import Canvas, Noised, Posterior, Prediction
from tests.oracle import blank
from tests.test_adavae import Z, system

CENTRES = torch.tensor([[-3.0, 1.0, 0.0, 5.0], [2.0, 1.0, 4.0, 5.0]], dtype=torch.float64)
SHARES = (0.3, 0.7)
SPREAD = 0.5
"""The deviation of every posterior."""


def mixture(rows: int = 100) -> Posterior:
    """Posteriors at two places, 30 and 70 of a hundred."""
    first = round(SHARES[0] * rows)
    mean = torch.cat([CENTRES[:1].expand(first, -1), CENTRES[1:].expand(rows - first, -1)]).clone()
    return Posterior(mean, torch.full_like(mean, 2 * math.log(SPREAD)))


def prior(q: Posterior | None = None) -> LatentDiffusion:
    made = LatentDiffusion(
        PriorSpec(latent=Z, net=TransformerSpec(dim=16, depth=2, heads=1), steps=100), q or mixture()
    )
    made.net.double()
    made.initialise(0)
    return made


class Exact:
    """E[z_0 | z_t] of the mixture, in the units in which the network works."""

    def __init__(self, made: LatentDiffusion) -> None:
        self.process = made.process
        self.centres = (CENTRES - made.net.mean) / made.net.deviation
        self.variance = (SPREAD / made.net.deviation) ** 2

    def __call__(self, noised: Noised, cond: Canvas, previous=None, at=None) -> Prediction:
        alpha, sigma = self.process.wide(noised.t, noised.z)
        total = alpha**2 * self.variance + sigma**2
        apart = noised.z - alpha * self.centres  # (B, 2, Z), a centre each
        weight = (torch.tensor(SHARES).log() - 0.5 * (apart**2 / total).sum(-1)).softmax(-1)
        each = self.centres + alpha * self.variance / total * apart
        return Prediction(noised.z.new_zeros(len(noised.z), 1, 1), (weight[..., None] * each).sum(1, keepdim=True))


def test_latents_are_brought_to_mean_zero_and_deviation_one():
    made = prior()
    assert torch.allclose(made.net.mean, SHARES[0] * CENTRES[0] + SHARES[1] * CENTRES[1])
    between = SHARES[0] * SHARES[1] * (CENTRES[0] - CENTRES[1]) ** 2
    assert torch.allclose(made.net.deviation**2, between + SPREAD**2, atol=1e-12)


def test_by_the_exact_denoiser_points_have_the_law_of_the_mixture():
    n, made = 3000, prior()
    made.denoise = Exact(made)
    points = made.points(Rng(3, range(n)))
    is_first = points[:, 0] < -0.5
    assert float(is_first.double().mean()) == pytest.approx(SHARES[0], abs=4 * math.sqrt(0.21 / n))
    for chosen, centre in ((is_first, CENTRES[0]), (~is_first, CENTRES[1])):
        some = points[chosen]
        assert torch.allclose(some.mean(0), centre, atol=4 * SPREAD / math.sqrt(len(some)))
        # A chain of 100 steps and an end at the estimate leave a little of the variance out.
        assert torch.allclose(some.std(0), torch.full((Z,), SPREAD, dtype=torch.float64), rtol=0.08)
    assert torch.equal(made.points(Rng(3, [7, 2]))[1], points[2]), "a point is its stream's"


def test_the_loss_is_the_error_of_v_and_least_for_the_exact_denoiser():
    made, rows = prior(), 2000
    q = made.posteriors
    torch.nn.init.normal_(made.net.body.leave.weight, 0, 0.3)
    batch = Canvas(torch.arange(rows)[:, None] % 100, *(blank(rows, 1).given, blank(rows, 1).real), torch.arange(rows))
    rng = Rng(0, range(rows), total=rows)
    seen = []
    ours = made.denoise
    made.denoise = lambda noised, cond: seen.append(noised) or ours(noised, cond)
    (loss,) = made.losses(batch, rng)
    ((noised,)) = seen
    at = batch.ids[:, 0]
    z0 = q.mean[at] + SPREAD * rng.at("latent").normal(Z)
    z0 = ((z0 - made.net.mean) / made.net.deviation)[:, None]
    alpha, sigma = made.process.wide(noised.t, z0)
    v = alpha * (noised.z - alpha * z0) / sigma - sigma * z0  # alpha eps - sigma z_0
    said = made.net.body(noised.z, noised.t)
    assert float(loss.total.detach()) == pytest.approx(float(((said - v) ** 2).mean(-1).sum().detach()), rel=1e-6)
    assert loss.count == rows and loss.player == "prior" and float(noised.t.min()) > 0 and float(noised.t.max()) <= 1
    made.denoise = Exact(made)
    (best,) = made.losses(batch, rng)
    torch.nn.init.zeros_(made.net.body.leave.weight)
    made.denoise = ours
    (linear,) = made.losses(batch, rng)
    assert float(linear.total.detach()) / rows == pytest.approx(1, abs=0.05), "where v is 0"
    assert 0 < float(best.total) < 0.9 * float(linear.total.detach()) < float(loss.total.detach())


def folder_with_weights(tmp_path: Path) -> Path:
    save_file({"model.x": torch.zeros(1)}, tmp_path / "model.safetensors")
    return tmp_path


TINY = {"dim": "32", "depth": "1", "batch": "64", "lr": "0.01", "ema": "0.98", "steps": "32"}


def test_what_is_learned_is_the_law_of_the_latents_and_kept_beside_the_weights(tmp_path):
    folder, cpu = folder_with_weights(tmp_path), torch.device("cpu")
    ticks = list(learn(folder, mixture(), plan(Z, None, 250, TINY), 0, cpu))
    assert ticks[-1].fraction == 1.0
    made = system(latent=Z)
    assert torch.equal(made.prior(Rng(0, range(3))), Rng(0, range(3)).normal(Z)), "standard normal without one"
    read_prior(folder, made, cpu)
    with torch.no_grad():
        points = made.prior(Rng(1, range(400)))
    near = torch.cdist(points.double(), CENTRES) < 4 * SPREAD
    shares = near.double().mean(0)
    assert float(shares.sum()) > 0.85 and float(shares[0]) == pytest.approx(SHARES[0], abs=0.1)
    assert float((torch.cdist(torch.randn(400, Z).double(), CENTRES) < 4 * SPREAD).any(1).double().mean()) < 0.05


def test_the_averaged_weights_are_kept(tmp_path):
    """Trained alike, with an average over nothing but the last step and over many."""
    folder, kept = folder_with_weights(tmp_path), []
    for decay in ("0", "0.9"):
        list(learn(folder, mixture(), plan(Z, None, 3, TINY | {"ema": decay}), 0, torch.device("cpu")))
        kept.append(load_file(folder / "prior.safetensors")["prior.body.leave.weight"])
    assert not torch.allclose(*kept) and float(kept[0].abs().sum()) > 0


def test_a_prior_of_other_weights_and_a_damaged_one_are_refused(tmp_path):
    folder, cpu = folder_with_weights(tmp_path), torch.device("cpu")
    list(learn(folder, mixture(), plan(Z, None, 1, TINY), 0, cpu))
    whole = (folder / "prior.safetensors").read_bytes()
    read_prior(folder, system(latent=Z), cpu)
    with pytest.raises(RunError, match="learned on other weights"):
        read_prior(folder, system(latent=Z + 1), cpu)
    (folder / "prior.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="is damaged"):
        read_prior(folder, system(latent=Z), cpu)
    (folder / "prior.safetensors").write_bytes(whole)
    tensors = load_file(folder / "prior.safetensors")
    save_file(tensors, folder / "prior.safetensors", {"spec": '{"latent": 4, "nets": 1}'})
    with pytest.raises(RunError, match="does not describe a prior: unknown setting 'nets'"):
        read_prior(folder, system(latent=Z), cpu)
    (folder / "prior.safetensors").write_bytes(whole)
    save_file({"model.x": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(RunError, match="learned on other weights"):
        read_prior(folder, system(latent=Z), cpu)


@pytest.mark.parametrize(
    ("how", "settings", "sentence"),
    [
        ((None, 5), {"latent": "3"}, "latent is the run's"),
        ((None, 5), {"depht": "3"}, "did you mean 'depth'"),
        ((None, 5), {"neighbours": "5"}, "sees one vector"),
        ((-1.0, None), {}, "minutes must be positive"),
    ],
)
def test_plans_that_cannot_be_are_refused(how, settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        plan(Z, *how, settings)
