"""Settings of a network from the configuration beside its weights; refuses what is no masked diffusion model.

The names are those of the projects: kuleshov-group/mdlm, s-sahoo/duo, haoyangzheng-ai/didi-instruct, in a config.json
of Hugging Face or in the hyper-parameters of a Lightning file. Models of other processes are published in the same
layout of weights (uniform-state diffusion: DUO; scores: SEDD; discrete time: D3PM; blocks: BD3-LM). Their weights
would load, and would write nonsense as masked diffusion; so they are refused rather than labelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mezzotint.errors import RunError
from mezzotint.importing.inert import StandIn
from mezzotint.importing.source import printable

Sections = tuple[tuple[str, ...], ...]
TOP: Sections = ((), ("config",))
ALGORITHM: Sections = (("algo",), ("config", "algo"))
EVERYWHERE: Sections = (*TOP, ("model",), ("config", "model"), *ALGORITHM)
"""Where a setting can stand."""
OTHER_MODELS = (
    ("duo", "a uniform-state diffusion model (DUO)"),
    ("udlm", "a uniform-state diffusion model (UDLM)"),
    ("sedd", "a score model (SEDD)"),
    ("d3pm", "a discrete-time model (D3PM)"),
    ("bd3lm", "a block diffusion model (BD3-LM)"),
    ("ar", "an autoregressive model"),
)
"""Names of models of other processes, and what they are."""


@dataclass(frozen=True)
class Settings:
    """What is known of a network; None where nothing says it."""

    names_process: bool = False
    """Whether anything says which process the weights are for."""
    heads: int | None = None
    length: int | None = None
    dropout: float | None = None
    time_conditioning: bool | None = None
    dim: int | None = None
    depth: int | None = None
    vocab: int | None = None
    """Tokens, the mask among them."""


def settings_of(config: object, where: str) -> Settings:
    """The settings in a configuration; RunError if it is of a model that cannot be imported."""
    lookup = _Lookup(config, where)
    dropout = lookup.first("dropout")
    return Settings(
        names_process=_refuse_others(lookup),
        heads=lookup.positive_int("n_heads", "heads", "num_heads"),
        length=lookup.positive_int("model_length", "length"),
        dropout=float(dropout) if isinstance(dropout, int | float) and 0 <= dropout < 1 else None,
        time_conditioning=lookup.boolean("time_conditioning"),
        dim=lookup.positive_int("hidden_dim", "hidden_size"),
        depth=lookup.positive_int("n_blocks"),
        vocab=lookup.positive_int("vocab_size"),
    )


def _refuse_others(lookup: _Lookup) -> bool:
    """Whether anything says which process the weights are for; RunError where it is another than masking."""
    kind = str(lookup.first("model_type", sections=TOP) or "")
    algorithm = str(lookup.first("name", sections=ALGORITHM) or "")
    name_parts = set(re.split("[-_]", f"{kind}-{algorithm}".lower()))
    parameters = lookup.first("parameterization")
    process = lookup.first("diffusion")
    for name, model in OTHER_MODELS:
        if name in name_parts and (name != "bd3lm" or _is_block_model(lookup)):
            raise lookup.refusal(model)
    if lookup.boolean("causal") or lookup.boolean("causal_attention") or lookup.first("backbone") == "ar":
        raise lookup.refusal("an autoregressive model")
    if parameters not in (None, "subs"):
        raise lookup.refusal(f"a model of the parameterization '{printable(parameters)}'")
    if process not in (None, "absorbing_state"):
        raise lookup.refusal(f"a model of the process '{printable(process)}'")
    if _is_block_model(lookup):
        raise lookup.refusal("a block diffusion model (BD3-LM)")
    theta = lookup.first("rope_theta")
    if theta not in (None, 10000):
        raise RunError(f"{lookup.where} has rotary positions of base {printable(theta)}, and only 10000 is built here")
    mask, vocab = lookup.positive_int("mask_index"), lookup.positive_int("vocab_size")
    if mask is not None and vocab is not None and mask != vocab - 1:
        raise RunError(
            f"{lookup.where} has the mask at {mask} of {vocab} tokens, inside its vocabulary; only models whose mask "
            "is the last id can be imported"
        )
    return bool(kind or algorithm or parameters or process)


def _is_block_model(lookup: _Lookup) -> bool:
    block, length = lookup.positive_int("block_size"), lookup.positive_int("model_length", "length")
    return block is not None and (length is None or block < length)


class _Lookup:
    """Settings by name, wherever they stand; reads plain objects and the stand-ins of OmegaConf's containers."""

    def __init__(self, config: object, where: str) -> None:
        self.where = where
        self._sections = {path: _section(config, path) for path in EVERYWHERE}

    def first(self, *names: str, sections: Sections = EVERYWHERE) -> object:
        """The first value under any of the names that is no container."""
        for path in sections:
            for name in names:
                value = _leaf(self._sections[path].get(name))
                if value is not None:
                    return value
        return None

    def positive_int(self, *names: str) -> int | None:
        value = self.first(*names)
        if value is None:
            return None
        if type(value) is not int or not 0 < value < 2**31:
            raise RunError(f"{self.where} has {names[0]} {printable(repr(value))}; expected a positive whole number")
        return value

    def boolean(self, name: str) -> bool | None:
        value = self.first(name)
        if value is None or type(value) is bool:
            return value
        raise RunError(f"{self.where} has {name} {printable(repr(value))}; expected true or false")

    def refusal(self, model: str) -> RunError:
        return RunError(
            f"{self.where} says that this is {model}; it has the layout of a masked diffusion model, but sampling it "
            "as one would write nonsense, and it cannot be imported yet"
        )


def _section(value: object, path: tuple[str, ...]) -> Mapping[Any, object]:
    for name in path:
        value = _content(value).get(name)
    return _content(value)


def _content(value: object) -> Mapping[Any, object]:
    """The entries of a plain object or of a DictConfig; none of anything else."""
    if isinstance(value, StandIn) and isinstance(value.state, dict):
        value = value.state.get("_content")
    return dict(dict.items(value)) if isinstance(value, dict) else {}


def _leaf(value: object) -> object:
    """A plain value, or that of an OmegaConf node."""
    if isinstance(value, StandIn) and isinstance(value.state, dict):
        value = value.state.get("_val")
    return value if isinstance(value, str | int | float | bool) else None
