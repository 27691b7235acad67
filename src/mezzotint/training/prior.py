"""The prior that a finished run learns for its own latents, and the file that it is kept in, beside the run's weights.

prior.safetensors   the averaged weights; in its header how the network is made, how it was trained, and the sha256
                    of the run's weights, whose latents it knows
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from mezzotint.errors import RunError, UsageError
from mezzotint.rng import Rng
from mezzotint.spec.adavae import PriorSpec
from mezzotint.spec.recipe import Recipe
from mezzotint.spec.training import TrainingSpec
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import fill, named, read_weights
from mezzotint.training.latent_prior import LatentDiffusion
from mezzotint.training.loop import Tick, Trainer
from mezzotint.types import Canvas, Latent, Posterior, System

MINUTES = 5.0
BATCH = 256
RATE = 1e-3


def plan(latent: int, minutes: float | None, max_steps: int | None, settings: Mapping[str, str]) -> Recipe:
    """What is built and how it is trained, settings of both given as text; UsageError for what cannot be.

    As in every training, `max_steps` says when to stop where both are given.
    """
    lasts = MINUTES if minutes is None else minutes
    training = TrainingSpec(batch=BATCH, lr=RATE, max_steps=max_steps or 0, minutes=lasts, validations=0)
    recipe = Recipe(PriorSpec(latent=latent), training).with_settings(settings)
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


def learn(folder: Path, q: Posterior, recipe: Recipe, seed: int, device: torch.device) -> Iterator[Tick]:
    """Train a prior on the posteriors of a run's texts, and leave it in the run's folder; yields how it stands."""
    q = Posterior(q.mean.float().to(device), q.logvar.float().to(device))
    assert isinstance(recipe.spec, PriorSpec)
    made = LatentDiffusion(recipe.spec, q)
    made.initialise(seed)
    made.net.to(device)
    model: Any = made  # it writes no texts, which the loop does not ask for
    trainer = Trainer(model, recipe.training, seed, device, nullcontext)

    def batch(step: int, first: int, count: int) -> Canvas:
        """Any of the posteriors, each as likely."""
        chosen = Rng(seed, range(first, first + count), f"rows/{step}").uniform() * len(q.mean)
        ids = chosen.long()[:, None]
        whole = torch.ones_like(ids, dtype=torch.bool)
        return Canvas(ids, ~whole, whole, torch.arange(first, first + count))

    yield from trainer.run(batch)
    fill(made.players, trainer.ema, "the averaged weights")
    _put(folder, made, recipe, len(q.mean), seed)


def _put(folder: Path, made: LatentDiffusion, recipe: Recipe, texts: int, seed: int) -> None:
    training = {**recipe.training.to_json(), "texts": texts, "seed": seed}
    header = {
        "format": str(files.FORMAT),
        "spec": json.dumps(recipe.spec.to_json()),
        "training": json.dumps(training),
        "model": files.digest(folder / files.MODEL),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named(made.players).items()}
    files.put(folder / files.PRIOR, serialise(tensors, header))


def read_prior(folder: Path, system: System, device: torch.device) -> None:
    """Give a system the prior that its run has learned, where it has; RunError where that is damaged or another's."""
    path = folder / files.PRIOR
    if not isinstance(system, Latent) or not path.exists():
        return
    header = _header(path)
    try:
        spec = PriorSpec.from_json(json.loads(header["spec"]))
    except (KeyError, ValueError, TypeError, AttributeError, UsageError) as e:
        raise RunError(f"{path} does not describe a prior: {e}") from None
    run: Any = system.spec
    if header.get("model") != files.digest(folder / files.MODEL) or spec.latent != run.latent:
        raise RunError(f"{path} was learned on other weights than {files.MODEL} has; remove it, and learn another")
    made = LatentDiffusion(spec)
    read_weights(path, made.players)
    made.net.to(device).eval()
    system.prior = made.points


def _header(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            found: Mapping[str, str] | None = file.metadata()
    except (SafetensorError, OSError) as e:
        raise RunError(f"{path} is damaged ({e}); expected a safetensors file") from None
    return found or {}
