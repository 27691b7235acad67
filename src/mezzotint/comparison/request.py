"""What can be compared with what; found out, and refused in a sentence, before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint.checks import BISTRO, check_data, check_run, names_bistro
from mezzotint.errors import UsageError
from mezzotint.types import Can

MARK = "mezzotint · runs side by side"
"""What a page of a comparison says of itself, so that nothing else is ever written over."""


@dataclass(frozen=True)
class ComparisonRequest:
    """Which runs, on which texts."""

    runs: Sequence[Path]
    data: Sequence[str | Path]
    translators: bool
    """They write from a source, all of them."""


def check_compared(
    runs: Sequence[Path], data: Sequence[str | Path] = (), judge: Path | None = None, out: Path | None = None
) -> ComparisonRequest:
    """What is compared; UsageError, RunError or DataError where it cannot be, or the page cannot be written."""
    if not runs:
        raise UsageError("name runs to compare, as in `mezzotint compare runs/mdlm runs/ar`")
    configs = {run: check_run(run) for run in runs}
    if len(configs) < len(runs):
        twice = next(run for run in runs if list(runs).count(run) > 1)
        raise UsageError(f"{twice} is named twice; a run is compared with others")
    translating = {run: Can.TRANSLATE.value in config.get("can", ()) for run, config in configs.items()}
    if len(set(translating.values())) > 1:
        sources, alone = (next(run for run, is_one in translating.items() if is_one is kind) for kind in (True, False))
        raise UsageError(f"{sources} writes from a source and {alone} does not; compare them apart")
    translators = all(translating.values())
    if judge is not None:
        _check_judge(judge, runs, translators)
    if data:
        check_data(data)
    if out is not None:
        _check_out(out)
    return ComparisonRequest(runs, data or _shared_data(list(configs.values())), translators)


def _check_judge(judge: Path, runs: Sequence[Path], translators: bool) -> None:
    if translators:
        raise UsageError("what is written from a source is scored beside references; leave --judge out")
    check_run(judge)
    if judge.resolve() in [run.resolve() for run in runs]:
        raise UsageError(f"{judge} is compared itself and cannot judge; train an ar run with another seed")


def _shared_data(configs: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """The held-out texts that all runs share, none where each finds them by itself; UsageError where there are none."""
    sources = [config["data"] for config in configs]
    if all(names_bistro(source["files"]) for source in sources):
        return [BISTRO]
    valid = {tuple(source["valid"] or ()) for source in sources}
    if len(valid) == 1 and all(valid):
        return list(valid.pop())
    origins = [[source.get(key) for key in ("files", "valid", "field", "layout", "pair")] for source in sources]
    if all(origin == origins[0] for origin in origins) and sources[0]["files"]:
        return []  # withheld from the same files
    raise UsageError("these runs have no held-out text in common; name some with --data")


def _check_out(out: Path) -> None:
    if out.suffix != ".html":
        raise UsageError(f"{out} must end in .html; the figures are written beside it as .json")
    if not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK):
        raise UsageError(f"{out} cannot be written: {out.absolute().parent} is no folder that can be")
    if out.exists() and MARK not in (out.read_text(encoding="utf-8", errors="replace") if out.is_file() else ""):
        raise UsageError(f"{out} is there already and is no comparison; choose another --out")
    beside = out.with_suffix(".json")
    if beside.exists() and not out.exists():
        raise UsageError(f"{beside} is there already, and the figures would be written over it; choose another --out")
