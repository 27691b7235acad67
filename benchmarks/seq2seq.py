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

from benchmarks.arms import Arm, RunRequest, Task, Way

SEED = 0
CHUNK = 64
"""Lines that are translated before they are kept."""


def train(task: Task, name: str, arm: Arm, asked: RunRequest) -> None:
    """Train an arm, or go on with it; SystemExit where the time is up before its end."""
    import mezzotint
    from benchmarks.collapse import collapse
    from benchmarks.pieces import followed

    out = asked.folder(task, name)
    if out.exists() and mezzotint.is_finished(out):
        return
    records = (
        mezzotint.resume(out, device=asked.device)
        if out.exists()
        else mezzotint.train(
            arm.system, [task.file("train")], valid=None if task.is_bistro else [task.file("valid")],
            source=task.source, target=task.target, out=out, tokenizer="auto" if task.is_bistro else "bpe",
            size=asked.size, minutes=None if asked.steps else asked.minutes, max_steps=asked.steps, seed=SEED,
            settings={**arm.settings, **task.settings, **asked.settings}, device=asked.device,
        )
    )  # fmt: skip
    for record in followed(out.name, records, asked.until):
        if record.saved is not None:
            collapse(task, name, arm, asked, minutes=round(record.elapsed / 60, 1))


# ------------------------------------------------------------ what is written, and what it is worth


def score(task: Task, name: str, arm: Arm, split: str, asked: RunRequest) -> None:
    """Write from a split in every way, and record what is not recorded yet; SystemExit where the time is up."""
    import mezzotint
    from benchmarks.rows import has, record

    run = finished(task, name, asked)
    scorer = mezzotint.load(at, device=asked.device) if (at := _scorer(task, asked)) else None
    read, texts = task.pairs(split, asked.lines)
    for way in arm.ways:
        kept = run.folder / f"{split}-{len(read)}-{way.called(None, {})}-{way.steps}.jsonl"
        for chooser in way.choosers:
            if chooser == "ar" and scorer is None:
                print(f"{name}: {way.called('ar', {})} is left out; train the arm 'ar' first", flush=True)
                continue
            facts = facts_of(task, name, arm, asked, run, way, chooser) | {"split": split}
            known = {key: value for key, value in facts.items() if key not in ("benchmark", "params")}
            if has(task.name, asked.results, metric="chrf", n=len(read), **known):
                continue
            found = written(run, way, read, kept, asked.until)
            rows = _scored(found, chooser, scorer, read, texts, task, facts)
            record(rows, device=asked.device, results=asked.results)
        if task.private:
            kept.unlink(missing_ok=True)


def finished(task: Task, name: str, asked: RunRequest) -> Any:
    """The run of an arm; SystemExit with a sentence where it is not trained to its end."""
    import mezzotint

    folder = asked.folder(task, name)
    if not folder.exists() or not mezzotint.is_finished(folder):
        raise SystemExit(f"{folder} is not trained to its end; `train {name}` does that")
    return mezzotint.load(folder, device=asked.device)


def _scorer(task: Task, asked: RunRequest) -> Path | None:
    import mezzotint

    at = asked.folder(task, "ar")
    return at if at.exists() and mezzotint.is_finished(at) else None


def facts_of(
    task: Task, name: str, arm: Arm, asked: RunRequest, run: Any, way: Way | None = None, chooser: str | None = None
) -> dict[str, Any]:
    """What all rows of a measurement have."""
    from benchmarks.rows import variant
    from benchmarks.unconditional import minutes_asked

    named = arm.name(asked.settings)
    steps = run.config["training"]["max_steps"]
    named |= {"train_steps": steps} if steps else {}
    return {
        "benchmark": task.name, "system": run.card.name, "seed": SEED, "size": asked.size,
        "variant": variant(named) if way is None else way.called(chooser, named),
        "train_minutes": minutes_asked(run.config["training"]),
        "params": sum(p.numel() for net in run.system.players.values() for p in net.parameters()),
        "precision": str(next(next(iter(run.system.players.values())).parameters()).dtype)[6:],
        "steps": None if way is None else way.steps,
    }  # fmt: skip


def written(run: Any, way: Way, read: Sequence[str], kept: Path, until: float) -> list[dict[str, Any]]:
    """What is written from each source, with the seconds that each chunk took; goes on from what is kept."""
    import mezzotint

    chunks = _chunks(kept)
    together = {"batch_size": CHUNK} if run.device.type == "cuda" else {}
    done = sum(len(chunk["lines"]) for chunk in chunks)
    while done < len(read):
        if time.monotonic() > until:
            raise SystemExit(f"{kept.parent.name}: {done} of {len(read)} are written for {kept.stem}; call again")
        began = time.perf_counter()
        how = {"choose": "likelihood", "seed": SEED, **together, **way.asked}
        found = list(mezzotint.translate(run, read[done : done + CHUNK], **how))
        chunk = {
            "seconds": time.perf_counter() - began,
            "lines": [[t.candidates or ("",), t.scores or (0.0,), t.nfe] for t in found],
        }
        with kept.open("a") as file:
            file.write(json.dumps(chunk) + "\n")
        chunks.append(json.loads(json.dumps(chunk)))
        done += len(found)
    return chunks


