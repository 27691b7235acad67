"""Scoring a run: its bound on held-out texts, and its samples beside those texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mezzotint.checks import check_mauve
from mezzotint.data import bistro
from mezzotint.errors import UsageError
from mezzotint.evaluate.divergence import LEAST, divergence
from mezzotint.evaluate.diversity import TrainingText, diversity
from mezzotint.evaluate.fluency import fluency
from mezzotint.evaluate.judge import JudgeModel
from mezzotint.evaluate.latent import importance, log_weights, posterior, posterior_scores, reconstruction
from mezzotint.evaluate.likelihood import costs, likelihood
from mezzotint.evaluate.table import Score, records, render
from mezzotint.evaluate.walks import pairs, smoothness, with_distances
from mezzotint.held_out import Texts, is_bistro, training_text
from mezzotint.judge import Judge, bundled_judge
from mezzotint.run import Run, load
from mezzotint.training import folder as files
from mezzotint.training.report import report
from mezzotint.training.team import ALONE, Team
from mezzotint.translation.scores import pair_scores
from mezzotint.types import Can, Canvas, Latent, Posterior

DRAWS = 8
"""Draws of a bound for each text."""
IMPORTANCE = 100
"""Draws of each text's latent for the importance-weighted bound."""
SAMPLES = 256
"""Texts that `evaluate` generates, and held-out ones that it sets beside them."""
WALKS, POINTS, SHOWN = 64, 7, 3
"""Walks between held-out texts that are measured, the texts of each, and those of them that the report draws."""
MAUVE_SAMPLES = 1000
"""The same where their divergence is asked for, if there are twice as many held-out texts."""


def evaluate_run(
    path: str | Path,
    data: Sequence[str | Path],
    judge: str | Path | None = None,
    *,
    field: str | None = None,
    n: int | None = None,
    steps: int = 32,
    seed: int = 0,
    mauve: bool = False,
    device: str = "auto",
    team: Team = ALONE,
) -> Iterator[tuple[str, Score]]:
    """(column, score) of a run on held-out text; the column is the system's name, or "data" for the texts' own values.

    Bound on all of `data`, in whose records `field` is the text (default: as the run was trained); n samples (256) and
    as many of the held-out texts under the judge (for bistro runs the bundled one, else none unless named) and the
    scores of diversity. With `mauve` (n: 1,000, at least 500) both are
    compared with as many other held-out texts too, which takes a judge and the extra `mauve`. When done, results.json
    and the report are written, unless the run is a published one. `team` is what `join()` gave, where the processes of
    a launch are to share the work.
    """
    with team.fail_together():
        run = load(path, device=device, team=team)
    if Can.TRANSLATE in run.card.can:
        if field is not None:
            raise UsageError(f"{run.card.name} writes from a source; its fields are those that it was trained with")
        yield from _pair_scores(run, data, judge, seed, team)
        return
    with team.fail_together():
        if mauve:
            check_mauve(run.config, judge)
        judge_model = judge_of(run, judge, device)
        held_out = Texts(run, data, field)
        n = _num_texts(held_out, n) if mauve else SAMPLES if n is None else n
        others = held_out.like_samples(2 * n)[n:] if mauve else []
    columns: dict[str, list[Score]] = {run.card.name: [], "data": []}
    for column, score in _scores(run, held_out, judge_model, n, steps, seed, others):
        columns[column].append(score)
        yield column, score
    walks = walks_between(run, held_out.some(SAMPLES), SHOWN)
    if not run.is_published:
        team.on_first(_write, run.folder, columns, walks)


def _num_texts(held_out: Texts, n: int | None) -> int:
    """How many texts are compared for their divergence; UsageError where that is too few or too many."""
    half = held_out.count // 2
    chosen = min(MAUVE_SAMPLES, half) if n is None else n
    if LEAST <= chosen <= half:
        return chosen
    if n is not None and n < LEAST:
        raise UsageError(f"mauve compares at least {LEAST} texts, and n is {n}")
    needed = f"{2 * max(LEAST, chosen):,} held-out texts, one half beside the samples and one to compare both with"
    raise UsageError(f"mauve needs {needed}; there are {held_out.count:,}")


def _pair_scores(
    run: Run, data: Sequence[str | Path], judge: str | Path | None, seed: int, team: Team
) -> Iterator[tuple[str, Score]]:
    """The scores of a run that writes from a source; there is no column of the data's own: it is the reference."""
    if judge is not None:
        raise UsageError(f"{run.card.name} writes from a source, and is scored beside references; leave the judge out")
    if team.size > 1:
        raise UsageError(f"{run.card.name} is scored by one process; launch one")
    columns: dict[str, list[Score]] = {run.card.name: []}
    for score in pair_scores(run, data, seed=seed):
        columns[run.card.name].append(score)
        yield run.card.name, score
    if not run.is_published:
        _write(run.folder, columns)


