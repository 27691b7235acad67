"""The checks in their order, and what they are made on: a run, or a system fresh from its recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mezzotint.checks import BISTRO
from mezzotint.doctor import invariance, law, roundtrip, speed
from mezzotint.doctor.checked import CheckedRun
from mezzotint.doctor.finding import Finding, Skip, Verdict
from mezzotint.errors import DataError, HubError, MezzotintError, UsageError
from mezzotint.held_out import held_out_texts, own_texts
from mezzotint.launch import train
from mezzotint.run import Run, load
from mezzotint.spec.training import TrainingSpec
from mezzotint.systems import cards, entry
from mezzotint.translation.scores import held_out_pairs
from mezzotint.types import Can

CHECKS: Mapping[str, Callable[[CheckedRun], tuple[Verdict, str]]] = {
    "padding": invariance.padding,
    "batch": invariance.batch,
    "seed": invariance.seed,
    "save and load": roundtrip.save_and_load,
    "resume": roundtrip.resume,
    "tokenizer": roundtrip.encode_decode,
    "law": law.samples_follow_bound,
    "throughput": speed.throughput,
}
FRESH = {"dim": "32", "depth": "1", "heads": "2", "batch": "16", "lr": "0.003", "validations": "1"}
"""Settings of the run that is made of a system named instead of a run, those that the system has: small, since how well
it writes is not checked."""
FRESH_STEPS = 20


def examine(
    source: str | Path,
    data: Sequence[str | Path] = (),
    *,
    field: str | None = None,
    device: str = "auto",
    checks: Sequence[str] = (),
) -> Iterator[Finding]:
    """The findings on a run, or on a system that is named instead of one: a small run of it is made on bistro.

    `data`: texts for the tokenizer, `field` where they stand in records; by default those that the run was trained on,
    where they are here. `checks`: their names, by default all of `CHECKS`. Raises the errors of `load`, and of `train`
    for a system.
    """
    if not Path(source).exists() and any(card.name == str(source) for card in cards()):
        with TemporaryDirectory(prefix="mezzotint-") as temporary:
            _train_fresh(str(source), out := Path(temporary) / "run")
            yield from _examine(out, data, field, device, checks)
    else:
        yield from _examine(source, data, field, device, checks)


def _examine(
    folder: str | Path, data: Sequence[str | Path], field: str | None, device: str, checks: Sequence[str]
) -> Iterator[Finding]:
    checked = CheckedRun(lambda: load(folder, device=device))
    checked.texts = _texts(checked.run, data, field)
    yield from run_checks(checked, checks)


def run_checks(checked: CheckedRun, checks: Sequence[str] = ()) -> Iterator[Finding]:
    """The findings on a run."""
    for name in checks or CHECKS:
        try:
            yield Finding(name, *CHECKS[name](checked))
        except Skip as reason:
            yield Finding(name, Verdict.SKIPPED, str(reason))
        except MezzotintError as error:
            yield Finding(name, Verdict.BAD, f"the check could not be made: {error}")


def _train_fresh(system: str, out: Path) -> None:
    """A small run of a system on the bundled corpus; UsageError for one that does not start from texts alone."""
    card = next(card for card in cards() if card.name == system)
    if card.teachers or card.backbone:
        raise UsageError(f"{system} starts from a trained run; make a run of it, and name its folder")
    parts = entry(system)
    names = {*parts.load(parts.spec).settings(), *TrainingSpec.settings()}
    settings = {name: value for name, value in FRESH.items() if name in names}
    for _ in train(system, [BISTRO], out=out, max_steps=FRESH_STEPS, settings=settings):
        pass


def _texts(run: Run, data: Sequence[str | Path], field: str | None) -> list[str]:
    """Those for the tokenizer, both sides of pairs; none where they are not here."""
    try:
        if Can.TRANSLATE in run.card.can:
            sources, texts = held_out_pairs(run, data or run.config["data"]["files"])
            return [*sources, *texts]
        return held_out_texts(run, data, field) if data else own_texts(run)
    except (DataError, HubError, UsageError):
        if data:
            raise
        return []
