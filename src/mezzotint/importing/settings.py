"""What a configuration says of a network beside its weights, and the refusal of what is no masked diffusion model.

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
from mezzotint.importing.source import shown

Sections = tuple[tuple[str, ...], ...]
TOP: Sections = ((), ("config",))
ALGORITHM: Sections = (("algo",), ("config", "algo"))
EVERYWHERE: Sections = (*TOP, ("model",), ("config", "model"), *ALGORITHM)
"""Where a setting can stand."""
KINDS = (
    ("duo", "a uniform-state diffusion model (DUO)"),
    ("udlm", "a uniform-state diffusion model (UDLM)"),
    ("sedd", "a score model (SEDD)"),
    ("d3pm", "a discrete-time model (D3PM)"),
    ("bd3lm", "a block diffusion model (BD3-LM)"),
    ("ar", "an autoregressive model"),
)
"""Names that models go by, and what they are."""


@dataclass(frozen=True)
class Settings:
    """What is known of a network; None where nothing says it."""

    told: bool = False
    """Something says which process the weights are for."""
    heads: int | None = None
    length: int | None = None
    dropout: float | None = None
    time_conditioning: bool | None = None
    dim: int | None = None
    depth: int | None = None
    vocab: int | None = None
    """Tokens, the mask among them."""


def settings_of(config: object, where: str) -> Settings:
    """What a configuration says; RunError if it says that this is no masked diffusion model that could be imported."""
    found = _Reader(config, where)
    told = _refuse_others(found)
    dropout = found.one("dropout")
    return Settings(
        told=told,
        heads=found.whole("n_heads", "heads", "num_heads"),
        length=found.whole("model_length", "length"),
        dropout=float(dropout) if isinstance(dropout, int | float) and 0 <= dropout < 1 else None,
        time_conditioning=found.truth("time_conditioning"),
        dim=found.whole("hidden_dim", "hidden_size"),
        depth=found.whole("n_blocks"),
        vocab=found.whole("vocab_size"),
    )


def _refuse_others(found: _Reader) -> bool:
    """Whether anything says which process the weights are for; RunError where it is another than masking."""
    kind = str(found.one("model_type", sections=TOP) or "")
    algorithm = str(found.one("name", sections=ALGORITHM) or "")
    words = set(re.split("[-_]", f"{kind}-{algorithm}".lower()))
    parameters = found.one("parameterization")
    process = found.one("diffusion")
    for name, what in KINDS:
        if name in words and (name != "bd3lm" or _blocks(found)):
            raise found.refused(what)
    if found.truth("causal") or found.truth("causal_attention") or found.one("backbone") == "ar":
        raise found.refused("an autoregressive model")
    if parameters not in (None, "subs"):
        raise found.refused(f"a model of the parameterization '{shown(parameters)}'")
    if process not in (None, "absorbing_state"):
        raise found.refused(f"a model of the process '{shown(process)}'")
    if _blocks(found):
        raise found.refused("a block diffusion model (BD3-LM)")
    theta = found.one("rope_theta")
    if theta not in (None, 10000):
        raise RunError(f"{found.where} has rotary positions of base {shown(theta)}, and only 10000 is built here")
    mask, vocab = found.whole("mask_index"), found.whole("vocab_size")
    if mask is not None and vocab is not None and mask != vocab - 1:
        raise RunError(
            f"{found.where} has the mask at {mask} of {vocab} tokens, inside its vocabulary; only models whose mask is "
            "the last id can be imported"
        )
    return bool(kind or algorithm or parameters or process)


def _blocks(found: _Reader) -> bool:
    block, length = found.whole("block_size"), found.whole("model_length", "length")
    return block is not None and (length is None or block < length)


class _Reader:
    """Settings by name, wherever they stand; reads plain objects and the stand-ins of OmegaConf's containers."""

    def __init__(self, config: object, where: str) -> None:
        self.where = where
        self._sections = {path: _descended(config, path) for path in EVERYWHERE}

    def one(self, *names: str, sections: Sections = EVERYWHERE) -> object:
        """The first that is there and is no container."""
        for path in sections:
            for name in names:
                value = _leaf(self._sections[path].get(name))
                if value is not None:
                    return value
        return None

    def whole(self, *names: str) -> int | None:
        value = self.one(*names)
        if value is None:
            return None
        if type(value) is not int or not 0 < value < 2**31:
            raise RunError(f"{self.where} has {names[0]} {shown(repr(value))}; expected a positive whole number")
        return value

    def truth(self, name: str) -> bool | None:
        value = self.one(name)
        if value is None or type(value) is bool:
            return value
        raise RunError(f"{self.where} has {name} {shown(repr(value))}; expected true or false")

    def refused(self, what: str) -> RunError:
        return RunError(
            f"{self.where} says that this is {what}; it has the layout of a masked diffusion model, but sampling it as "
            "one would write nonsense, and it cannot be imported yet"
        )


def _descended(value: object, path: tuple[str, ...]) -> Mapping[Any, object]:
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
