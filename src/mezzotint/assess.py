"""Scoring a run: its bound on held-out texts, its samples beside those texts, and what the report shows of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from mezzotint.checks import check_mauve
from mezzotint.data import bistro
from mezzotint.errors import RunError, UsageError
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
from mezzotint.run import Draft, Run, load
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import named, networks
from mezzotint.training.evidence import FILM
from mezzotint.training.report import report
from mezzotint.training.team import ALONE, Team
from mezzotint.translation.scores import pair_scores
from mezzotint.types import Can, Canvas, Latent, Posterior

DRAWS = 8
"""Draws of a bound for each text."""
IMPORTANCE = 100
"""Draws of each text's latent for the importance-weighted bound."""
PACED = (1, 32)
"""Texts written at once where speed is measured."""
SAMPLES = 256
"""Texts that `evaluate` generates, and held-out ones that it sets beside them."""
AS_LOADED = "weights as they are loaded; codes of few bits are unpacked, and save room on disk alone"
WALKS, POINTS, SHOWN = 64, 7, 3
"""Walks between held-out texts that are measured, the texts of each, and those of them that the report draws."""
MAUVE_SAMPLES = 1000
"""The same where their divergence is asked for, if there are twice as many held-out texts."""


def evaluate_run(
    path: str | Path,
    data: Sequence[str | Path],
    judge: str | Path | None = None,
    *,
    n: int | None = None,
    steps: int = 32,
    seed: int = 0,
    mauve: bool = False,
    device: str = "auto",
    team: Team = ALONE,
) -> Iterator[tuple[str, Score]]:
    """(column, score) of a run on held-out text; the column is the system's name, or "data" for the texts' own values.

    Bound on all of `data`; n samples (256) and as many of the held-out texts under the judge (for bistro runs the
    bundled one, else none unless named) and the scores of diversity. With `mauve` (n: 1,000, at least 500) both are
    compared with as many other held-out texts too, which takes a judge and the extra `mauve`. When done, results.json
    and the report are written, unless the run is a published one. `team` is what `join()` gave, where the processes of
    a launch are to share the work.
    """
    with team.fail_together():
        run = load(path, device=device, team=team)
    if Can.TRANSLATE in run.card.can:
        yield from _of_pairs(run, data, judge, seed, team)
        return
    with team.fail_together():
        if mauve:
            check_mauve(run.config, judge)
        chosen = _judge(run, judge, device)
        held_out = Texts(run, data)
        n = _number(held_out, n) if mauve else SAMPLES if n is None else n
        others = held_out.like_samples(2 * n)[n:] if mauve else []
    columns: dict[str, list[Score]] = {run.card.name: [], "data": []}
    for column, score in _scores(run, held_out, chosen, n, steps, seed, others):
        columns[column].append(score)
        yield column, score
    walks = walks_between(run, held_out.some(SAMPLES), SHOWN)
    if not run.is_published:
        team.on_first(_write, run.folder, columns, walks)


def _number(held_out: Texts, n: int | None) -> int:
    """How many texts are compared for their divergence; UsageError where that is too few or too many."""
    half = held_out.count // 2
    chosen = min(MAUVE_SAMPLES, half) if n is None else n
    if LEAST <= chosen <= half:
        return chosen
    if n is not None and n < LEAST:
        raise UsageError(f"mauve compares at least {LEAST} texts, and n is {n}")
    asked = f"{2 * max(LEAST, chosen):,} held-out texts, one half beside the samples and one to compare both with"
    raise UsageError(f"mauve needs {asked}; there are {held_out.count:,}")


