"""Systems that write from a source, side by side on a set of pairs: what `multi30k` and `pairs` measure with.

An arm is a system with its settings and the ways in which it writes; a task is a set of pairs. Runs stand in
runs/TASK-ARM-SIZE, what is written from a split beside each, a chunk a line, so that every call goes on where the last
one stopped. What was measured already is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arms import Arm, RunRequest, Strategy, Task

SEED = 0
CHUNK = 64
"""Lines that are translated before they are kept."""


def train(task: Task, name: str, arm: Arm, request: RunRequest) -> None:
    """Train an arm, or go on with it; SystemExit where the time is up before its end."""
    import mezzotint
    from benchmarks.collapse import collapse
    from benchmarks.pieces import follow

    out = request.folder(task, name)
    if out.exists() and mezzotint.is_finished(out):
        return
    records = (
        mezzotint.resume(out, device=request.device)
        if out.exists()
        else mezzotint.train(
            arm.system, [task.file("train")], valid=None if task.is_bistro else [task.file("valid")],
            source=task.source, target=task.target, out=out, tokenizer="auto" if task.is_bistro else "bpe",
            size=request.size, minutes=None if request.steps else request.minutes, max_steps=request.steps, seed=SEED,
            settings={**arm.settings, **task.settings, **request.settings}, device=request.device,
        )
    )  # fmt: skip
    for record in follow(out.name, records, request.until):
        if record.saved is not None:
            collapse(task, name, arm, request, minutes=round(record.elapsed / 60, 1))


# ------------------------------------------------------------ what is written, and what it is worth


def score(task: Task, name: str, arm: Arm, split: str, request: RunRequest) -> None:
    """Write from a split in every way, and record what is not recorded yet; SystemExit where the time is up."""
    import mezzotint
    from benchmarks.rows import has, record

    run = load_finished(task, name, request)
    scorer = mezzotint.load(folder, device=request.device) if (folder := _scorer_folder(task, request)) else None
    sources, texts = task.pairs(split, request.lines)
    for strategy in arm.strategies:
        path = run.folder / f"{split}-{len(sources)}-{strategy.variant(None, {})}-{strategy.steps}.jsonl"
        for chooser in strategy.choosers:
            if chooser == "ar" and scorer is None:
                print(f"{name}: {strategy.variant('ar', {})} is left out; train the arm 'ar' first", flush=True)
                continue
            facts = facts_of(task, name, arm, request, run, strategy, chooser) | {"split": split}
            known = {key: value for key, value in facts.items() if key not in ("benchmark", "params")}
            if has(task.name, request.results, metric="chrf", n=len(sources), **known):
                continue
            chunks = translate_all(run, strategy, sources, path, request.until)
            rows = _score_rows(chunks, chooser, scorer, sources, texts, task, facts)
            record(rows, device=request.device, results=request.results)
        if task.private:
            path.unlink(missing_ok=True)


def load_finished(task: Task, name: str, request: RunRequest) -> Any:
    """The run of an arm; SystemExit with a sentence where it is not trained to its end."""
    import mezzotint

    folder = request.folder(task, name)
    if not folder.exists() or not mezzotint.is_finished(folder):
        raise SystemExit(f"{folder} is not trained to its end; `train {name}` does that")
    return mezzotint.load(folder, device=request.device)


def _scorer_folder(task: Task, request: RunRequest) -> Path | None:
    import mezzotint

    folder = request.folder(task, "ar")
    return folder if folder.exists() and mezzotint.is_finished(folder) else None


def facts_of(
    task: Task,
    name: str,
    arm: Arm,
    request: RunRequest,
    run: Any,
    strategy: Strategy | None = None,
    chooser: str | None = None,
) -> dict[str, Any]:
    """What all rows of a measurement have."""
    from benchmarks.rows import variant
    from benchmarks.unconditional import requested_minutes

    named = arm.name(request.settings)
    steps = run.config["training"]["max_steps"]
    named |= {"train_steps": steps} if steps else {}
    return {
        "benchmark": task.name, "system": run.card.name, "seed": SEED, "size": request.size,
        "variant": variant(named) if strategy is None else strategy.variant(chooser, named),
        "train_minutes": requested_minutes(run.config["training"]),
        "params": sum(p.numel() for net in run.system.players.values() for p in net.parameters()),
        "precision": str(next(next(iter(run.system.players.values())).parameters()).dtype)[6:],
        "steps": None if strategy is None else strategy.steps,
    }  # fmt: skip


def translate_all(
    run: Any, strategy: Strategy, sources: Sequence[str], path: Path, until: float
) -> list[dict[str, Any]]:
    """What is written from each source, with the seconds that each chunk took; goes on from what is kept."""
    import mezzotint

    chunks = _chunks(path)
    batch_options = {"batch_size": CHUNK} if run.device.type == "cuda" else {}
    done = sum(len(chunk["lines"]) for chunk in chunks)
    while done < len(sources):
        if time.monotonic() > until:
            raise SystemExit(f"{path.parent.name}: {done} of {len(sources)} are written for {path.stem}; call again")
        began = time.perf_counter()
        options = {"choose": "likelihood", "seed": SEED, **batch_options, **strategy.translate_options}
        translations = list(mezzotint.translate(run, sources[done : done + CHUNK], **options))
        chunk = {
            "seconds": time.perf_counter() - began,
            "lines": [[t.candidates or ("",), t.scores or (0.0,), t.nfe] for t in translations],
        }
        with path.open("a") as file:
            file.write(json.dumps(chunk) + "\n")
        chunks.append(json.loads(json.dumps(chunk)))
        done += len(translations)
    return chunks


def _chunks(path: Path) -> list[dict[str, Any]]:
    """What is kept; a last line that was written in half is dropped."""
    from mezzotint.training.folder import put

    text = path.read_text() if path.exists() else ""
    complete = text[: text.rfind("\n") + 1]
    if complete != text:
        put(path, complete)
    return [json.loads(line) for line in complete.splitlines()]


def _score_rows(
    chunks: Sequence[Mapping[str, Any]], chooser: str, scorer: Any, sources: Sequence[str],
    texts: Sequence[Sequence[str]], task: Task, facts: Mapping[str, Any],
) -> Iterator[Any]:  # fmt: skip
    """The rows of one choice; the chooser's seconds and evaluations are counted."""
    from benchmarks.rows import Row
    from mezzotint.evaluate.overlap import overlap
    from mezzotint.evaluate.table import Score
    from mezzotint.translation.scores import says_all

    lines = [line for chunk in chunks for line in chunk["lines"]]
    began = time.perf_counter()
    chosen, nfe = choose(lines, chooser, scorer, sources)
    seconds = sum(chunk["seconds"] for chunk in chunks) + time.perf_counter() - began
    if empty := sum(not any(candidates) for candidates, *_ in lines):
        print(f"{facts['system']}: {empty} of {len(lines)} sources gave nothing, and count as empty texts", flush=True)
    scores = list(overlap(chosen, texts))
    if task.is_bistro:
        right = list(map(says_all, sources, chosen))
        scores.append(Score.mean("success", right, "texts that say all fields and no others"))
    common = {**facts, "nfe": nfe, "seconds": seconds}
    for score in scores:
        if score.value == score.value:
            arm = f"{facts['system']} {facts['variant']}, {facts['steps']} steps"
            print(f"{arm}: {score.name} {score.value:.3f} ({score.note})", flush=True)
            yield Row(**common, metric=score.name, value=score.value, stderr=score.stderr, n=score.n)
    yield Row(**common, metric="sentences_per_second", value=len(lines) / seconds, n=len(lines))


