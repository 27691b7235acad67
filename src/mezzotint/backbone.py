"""A language model that is there already, for a system to stand on: a run of ar, or GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from mezzotint import hub
from mezzotint.checks import check_run, located
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import RunError, UsageError
from mezzotint.net.gpt2 import read_gpt2
from mezzotint.net.transformer import Transformer
from mezzotint.spec.ar import ARSpec
from mezzotint.spec.recipe import Recipe
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import fill, named, read_weights
from mezzotint.types import System


@dataclass(frozen=True)
class Backbone:
    """A causal network with its vocabulary."""

    net: Transformer
    vocab: int
    reach: int
    """How many positions it has learned."""
    tokenizer: Tokenizer | str
    """GPT-2's by the name or folder that it is found by."""
    record: Mapping[str, Any]
    """What a run's configuration says of it."""

    def fit_recipe(self, recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
        """The recipe of a system that stands on it; UsageError for settings that are not the system's to choose."""
        for name in settings:
            if name in (*TransformerSpec.settings(), "reach"):
                raise UsageError(f"{name} is the backbone's, which is there already; leave it out")
        spec = recipe.spec
        if "canvas" in settings and spec.canvas > self.reach:
            raise UsageError(f"canvas must be at most the {self.reach} positions of the backbone, not {spec.canvas}")
        # The same network, but without the dropout that it was trained with.
        net = replace(self.net.spec, dropout=0.0)
        canvas = min(spec.canvas, self.reach)
        return Recipe(replace(spec, net=net, vocab=self.vocab, reach=self.reach, canvas=canvas), recipe.training)

    def fill(self, frozen: Mapping[str, nn.Module]) -> None:
        """Put its weights into the networks that a fresh system stands on."""
        fill(frozen, named({"backbone": self.net}), "the backbone")


def read_backbone(name: str | Path) -> Backbone:
    """The backbone of that name: a folder of a run of ar, such a run on a hub, or GPT-2 in a folder or on a hub.

    A name without a slash that is no folder here, such as gpt2, is one on the hub. Raises RunError, UsageError or
    HubError.
    """
    if (Path(name) / files.CONFIG).exists() and not _is_run(Path(name)):
        return _gpt2(name)
    if Path(name).exists() or hub.parse(str(name)) is None:
        return _ar(name) if Path(name).exists() or len(Path(name).parts) > 1 else _gpt2(name)
    try:
        return _ar(name)
    except RunError:
        return _gpt2(name)


def _is_run(folder: Path) -> bool:
    config = files.read_json(folder / files.CONFIG)
    return isinstance(config, dict) and {"format", "system"} <= config.keys()


def _ar(name: str | Path) -> Backbone:
    folder = located(name)
    config = check_run(folder)
    if config["system"] != "ar":
        raise RunError(f"{name} is a run of {config['system']}; a backbone is a run of ar, or GPT-2")
    found = entry("ar")
    spec = files.read_spec(folder, config, ARSpec)
    system: System = found.load(found.system)(spec, None)
    read_weights(folder / files.MODEL, system.players)
    net: Any = system.players["model"]
    record = {"name": str(name), "sha256": files.digest(folder / files.MODEL)}
    return Backbone(net, spec.vocab, spec.canvas, Tokenizer.load(folder / files.TOKENIZER), record)


def _gpt2(name: str | Path) -> Backbone:
    net = read_gpt2(name)
    assert net.positions is not None
    return Backbone(net, net.outputs, net.positions.shape[1], str(name), {"name": str(name)})