def _write(folder: Path, columns: Mapping[str, Sequence[Score]], walks: Sequence[Sequence[str]] = ()) -> None:
    files.put_json(folder / files.RESULTS, records(columns))
    if walks:
        files.put_json(folder / files.WALKS, [with_distances(walk) for walk in walks])
    report(folder)


def _scores(
    run: Run, held_out: Texts, judge: JudgeModel | None, n: int, steps: int, seed: int, others: Sequence[str]
) -> Iterator[tuple[str, Score]]:
    name = run.card.name
    yield from ((name, score) for score in bound(run, held_out, seed=seed))
    yield from ((name, score) for score in latent_scores(run, held_out, seed=seed))
    training = training_text(run)
    samples = [s.text for s in run.generate(n, steps=steps, seed=seed)]
    for column, texts in ((name, samples), ("data", held_out.like_samples(n))):
        yield from ((column, score) for score in text_scores(texts, judge, training, is_bistro(run)))
        if others and judge is not None:
            yield column, divergence(texts, others, judge, seed=seed)


def text_scores(
    texts: Sequence[str], judge: JudgeModel | None, training: TrainingText | None, is_bistro: bool
) -> Iterator[Score]:
    """The scores of texts that need only the texts."""
    if judge is not None:
        yield from fluency(texts, judge)
    yield from diversity(texts, training)
    if is_bistro:
        accepted = [float(bistro.judge(text).accepted) for text in texts]
        yield Score.mean("valid_share", accepted, "share of texts that the grammar derives")


def bound(run: Run, held_out: Texts, *, draws: int = DRAWS, seed: int = 0) -> Iterator[Score]:
    """The run's likelihood of held-out texts. The autoregressive one is exact and needs one draw."""
    num_draws = 1 if run.card.exact else draws
    parts = run.team.map(held_out.batches(), lambda batch: costs(run.system, [batch], num_draws, seed).tolist())
    nats = np.array([row for part in parts for row in part])
    kind = "exact" if run.card.exact else f"{run.card.bound}, {draws} draws a text"
    if run.has_latent:
        kind += ", under the standard normal prior"
    note = "; ".join([kind, *held_out.notes])
    yield from likelihood(nats, held_out.symbols, held_out.characters, note)


def latent_scores(
    run: Run, held_out: Texts, *, n: int = SAMPLES, draws: int = IMPORTANCE, seed: int = 0
) -> Iterator[Score]:
    """For a system that has a latent space, what it holds: the posteriors of all held-out texts; the bound by many
    draws, and what comes back of a text, for n of them, chosen by a fixed shuffle; walks between some of these."""
    system = run.system
    if not isinstance(system, Latent) or not run.has_latent:
        return
    subset = held_out.some(n)
    parts = run.team.map(subset.batches(), lambda batch: [t.tolist() for t in log_weights(system, batch, draws, seed)])
    weights, costs = (torch.tensor([row for part in parts for row in part[i]], dtype=torch.float64) for i in (0, 1))
    yield importance(weights, subset.symbols)
    yield Score.mean(
        "reconstruction_nats", costs.mean(1).numpy(), "nats a text, -log p of it at draws of its posterior"
    )

    def mean_and_logvar(batch: Canvas) -> list[Any]:
        q = posterior(system, batch)
        return [q.mean.tolist(), q.logvar.tolist()]

    parts = run.team.map(held_out.batches(), mean_and_logvar)
    means, logvars = (torch.tensor([row for part in parts for row in part[i]], dtype=torch.float64) for i in (0, 1))
    yield from posterior_scores(Posterior(means, logvars), seed, len({row.tobytes() for row in held_out.rows}))
    yield reconstruction_score(run, subset)
    yield from smoothness(walks_between(run, subset, WALKS))


def reconstruction_score(run: Run, held_out: Texts) -> Score:
    """How well texts are decoded again from the means of their posteriors."""
    points = run.latent.posteriors_of(held_out.batches()).mean
    return reconstruction(held_out.written, [sample.text for sample in run.latent.decode(points)])


def walks_between(run: Run, held_out: Texts, most: int, length: int = POINTS) -> list[list[str]]:
    """At most so many walks of so many texts between pairs of texts; none for a system whose texts are no points."""
    if not run.has_latent or len(held_out.rows) < 2:
        return []
    points = run.latent.posteriors_of(held_out.batches()).mean
    ends = torch.tensor(list(pairs(len(points), most)))
    walks = run.latent.between(points[ends[:, 0]], points[ends[:, 1]], length)
    return [[sample.text for sample in walk] for walk in walks]


def judge_of(run: Run, judge: str | Path | None, device: str) -> Judge | None:
    """The judge that is named, for a bistro run by default the bundled one; None where there is none."""
    if judge is not None:
        return Judge(load(judge, device=device, team=run.team))
    if is_bistro(run):
        return Judge(load(bundled_judge(), device=device, team=run.team))
    return None


def score_table(columns: Mapping[str, Sequence[Score]]) -> str:
    """Scores as aligned text."""
    return render(columns)
