"""How far the learned vectors of tokens have collapsed: what Difformer's anchor loss is there to prevent.

Gao et al. 2022, arXiv:2212.09412: vectors that come to be alike make a small error of the estimate, and cannot be told
apart. Measured by the spread of the table, and by how often a token with a little noise is still nearest to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.arms import Arm, RunRequest, Task
from benchmarks.seq2seq import SEED, facts_of

NOISE = (0.5, 1.0, 2.0)
"""Deviations of the noise under which the nearest vector is looked for."""
TOKENS = 4096
"""Tokens of held-out texts for which it is."""


def collapse(task: Task, name: str, arm: Arm, request: RunRequest, minutes: float | None = None) -> None:
    """Record how far the vectors of tokens of an arm have collapsed, `minutes` into its training or at its end."""
    import mezzotint
    from benchmarks.rows import record

    if arm.system != "difformer":
        return
    run = mezzotint.load(request.folder(task, name), device=request.device)
    facts = facts_of(task, name, arm, request, run)
    overrides = {} if minutes is None else {"train_minutes": minutes}
    ids = [i for text, *_ in task.pairs("valid", 1000)[1] for i in run.tokenizer.encode(text)][:TOKENS]
    measures = list(collapse_measures(run.system.net.space.vectors.detach(), ids, run.system.process))
    print(f"{name}: " + ", ".join(f"{m} {v:.4f} {more or ''}" for m, v, more, _ in measures), flush=True)
    record(_rows(measures, facts | overrides, minutes is not None), device=request.device, results=request.results)


def _rows(measures: Sequence[tuple[str, float, Mapping[str, object], int]], facts: Any, curve: bool) -> Iterator[Any]:
    from benchmarks.rows import Row, variant

    labels = dict(pair.split("=") for pair in facts["variant"].split(",")) if facts["variant"] != "default" else {}
    labels |= {"curve": "training"} if curve else {}
    for metric, value, extra, n in measures:
        yield Row(**{**facts, "variant": variant({**labels, **extra}), "metric": metric, "value": value, "n": n})


def collapse_measures(
    vectors_VD: Any, ids: Sequence[int], process: Any = None
) -> Iterator[tuple[str, float, dict[str, object], int]]:
    """(metric, value, what its variant adds, n): the spread of a table, and how often a token of a text is the nearest
    to its own vector with noise added; also with that of a process, at times from end to end, where there is one."""
    import torch

    table = vectors_VD.double().cpu()
    yield "table_spread", float((table - table.mean(0)).square().mean().sqrt()), {}, len(table)
    wanted = torch.tensor(ids)
    noise = torch.randn(
        len(ids), table.shape[1], generator=torch.Generator().manual_seed(SEED), dtype=torch.float64
    )  # fmt: skip
    half = table.square().sum(1) / 2
    deviations: dict[object, Any] = {fixed: torch.full((len(ids), 1), fixed, dtype=torch.float64) for fixed in NOISE}
    if process is not None:
        times = (torch.arange(len(ids), dtype=torch.float64) + 0.5) / len(ids)
        deviations["training"] = process.signal_to_noise(times)[:, None] ** -0.5
    for name, deviation in deviations.items():
        noised = (table[wanted] + deviation * noise).split(512)
        nearest = torch.cat([(part @ table.mT - half).argmax(1) for part in noised])
        yield "nearest_accuracy", float((nearest == wanted).double().mean()), {"noise": name}, len(ids)