def choose(
    lines: Sequence[Sequence[Any]], chooser: str, scorer: Any, sources: Sequence[str]
) -> tuple[list[str], float]:
    """One of each line's candidates, and the evaluations a line, the chooser's among them."""
    from mezzotint.guidance.choose import best_scored, most_agreed, sentence_bleu
    from mezzotint.translation.write import log_p_of

    nfe = sum(line[2] for line in lines) / len(lines)
    if chooser == "mbr":
        return [texts[most_agreed(texts, sentence_bleu())] for texts, *_ in lines], nfe
    if chooser == "likelihood":
        return [texts[best_scored(scores)] for texts, scores, _ in lines], nfe
    pairs = [(source, text) for source, line in zip(sources, lines, strict=True) for text in line[0]]
    log_p = iter(log_p_of(scorer, pairs))
    picked = [texts[best_scored([next(log_p) for _ in texts])] for texts, *_ in lines]
    return picked, nfe + len(pairs) / len(lines)


# ------------------------------------------------------------ speed


def speed(task: Task, arms: Mapping[str, Arm], request: RunRequest, texts: int = 64, repeats: int = 5) -> None:
    """Sentences a second of every way at batch 1 and `texts`, all interleaved in one run; the median of the repeats."""
    import mezzotint
    from benchmarks.rows import Row, record

    sides = [
        (load_finished(task, name, request), name, arm, strategy)
        for name, arm in arms.items()
        for strategy in arm.strategies
    ]
    sides = [side for side in sides if side[3].choosers[0] != "ar"]
    sources, _ = task.pairs("valid", request.lines)
    rates_by_side: dict[tuple[int, int], list[float]] = {}
    for _ in range(repeats):
        for batch, lines in ((1, sources[: texts // 8]), (texts, sources[:texts])):
            for side, (run, *_, strategy) in enumerate(sides):
                began = time.perf_counter()
                options = {"choose": strategy.choosers[0], **strategy.translate_options}
                list(mezzotint.translate(run, lines, batch_size=batch, seed=SEED, **options))
                rates_by_side.setdefault((side, batch), []).append(len(lines) / (time.perf_counter() - began))
    rows = []
    for (side, batch), rates in rates_by_side.items():
        run, name, arm, strategy = sides[side]
        rates.sort()
        chooser = strategy.choosers[0]
        print(f"{name} {strategy.variant(chooser, {})} {strategy.steps} steps, batch {batch}: {rates}", flush=True)
        facts = facts_of(task, name, arm, request, run, strategy, chooser) | {"split": "valid", "batch": batch}
        rows.append(Row(**facts, metric="sentences_per_second", value=rates[len(rates) // 2], n=repeats))
    record(rows, device=request.device, results=request.results)
