"""The prior that a finished run learns for its own latents, and the file that it is kept in, beside the run's weights.

prior.safetensors   the averaged weights; in its header how the network is made, how it was trained, and the sha256
                    of the run's weights, whose latents it knows
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from mezzotint.errors import RunError, UsageError
from mezzotint.rng import Rng
from mezzotint.spec.adavae import PriorSpec
from mezzotint.spec.recipe import divided
from mezzotint.spec.training import TrainingSpec
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import fill, named, read_weights
from mezzotint.training.latent_prior import LatentDiffusion
from mezzotint.training.loop import Tick, Trainer
from mezzotint.types import Canvas, Latent, Posterior, System

MINUTES = 5.0
BATCH = 256
RATE = 1e-3


@dataclass(frozen=True)
class PriorRecipe:
    """A prior and how it is trained."""

    spec: PriorSpec
    training: TrainingSpec


def plan(latent: int, minutes: float | None, max_steps: int | None, settings: Mapping[str, str]) -> PriorRecipe:
    """The recipe with these settings of spec and training, given as text; UsageError for what cannot be.

    As in every training, `max_steps` says when to stop where both are given.
    """
    minutes = MINUTES if minutes is None else minutes
    training = TrainingSpec(batch=BATCH, lr=RATE, max_steps=max_steps or 0, minutes=minutes, validations=0)
    spec = PriorSpec(latent=latent)
    of_spec, of_training = divided(settings, spec.settings(), training.settings())
    recipe = PriorRecipe(spec.with_settings(of_spec), training.with_settings(of_training))
    if "latent" in settings:
        raise UsageError("latent is the run's, which is there already; leave it out")
    return recipe


def check_learnable(folder: Path) -> None:
    """RunError where a run is not to be written to, or has weights that still change."""
    config = files.read_config(folder)
    if config.get("published"):
        raise RunError(f"{folder} was published for others; learn a prior in the run that it was made of")
    if files.steps_saved(folder) and not files.is_finished(folder):
        raise RunError(f"{folder} is not finished, and its latents change; `mezzotint resume {folder}` goes on with it")


def learn(folder: Path, q: Posterior, recipe: PriorRecipe, seed: int, device: torch.device) -> Iterator[Tick]:
    """Train a prior on the posteriors of a run's texts, and leave it in the run's folder; yields how it stands."""
    q = Posterior(q.mean.float().to(device), q.logvar.float().to(device))
    prior = LatentDiffusion(recipe.spec, q)
    prior.initialise(seed)
    prior.net.to(device)
    system: Any = prior  # it writes no texts, which the loop does not ask for
    trainer = Trainer(system, recipe.training, seed, device, nullcontext)

    def batch(step: int, first: int, count: int) -> Canvas:
        """Indices of posteriors, drawn uniformly with replacement."""
        uniform = Rng(seed, range(first, first + count), f"rows/{step}").uniform()
        ids = (uniform * len(q.mean)).long()[:, None]
        real = torch.ones_like(ids, dtype=torch.bool)
        return Canvas(ids, ~real, real, torch.arange(first, first + count))

    yield from trainer.run(batch)
    fill(prior.players, trainer.ema, "the averaged weights")
    _save(folder, prior, recipe, len(q.mean), seed)


def _save(folder: Path, prior: LatentDiffusion, recipe: PriorRecipe, texts: int, seed: int) -> None:
    training = {**recipe.training.to_json(), "texts": texts, "seed": seed}
    header = {
        "format": str(files.FORMAT),
        "spec": json.dumps(recipe.spec.to_json()),
        "training": json.dumps(training),
        "model": files.digest(folder / files.MODEL),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named(prior.players).items()}
    files.put(folder / files.PRIOR, serialise(tensors, header))


def read_prior(folder: Path, system: System, device: torch.device) -> None:
    """Give a system the prior that its run has learned, if any; RunError where that is damaged or another run's."""
    path = folder / files.PRIOR
    if not isinstance(system, Latent) or not path.exists():
        return
    header = _header(path)
    try:
        spec = PriorSpec.from_json(json.loads(header["spec"]))
    except (KeyError, ValueError, TypeError, AttributeError, UsageError) as e:
        raise RunError(f"{path} does not describe a prior: {e}") from None
    if header.get("model") != files.digest(folder / files.MODEL) or spec.latent != system.spec.latent:
        raise RunError(f"{path} was learned on other weights than {files.MODEL} has; remove it, and learn another")
    prior = LatentDiffusion(spec)
    read_weights(path, prior.players)
    prior.net.to(device).eval()
    system.prior = prior.points


def _header(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            header: Mapping[str, str] | None = file.metadata()
    except (SafetensorError, OSError) as e:
        raise RunError(f"{path} is damaged ({e}); expected a safetensors file") from None
    return header or {}
