"""What the report shows of a run beside its scores: samples at several steps, quality against evaluations, a film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mezzotint.assess.scores import judge_of, text_scores
from mezzotint.errors import RunError
from mezzotint.held_out import is_bistro, training_text
from mezzotint.run import load
from mezzotint.training import folder as files
from mezzotint.training.evidence import FILM
from mezzotint.training.report import report


def showcase(
    path: str | Path,
    judge: str | Path | None = None,
    *,
    n: int = 64,
    steps: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    scored: bool = True,
) -> None:
    """What the report shows beside the scores: samples at several steps, a film and, where they are `scored`, quality
    against evaluations. RunError for an exported run, CapabilityError for one that writes from a source."""
    run = load(path)
    if run.is_published:
        raise RunError(f"{run.name} was published for others; its report is with the run that it was made of")
    judge_model, training = (judge_of(run, judge, "auto"), training_text(run)) if scored else (None, None)
    curve, examples = [], []
    for count in steps:
        samples = run.generate(n, steps=count)
        nfe = float(np.mean([s.nfe for s in samples]))
        texts = [s.text for s in samples]
        if scored:
            scores = {s.name: s.to_json()["value"] for s in text_scores(texts, judge_model, training, is_bistro(run))}
            curve.append({"steps": count, "nfe": nfe, **scores})
        examples.append({"steps": count, "nfe": nfe, "texts": texts[:6]})
    files.put_json(run.folder / files.SAMPLES, {"samples": examples, "curve": curve})
    film = [[asdict(piece) for piece in draft.rows[0]] for draft in run.stream(1, steps=16)]
    files.put_json(run.folder / FILM, film)
    report(run.folder)
