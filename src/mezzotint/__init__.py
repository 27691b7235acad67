"""Mezzotint: text generation by denoising and through latent variables.

Everything that is promised stands in `__all__`. Names are loaded when first used, so that `import mezzotint` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mezzotint.assess.cost import size_and_bound, throughput
    from mezzotint.assess.scores import evaluate_run, score_table
    from mezzotint.assess.showcase import showcase
    from mezzotint.checks import (
        bundled_runs,
        check_adapter,
        check_backbone,
        check_data,
        check_decoder,
        check_embeddings,
        check_guide,
        check_length,
        check_mauve,
        check_run,
        check_sides,
        check_tokenizer,
        next_out,
    )
    from mezzotint.claims.measure import Outcome, reproduce
    from mezzotint.claims.table import Claim, check_claims
    from mezzotint.comparison.measure import compare
    from mezzotint.comparison.page import write_page
    from mezzotint.comparison.record import Comparison
    from mezzotint.comparison.request import check_compared
    from mezzotint.comparison.tables import tables
    from mezzotint.course import Progress
    from mezzotint.data.template import literal, parse_template
    from mezzotint.data.trees import read_tree
    from mezzotint.descendants import distill_run, finetune_run
    from mezzotint.doctor.examination import examine
    from mezzotint.doctor.finding import Finding, Verdict
    from mezzotint.drafts import Draft, Piece, Sample
    from mezzotint.errors import (
        CapabilityError,
        DataError,
        HubError,
        MezzotintError,
        RunError,
        UsageError,
        few,
        unknown,
    )
    from mezzotint.evaluate.table import Score
    from mezzotint.film.reel import Film, check_film
    from mezzotint.held_out import labelled, own_texts
    from mezzotint.importing.checkpoint import import_checkpoint
    from mezzotint.importing.record import Imported
    from mezzotint.importing.source import check_source
    from mezzotint.judge import bundled_judge
    from mezzotint.launch import resume, train
    from mezzotint.plans import check_quantized, check_settings, finetune_recipe, student_recipe
    from mezzotint.prepare import bistro_texts
    from mezzotint.run import Run, from_pretrained, load
    from mezzotint.serve.server import serve_runs
    from mezzotint.serve.settings import check_serving
    from mezzotint.spec.wanted import Wanted
    from mezzotint.systems import Entry, cards, plugin_faults
    from mezzotint.tasks import Task
    from mezzotint.training.folder import check_new, is_finished
    from mezzotint.training.forecast import Forecast
    from mezzotint.training.team import Team, is_first, join, launched, should_report
    from mezzotint.translation.write import Translation, asked_of, translate, translating
    from mezzotint.types import Can, Canvas, Card, Decoder, Frame, Loss, Request, Steering, System, Towards, Update

_HOMES = {
    "assess.cost": ("size_and_bound", "throughput"),
    "assess.scores": ("evaluate_run", "score_table"),
    "assess.showcase": ("showcase",),
    "checks": (
        "bundled_runs",
        "check_adapter",
        "check_backbone",
        "check_data",
        "check_decoder",
        "check_embeddings",
        "check_guide",
        "check_length",
        "check_mauve",
        "check_run",
        "check_sides",
        "check_tokenizer",
        "next_out",
    ),
    "claims.measure": ("Outcome", "reproduce"),
    "claims.table": ("Claim", "check_claims"),
    "comparison.request": ("check_compared",),
    "comparison.measure": ("compare",),
    "comparison.page": ("write_page",),
    "comparison.record": ("Comparison",),
    "comparison.tables": ("tables",),
    "data.template": ("literal", "parse_template"),
    "data.trees": ("read_tree",),
    "doctor.examination": ("examine",),
    "doctor.finding": ("Finding", "Verdict"),
    "drafts": ("Draft", "Piece", "Sample"),
    "errors": (
        "CapabilityError",
        "DataError",
        "HubError",
        "MezzotintError",
        "RunError",
        "UsageError",
        "few",
        "unknown",
    ),
    "evaluate.table": ("Score",),
    "film.reel": ("Film", "check_film"),
    "held_out": ("labelled", "own_texts"),
    "judge": ("bundled_judge",),
    "course": ("Progress",),
    "descendants": ("distill_run", "finetune_run"),
    "launch": ("resume", "train"),
    "plans": ("check_quantized", "check_settings", "finetune_recipe", "student_recipe"),
    "prepare": ("bistro_texts",),
    "importing.checkpoint": ("import_checkpoint",),
    "importing.record": ("Imported",),
    "importing.source": ("check_source",),
    "run": ("Run", "from_pretrained", "load"),
    "serve.server": ("serve_runs",),
    "serve.settings": ("check_serving",),
    "spec.wanted": ("Wanted",),
    "systems": ("Entry", "cards", "plugin_faults"),
    "tasks": ("Task",),
    "training.folder": ("check_new", "is_finished"),
    "training.forecast": ("Forecast",),
    "training.team": ("Team", "is_first", "join", "launched", "should_report"),
    "translation.write": ("Translation", "asked_of", "translate", "translating"),
    "types": (
        "Can",
        "Canvas",
        "Card",
        "Decoder",
        "Frame",
        "Loss",
        "Steering",
        "Request",
        "System",
        "Towards",
        "Update",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "Can",
    "Canvas",
    "CapabilityError",
    "Card",
    "Claim",
    "Comparison",
    "DataError",
    "Decoder",
    "Draft",
    "Entry",
    "Film",
    "Finding",
    "Forecast",
    "Frame",
    "HubError",
    "Imported",
    "Loss",
    "MezzotintError",
    "Outcome",
    "Piece",
    "Progress",
    "Request",
    "Run",
    "RunError",
    "Sample",
    "Score",
    "Steering",
    "System",
    "Task",
    "Team",
    "Towards",
    "Translation",
    "Update",
    "UsageError",
    "Verdict",
    "Wanted",
    "asked_of",
    "bistro_texts",
    "bundled_judge",
    "bundled_runs",
    "cards",
    "check_adapter",
    "check_backbone",
    "check_claims",
    "check_compared",
    "check_data",
    "check_decoder",
    "check_embeddings",
    "check_film",
    "check_guide",
    "check_length",
    "check_mauve",
    "check_new",
    "check_quantized",
    "check_run",
    "check_serving",
    "check_settings",
    "check_sides",
    "check_source",
    "check_tokenizer",
    "compare",
    "distill_run",
    "evaluate_run",
    "examine",
    "few",
    "finetune_recipe",
    "finetune_run",
    "from_pretrained",
    "import_checkpoint",
    "is_finished",
    "is_first",
    "join",
    "labelled",
    "launched",
    "literal",
    "load",
    "next_out",
    "own_texts",
    "parse_template",
    "plugin_faults",
    "read_tree",
    "reproduce",
    "resume",
    "score_table",
    "serve_runs",
    "should_report",
    "showcase",
    "size_and_bound",
    "student_recipe",
    "tables",
    "throughput",
    "train",
    "translate",
    "translating",
    "unknown",
    "write_page",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mezzotint' has no attribute '{name}'")
    value = getattr(import_module(f"mezzotint.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
