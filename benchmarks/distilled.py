"""Pairs whose texts are an autoregressive model's own: sequence-level distillation.

Kim and Rush 2016, arXiv:1606.07947, §3.2: the texts that a beam finds stand in for those of people. What a model writes
is simpler than what people write, and easier to learn for one that writes all tokens at once.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.arms import RunRequest, Task, Way
from benchmarks.seq2seq import finished, written
from mezzotint.training.folder import put

BEAM = Way((1, 5), ("likelihood",), None, {"decoder": "beam"})


def place(task: Task, asked: RunRequest) -> Path:
    """Where the distilled pairs of a task are."""
    return asked.folder(task, "ar") / "distilled.jsonl"


def distil(task: Task, asked: RunRequest) -> None:
    """Write the training sources anew with the arm `ar`; SystemExit where the time is up, and a call goes on."""
    if task.private or task.source is None or task.target is None:
        raise SystemExit(f"{task.name} is not distilled: its texts are private, or made by a grammar")
    run = finished(task, "ar", asked)
    read, _ = task.pairs("train", asked.lines)
    chunks = written(run, BEAM, read, run.folder / f"train-{len(read)}.jsonl", asked.until)
    texts = [line[0][0] for chunk in chunks for line in chunk["lines"]]
    pairs = [{task.source: source, task.target: text} for source, text in zip(read, texts, strict=True) if text]
    put(place(task, asked), "".join(json.dumps(pair) + "\n" for pair in pairs))
    print(f"{len(pairs)} of {len(read)} pairs are in {place(task, asked)}", flush=True)