def _chunks(kept: Path) -> list[dict[str, Any]]:
    """What is kept; a last line that was written in half is dropped."""
    from mezzotint.training.folder import put

    text = kept.read_text() if kept.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        put(kept, whole)
    return [json.loads(line) for line in whole.splitlines()]


def _scored(
    chunks: Sequence[Mapping[str, Any]], chooser: str, scorer: Any, read: Sequence[str],
    texts: Sequence[Sequence[str]], task: Task, facts: Mapping[str, Any],
) -> Iterator[Any]:  # fmt: skip
    """The rows of one choice; the chooser's seconds and evaluations are counted."""
    from benchmarks.rows import Row
    from mezzotint.evaluate.overlap import overlap
    from mezzotint.evaluate.table import Score
    from mezzotint.translation.scores import says_all

    lines = [line for chunk in chunks for line in chunk["lines"]]
    began = time.perf_counter()
    chosen, nfe = choose(lines, chooser, scorer, read)
    seconds = sum(chunk["seconds"] for chunk in chunks) + time.perf_counter() - began
    if lost := sum(not any(candidates) for candidates, *_ in lines):
        print(f"{facts['system']}: {lost} of {len(lines)} sources gave nothing, and count as empty texts", flush=True)
    said = list(overlap(chosen, texts))
    if task.is_bistro:
        said.append(Score.mean("success", list(map(says_all, read, chosen)), "texts that say all fields and no others"))
    common = {**facts, "nfe": nfe, "seconds": seconds}
    for one in said:
        if one.value == one.value:
            how = f"{facts['variant']}, {facts['steps']} steps"
            print(f"{facts['system']} {how}: {one.name} {one.value:.3f} ({one.note})", flush=True)
            yield Row(**common, metric=one.name, value=one.value, stderr=one.stderr, n=one.n)
    yield Row(**common, metric="sentences_per_second", value=len(lines) / seconds, n=len(lines))


def choose(lines: Sequence[Sequence[Any]], chooser: str, scorer: Any, read: Sequence[str]) -> tuple[list[str], float]:
    """One of each line's candidates, and the evaluations a line, the chooser's among them."""
    from mezzotint.guidance.choose import best_scored, most_agreed, sentence_bleu
    from mezzotint.translation.write import log_p_of

    nfe = sum(line[2] for line in lines) / len(lines)
    if chooser == "mbr":
        return [texts[most_agreed(texts, sentence_bleu())] for texts, *_ in lines], nfe
    if chooser == "likelihood":
        return [texts[best_scored(scores)] for texts, scores, _ in lines], nfe
    pairs = [(source, text) for source, line in zip(read, lines, strict=True) for text in line[0]]
    found = iter(log_p_of(scorer, pairs))
    picked = [texts[best_scored([next(found) for _ in texts])] for texts, *_ in lines]
    return picked, nfe + len(pairs) / len(lines)


# ------------------------------------------------------------ speed


def speed(task: Task, arms: Mapping[str, Arm], asked: RunRequest, texts: int = 64, repeats: int = 5) -> None:
    """Sentences a second of every way at batch 1 and `texts`, all interleaved in one run; the median of the repeats."""
    import mezzotint
    from benchmarks.rows import Row, record

    sides = [(finished(task, name, asked), name, arm, way) for name, arm in arms.items() for way in arm.ways]
    sides = [side for side in sides if side[3].choosers[0] != "ar"]
    read, _ = task.pairs("valid", asked.lines)
    found: dict[tuple[int, int], list[float]] = {}
    for _ in range(repeats):
        for batch, lines in ((1, read[: texts // 8]), (texts, read[:texts])):
            for side, (run, *_, way) in enumerate(sides):
                began = time.perf_counter()
                list(mezzotint.translate(run, lines, batch_size=batch, seed=SEED, choose=way.choosers[0], **way.asked))
                found.setdefault((side, batch), []).append(len(lines) / (time.perf_counter() - began))
    made = []
    for (side, batch), rates in found.items():
        run, name, arm, way = sides[side]
        rates.sort()
        print(f"{name} {way.called(way.choosers[0], {})} {way.steps} steps, batch {batch}: {rates}", flush=True)
        facts = facts_of(task, name, arm, asked, run, way, way.choosers[0]) | {"split": "valid", "batch": batch}
        made.append(Row(**facts, metric="sentences_per_second", value=rates[len(rates) // 2], n=repeats))
    record(made, device=asked.device, results=asked.results)
