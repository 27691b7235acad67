"""Mezzotint: text generation by denoising and through latent variables.

Everything that is promised stands in `__all__`. Names are loaded when first used, so that `import mezzotint` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mezzotint.assess import bundled_judge, evaluate_run, score_table, showcase
    from mezzotint.checks import check_data, check_run, check_settings, check_tokenizer, next_out
    from mezzotint.data.template import parse_template
    from mezzotint.errors import CapabilityError, DataError, HubError, MezzotintError, RunError, UsageError, unknown
    from mezzotint.evaluate.table import Score
    from mezzotint.launch import Progress, resume, train
    from mezzotint.prepare import bistro_texts
    from mezzotint.run import Draft, Piece, Run, Sample, from_pretrained, load
    from mezzotint.systems import Entry, cards, plugin_faults
    from mezzotint.training.folder import check_new, is_finished
    from mezzotint.types import Can, Canvas, Card, Frame, Loss, Request, System

_HOMES = {
    "assess": ("bundled_judge", "evaluate_run", "score_table", "showcase"),
    "checks": ("check_data", "check_run", "check_settings", "check_tokenizer", "next_out"),
    "data.template": ("parse_template",),
    "errors": ("CapabilityError", "DataError", "HubError", "MezzotintError", "RunError", "UsageError", "unknown"),
    "evaluate.table": ("Score",),
    "launch": ("Progress", "resume", "train"),
    "prepare": ("bistro_texts",),
    "run": ("Draft", "Piece", "Run", "Sample", "from_pretrained", "load"),
    "systems": ("Entry", "cards", "plugin_faults"),
    "training.folder": ("check_new", "is_finished"),
    "types": ("Can", "Canvas", "Card", "Frame", "Loss", "Request", "System"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "Can",
    "Canvas",
    "CapabilityError",
    "Card",
    "DataError",
    "Draft",
    "Entry",
    "Frame",
    "HubError",
    "Loss",
    "MezzotintError",
    "Piece",
    "Progress",
    "Request",
    "Run",
    "RunError",
    "Sample",
    "Score",
    "System",
    "UsageError",
    "bistro_texts",
    "bundled_judge",
    "cards",
    "check_data",
    "check_new",
    "check_run",
    "check_settings",
    "check_tokenizer",
    "evaluate_run",
    "from_pretrained",
    "is_finished",
    "load",
    "next_out",
    "parse_template",
    "plugin_faults",
    "resume",
    "score_table",
    "showcase",
    "train",
    "unknown",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mezzotint' has no attribute '{name}'")
    value = getattr(import_module(f"mezzotint.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