def _of_pairs(
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
    yield from ((name, score) for score in of_latents(run, held_out, seed=seed))
    training = training_text(run)
    written = [s.text for s in run.generate(n, steps=steps, seed=seed)]
    for column, texts in ((name, written), ("data", held_out.like_samples(n))):
        yield from ((column, score) for score in of_texts(texts, judge, training, is_bistro(run)))
        if others and judge is not None:
            yield column, divergence(texts, others, judge, seed=seed)


def of_texts(
    texts: Sequence[str], judge: JudgeModel | None, training: TrainingText | None, is_bistro: bool
) -> Iterator[Score]:
    """What can be said of some texts without the system that wrote them."""
    if judge is not None:
        yield from fluency(texts, judge)
    yield from diversity(texts, training)
    if is_bistro:
        accepted = [float(bistro.judge(text).accepted) for text in texts]
        yield Score.mean("valid_share", accepted, "share of texts that the grammar derives")


def bound(run: Run, held_out: Texts, *, draws: int = DRAWS, seed: int = 0) -> Iterator[Score]:
    """The run's likelihood of held-out texts. The autoregressive one is exact and needs one draw."""
    drawn = 1 if run.card.exact else draws
    parts = run.team.map(held_out.batches(), lambda batch: costs(run.system, [batch], drawn, seed).tolist())
    nats = np.array([row for part in parts for row in part])
    what = "exact" if run.card.exact else f"{run.card.bound}, {draws} draws a text"
    if run.has_latent:
        what += ", under the standard normal prior"
    note = "; ".join([what, *held_out.notes])
    yield from likelihood(nats, held_out.symbols, held_out.characters, note)


def size_and_bound(path: str | Path, data: Sequence[str | Path] = (), *, device: str = "auto") -> Iterator[Score]:
    """What a run costs and is worth: megabytes (10^6 bytes) of its weights on disk, and its bound on `data`.

    Without `data` on the run's own held-out texts; where it has no files of them, the size alone.
    """
    run = load(path, device=device)
    size = (run.folder / files.MODEL).stat().st_size
    weights = sum(tensor.numel() for tensor in named(run.system.players).values())
    yield Score("model_mb", size / 1e6, None, 1, f"on disk, {8 * size / weights:.1f} bits a weight")
    held_out = list(data) or (["bistro"] if is_bistro(run) else run.config["data"]["valid"] or [])
    if held_out:
        yield from bound(run, Texts(run, held_out))


def throughput(
    runs: Mapping[str, str | Path],
    *,
    batches: Sequence[int] = PACED,
    steps: int = 16,
    rounds: int = 5,
    device: str = "auto",
) -> Iterator[tuple[str, Score]]:
    """(column, score) of each run: seconds until it is loaded, megabytes (10^6 bytes) of its weights in memory, and
    tokens a second at some batches. Medians of rounds in which the runs take turns; the note has the least and the
    most."""
    loaded: dict[str, Run] = {}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, path in runs.items():
            began = time.perf_counter()
            loaded[name] = load(path, device=device)
            seconds[name].append(time.perf_counter() - began)
    for name, run in loaded.items():
        yield name, _median("load_seconds", seconds[name], f"{rounds} rounds")
        tensors = (tensor for module in networks(run.system) for tensor in module.state_dict().values())
        yield name, Score("memory_mb", sum(t.numel() * t.element_size() for t in tensors) / 1e6, None, 1, AS_LOADED)
    for batch in batches:
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for seed in range(rounds):
            for name, run in loaded.items():
                began = time.perf_counter()
                written = run.generate(batch, steps=steps, seed=seed, batch_size=batch)
                rates[name].append(sum(len(s.ids) for s in written) / (time.perf_counter() - began))
        for name in runs:
            yield name, _median(f"tokens_per_second_{batch}", rates[name], f"{steps} steps, {rounds} rounds")


def _median(name: str, values: Sequence[float], note: str) -> Score:
    return Score(name, median(values), None, len(values), f"{note}, {min(values):.3g} to {max(values):.3g}")


def of_latents(
    run: Run, held_out: Texts, *, n: int = SAMPLES, draws: int = IMPORTANCE, seed: int = 0
) -> Iterator[Score]:
    """For a system that has a latent space, what it holds: the posteriors of all held-out texts; the bound by many
    draws, and what comes back of a text, for n of them, chosen by a fixed shuffle; walks between some of these."""
    system = run.system
    if not isinstance(system, Latent) or not run.has_latent:
        return
    few = held_out.some(n)
    parts = run.team.map(few.batches(), lambda batch: [t.tolist() for t in log_weights(system, batch, draws, seed)])
    weights, costs = (torch.tensor([row for part in parts for row in part[i]], dtype=torch.float64) for i in (0, 1))
    yield importance(weights, few.symbols)
    yield Score.mean(
        "reconstruction_nats", costs.mean(1).numpy(), "nats a text, -log p of it at draws of its posterior"
    )

    def both(batch: Canvas) -> list[Any]:
        q = posterior(system, batch)
        return [q.mean.tolist(), q.logvar.tolist()]

    parts = run.team.map(held_out.batches(), both)
    means, logvars = (torch.tensor([row for part in parts for row in part[i]], dtype=torch.float64) for i in (0, 1))
    yield from posterior_scores(Posterior(means, logvars), seed, len({row.tobytes() for row in held_out.rows}))
    yield returned(run, few)
    yield from smoothness(walks_between(run, few, WALKS))


def returned(run: Run, few: Texts) -> Score:
    """What comes back of some texts, each from the mean of its posterior."""
    points = run.latent.of(few.batches()).mean
    return reconstruction(few.written, [sample.text for sample in run.latent.decode(points)])


def walks_between(run: Run, few: Texts, most: int, length: int = POINTS) -> list[list[str]]:
    """At most so many walks of so many texts between pairs of texts; none for a system whose texts are no points."""
    if not run.has_latent or len(few.rows) < 2:
        return []
    points = run.latent.of(few.batches()).mean
    ends = torch.tensor(list(pairs(len(points), most)))
    walks = run.latent.between(points[ends[:, 0]], points[ends[:, 1]], length)
    return [[sample.text for sample in walk] for walk in walks]


def _judge(run: Run, judge: str | Path | None, device: str) -> Judge | None:
    if judge is not None:
        return Judge(load(judge, device=device, team=run.team))
    if is_bistro(run):
        return Judge(load(bundled_judge(), device=device, team=run.team))
    return None


def score_table(columns: Mapping[str, Sequence[Score]]) -> str:
    """Scores as aligned text."""
    return render(columns)


def showcase(
    path: str | Path, judge: str | Path | None = None, *, n: int = 64, steps: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
) -> None:
    """What the report shows beside the scores: samples at several steps, quality against evaluations, a film."""
    run = load(path)
    if run.is_published:
        raise RunError(f"{run.name} was published for others; its report is with the run that it was made of")
    chosen = _judge(run, judge, "auto")
    training = training_text(run)
    curve, shown = [], []
    for asked in steps:
        samples = run.generate(n, steps=asked)
        nfe = float(np.mean([s.nfe for s in samples]))
        texts = [s.text for s in samples]
        scores = {s.name: s.to_json()["value"] for s in of_texts(texts, chosen, training, is_bistro(run))}
        curve.append({"steps": asked, "nfe": nfe, **scores})
        shown.append({"steps": asked, "nfe": nfe, "texts": texts[:6]})
    files.put_json(run.folder / files.SAMPLES, {"samples": shown, "curve": curve})
    files.put_json(run.folder / FILM, [_still(draft) for draft in run.stream(1, steps=16)])
    report(run.folder)


def _still(draft: Draft) -> list[dict[str, Any]]:
    return [asdict(piece) for piece in draft.rows[0]]
