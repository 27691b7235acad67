"""`multi30k-de-en` and `multi30k-en-de`: translation of image captions, systems and their choosers side by side.

    python -m benchmarks.multi30k de-en train ar [--train-minutes 60] [--minutes 9]
    python -m benchmarks.multi30k de-en train difformer; … train cmlm; … train plain
    python -m benchmarks.multi30k de-en train rounding; … train factor-1; … train no-norm; … train table-norm
    python -m benchmarks.multi30k de-en score ar --split valid [--minutes 9]        and so for each other arm
    python -m benchmarks.multi30k de-en score ar --split test
    python -m benchmarks.multi30k de-en speed ar difformer cmlm
    python -m benchmarks.multi30k de-en collapse difformer rounding no-norm
    python -m benchmarks.multi30k de-en distil; … train difformer --distilled; … score difformer --distilled
    python -m benchmarks.multi30k de-en table

Train `ar` first: it chooses for the others. A call works for `--minutes` at most and then leaves what it has; the same
call goes on from there, until it says that nothing is left. `--train-minutes` is the whole training of an arm, on the
clock of the training. On a GPU add `--device cuda --size small`. `--trial` does everything in seconds, learning a few
steps from the pairs of valid and writing a few lines, under runs/trial: a look at whether an arm runs at all. One core
writes 50 candidates a second at `tiny`: valid in all ways of `difformer` takes it a quarter of an hour.

The arms rounding (no anchor loss), factor-1 (no louder noise), no-norm and plain (none of the three, which is
Diffusion-LM with an encoder) are the paper's ablation. What is chosen, choose on valid: `table` marks the way of each
arm that is best there, and says what it is worth on test, which is test_2016_flickr. Rows hold sacreBLEU (cased,
detokenised; the signature is printed), the same lower-cased, and chrF; a chooser's evaluations and seconds are counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path

from benchmarks.arms import Arm, RunRequest, Strategy, Task
from benchmarks.data import ORIGINALS
from benchmarks.seq2seq import score, speed, train
from mezzotint.cli.allocator import keep_memory

DROPOUT = {"dropout": "0.3"}
TRIAL = {"dim": "32", "depth": "1", "heads": "2", "hidden": "32", "batch": "8", "validations": "1"}
AR_STRATEGIES = (
    Strategy((1, 5), ("likelihood",), None, {"decoder": "beam"}),
    Strategy((1, 1), ("likelihood",), None, {"temperature": 0.0, "decoder": "exact"}),
    Strategy((1, 10), ("likelihood", "mbr"), None, {"decoder": "beam"}),
)
COOL, COLD = {"temperature": 0.5}, {"temperature": 0.0}
"""Half of the noise of each step, and none but what it begins with."""
CHOOSERS = ("likelihood", "mbr", "ar")
STRATEGIES = (
    Strategy((1, 1), ("likelihood",)),
    Strategy((1, 1), ("likelihood",), 20, COOL),
    *(Strategy((1, 1), ("likelihood",), steps, COLD) for steps in (5, 10, 20)),
    Strategy((5, 2), CHOOSERS, 20, COOL),
    Strategy((7, 3), CHOOSERS, 20, COOL),
)
MASKED = {"decoder": "mask-predict", "temperature": 0.0}
CMLM_STRATEGIES = (
    Strategy((1, 1), ("likelihood",), 4, MASKED),
    Strategy((1, 1), ("likelihood",), 10, MASKED),
    Strategy((5, 1), CHOOSERS, 10, MASKED),
)
ABLATED = (Strategy((1, 1), ("likelihood",), 20, COLD), Strategy((5, 2), ("mbr",), 20, COOL))


def _difformer(strategies: tuple[Strategy, ...], **settings: str) -> Arm:
    return Arm("difformer", strategies, {**DROPOUT, **settings}, tuple(settings))


ARMS = {
    "ar": Arm("ar-seq2seq", AR_STRATEGIES, DROPOUT),
    "difformer": _difformer(STRATEGIES),
    "cmlm": Arm("cmlm", CMLM_STRATEGIES, DROPOUT),
    "rounding": _difformer(ABLATED, names="rounding"),
    "factor-1": _difformer(ABLATED, factor="1"),
    "no-norm": _difformer(ABLATED, embed_norm="none"),
    "table-norm": _difformer(ABLATED, embed_norm="table"),
    "plain": _difformer(
        (*ABLATED, Strategy((1, 1), ("likelihood",), 100, COLD)), names="rounding", factor="1", embed_norm="none"
    ),
}
TASKS = {
    f"{source}-{target}": Task(
        f"multi30k-{source}-{target}",
        {
            split: ORIGINALS / "multi30k" / f"{file}.jsonl.xz"
            for split, file in (("train", "train"), ("valid", "valid"), ("test", "test_2016_flickr"))
        },
        source,
        target,
    )
    for source, target in (("de", "en"), ("en", "de"))
}


def table(task: Task, results: Path) -> str:
    """Every way of every arm on valid and on test, the best one of an arm on valid marked; in Markdown."""
    from benchmarks.rows import read

    rows = [row for row in read(results / f"{task.name}.json") if row.split and row.batch is None]
    by_key = {(r.system, r.variant, r.steps, r.train_minutes, r.size, r.split, r.metric): r for r in rows}
    keys = list(dict.fromkeys((r.system, r.variant, r.steps, r.train_minutes, r.size) for r in rows))
    main = "rouge_l" if task.private else "sacrebleu"

    def value(key: tuple[object, ...], split: str, metric: str) -> float:
        row = by_key.get((*key, split, metric))
        return -inf if row is None or row.value is None else row.value

    def arm(key: tuple[object, ...]) -> tuple[object, ...]:
        of_way = ("candidates=", "choose=", "decoder=", "temperature=")
        named = [part for part in str(key[1]).split(",") if not part.startswith(of_way)]
        return (key[0], *named, *key[3:])

    best = {arm(key): key for key in sorted(keys, key=lambda key: value(key, "valid", main))}
    metrics = dict.fromkeys([main, "bleu_lower", "chrf", "rouge_1", "success", "sentences_per_second"])
    columns = [
        (split, m) for m in metrics for split in ("valid", "test") if any(value(k, split, m) > -inf for k in keys)
    ]
    head = ["system", "variant", "steps", "nfe", *(f"{metric} {split}" for split, metric in columns), "chosen"]
    lines = [head, ["---"] * len(head)]
    for key in sorted(keys, key=lambda key: (str(arm(key)), -value(key, "valid", main))):
        nfe = next((r.nfe for r in rows if (r.system, r.variant, r.steps) == key[:3]), None)
        values = [f"{value(key, *column):.3f}" if value(key, *column) > -inf else "" for column in columns]
        chosen = "valid" if best[arm(key)] == key and value(key, "valid", main) > -inf else ""
        lines.append([str(key[0]), str(key[1]), str(key[2] or ""), f"{nfe:.1f}" if nfe else "", *values, chosen])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def arguments(doc: str | None, tasks: Mapping[str, Task], arms: Mapping[str, Arm]) -> argparse.Namespace:
    """What the command line asks for."""
    from benchmarks.rows import setting

    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(tasks))
    parser.add_argument("what", choices=["train", "score", "speed", "collapse", "distil", "table"])
    parser.add_argument("arms", nargs="*", help=f"of {', '.join(arms)} (default: all)")
    parser.add_argument("--size", choices=["tiny", "small", "base"], default="tiny")
    parser.add_argument("--train-minutes", type=float, default=60.0)
    parser.add_argument("--train-steps", type=int)
    parser.add_argument("--set", type=setting, nargs="+", default=[], metavar="KEY=VALUE", help="in every arm")
    parser.add_argument("--minutes", type=float, default=inf, help="how long this call may take")
    parser.add_argument("--split", default="valid", help="valid, test, or what else the task has")
    parser.add_argument("--lines", type=int, help="only so many lines of it")
    parser.add_argument("--distilled", action="store_true", help="arms learn from what `distil` wrote")
    parser.add_argument("--trial", action="store_true")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    if given.split not in (splits := tasks[given.task].files):
        parser.error(f"unknown split '{given.split}'; known: {', '.join(splits)}")
    if strange := [arm for arm in given.arms if arm not in arms]:
        parser.error(f"unknown arm '{strange[0]}'; known: {', '.join(arms)}")
    return given


def main(doc: str | None = __doc__, tasks: Mapping[str, Task] = TASKS, arms: Mapping[str, Arm] = ARMS) -> None:
    given = arguments(doc, tasks, arms)
    keep_memory()
    from benchmarks.collapse import collapse
    from benchmarks.distilled import distil, distilled_path
    from benchmarks.rows import RESULTS

    trial, task = given.trial, tasks[given.task]
    if trial:
        task = replace(task, files={**task.files, "train": task.files["valid"]})
    request = RunRequest(
        size=given.size, minutes=given.train_minutes, steps=4 if trial else given.train_steps,
        settings={**(TRIAL if trial else {}), **dict(given.set)}, lines=6 if trial else given.lines,
        runs=Path("runs/trial" if trial else "runs"), results=Path("runs/trial/results") if trial else RESULTS,
        device=given.device, until=time.monotonic() + 60 * given.minutes,
    )  # fmt: skip
    chosen = {name: arms[name] for name in given.arms or arms}
    if given.distilled:
        if not distilled_path(task, request).exists():
            raise SystemExit(f"{distilled_path(task, request)} is not there; `distil` writes it, with the arm 'ar'")
        task = replace(task, files={**task.files, "train": distilled_path(task, request)})
        chosen = {f"{name}-distilled": replace(arm, data="distilled") for name, arm in chosen.items()}
    if given.what == "distil":
        distil(task, replace(request, lines=40) if trial else request)
        return
    if given.what == "table":
        print(table(task, request.results))
        return
    if given.what == "speed":
        speed(task, chosen, request, texts=8 if trial else 64, repeats=1 if trial else 5)
        return
    for name, arm in chosen.items():
        if given.what == "train":
            train(task, name, arm, request)
        elif given.what == "score":
            score(task, name, arm, given.split, request)
        else:
            collapse(task, name, arm, request)
    print("nothing is left")


if __name__ == "__main__":
    main()
