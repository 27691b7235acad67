"""Pairs whose texts are an autoregressive model's own: sequence-level distillation.

Kim and Rush 2016, arXiv:1606.07947, §3.2: the texts that a beam finds stand in for those of people. What a model writes
is simpler than what people write, and easier to learn for one that writes all tokens at once.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.arms import RunRequest, Strategy, Task
from benchmarks.seq2seq import load_finished, translate_all
from mezzotint.training.folder import put

BEAM = Strategy((1, 5), ("likelihood",), None, {"decoder": "beam"})


def distilled_path(task: Task, request: RunRequest) -> Path:
    """Where the distilled pairs of a task are."""
    return request.folder(task, "ar") / "distilled.jsonl"


def distil(task: Task, request: RunRequest) -> None:
    """Write the training sources anew with the arm `ar`; SystemExit where the time is up, and a call goes on."""
    if task.private or task.source is None or task.target is None:
        raise SystemExit(f"{task.name} is not distilled: its texts are private, or made by a grammar")
    run = load_finished(task, "ar", request)
    sources, _ = task.pairs("train", request.lines)
    chunks = translate_all(run, BEAM, sources, run.folder / f"train-{len(sources)}.jsonl", request.until)
    texts = [line[0][0] for chunk in chunks for line in chunk["lines"]]
    pairs = [{task.source: source, task.target: text} for source, text in zip(sources, texts, strict=True) if text]
    put(distilled_path(task, request), "".join(json.dumps(pair) + "\n" for pair in pairs))
    print(f"{len(pairs)} of {len(sources)} pairs are in {distilled_path(task, request)}", flush=True)
