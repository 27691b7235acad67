"""`multi30k-de-en` and `multi30k-en-de`: translation of image captions, systems and their choosers side by side.

    python -m benchmarks.multi30k de-en train ar difformer [--minutes 60] [--piece 9] [--device cuda]
    python -m benchmarks.multi30k de-en score ar difformer [--split valid] [--piece 9] [--device cuda]
    python -m benchmarks.multi30k de-en speed

Every call works for `--piece` minutes at most, then leaves its state: a training goes on from its last checkpoint, and
what was translated lies beside the run. Call again until it says that nothing is left. The arms that leave a module of
Difformer out (rounding, factor-1, no-norm, plain) are the paper's ablation. What is chosen, choose on valid; `test` is
test_2016_flickr. Rows hold sacreBLEU (cased, detokenised; the signature is printed), the same lower-cased, and chrF.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mezzotint.cli.allocator import keep_memory

SEED = 0


@dataclass(frozen=True)
class Arm:
    """A system as it is trained here, beside its recipe."""

    system: str
    settings: Mapping[str, str] = field(default_factory=dict)


DROPOUT = {"dropout": "0.3"}
ARMS = {
    "ar": Arm("ar-seq2seq", DROPOUT),
    "difformer": Arm("difformer", DROPOUT),
    "rounding": Arm("difformer", {**DROPOUT, "names": "rounding"}),
    "factor-1": Arm("difformer", {**DROPOUT, "factor": "1"}),
    "no-norm": Arm("difformer", {**DROPOUT, "embed_norm": "none"}),
    "table-norm": Arm("difformer", {**DROPOUT, "embed_norm": "table"}),
    "plain": Arm("difformer", {**DROPOUT, "names": "rounding", "factor": "1", "embed_norm": "none"}),
}
"""Difformer without its three modules is Diffusion-LM with an encoder."""

AR_WAYS: tuple[dict[str, Any], ...] = (
    {"candidates": (1, 5), "decoder": "beam"},
    {"candidates": (1, 1), "decoder": "exact", "temperature": 0.0, "choose": "likelihood"},
)
WAYS: tuple[dict[str, Any], ...] = (
    *({"candidates": (1, 1), "choose": "likelihood", "steps": steps} for steps in (5, 10, 20)),
    *({"candidates": beams, "choose": by} for beams in ((5, 2), (7, 3)) for by in ("likelihood", "mbr", "ar")),
)


def data(split: str) -> Path:
    """The file of a split; SystemExit with a sentence where it is not at hand."""
    from benchmarks.data import ORIGINALS

    path = ORIGINALS / "multi30k" / f"{'test_2016_flickr' if split == 'test' else split}.jsonl.xz"
    if not path.exists():
        raise SystemExit(f"the benchmark data is not beside the repository (multi30k/{path.name}); see docs/log.md")
    return path


def folder(direction: str, arm: str, size: str) -> Path:
    return Path("runs") / f"multi30k-{direction}-{arm}-{size}"


def train(direction: str, arm: str, given: argparse.Namespace, until: float) -> bool:
    """Train an arm, or go on with it; whether it is finished."""
    import mezzotint

    source, target = direction.split("-")
    out, made = folder(direction, arm, given.size), ARMS[arm]
    if out.exists() and mezzotint.is_finished(out):
        return True
    records = (
        mezzotint.resume(out, device=given.device)
        if out.exists()
        else mezzotint.train(
            made.system, [data("train")], valid=[data("valid")], source=source, target=target, out=out,
            tokenizer="bpe", size=given.size, minutes=given.minutes, settings=made.settings, seed=SEED,
            device=given.device,
        )
    )  # fmt: skip
    for record in records:
        if record.valid is not None:
            print(f"{arm}: {record.fraction:.0%}, held-out {record.valid:.4f}", flush=True)
        if record.saved and time.monotonic() > until and record.fraction < 1:
            print(f"{arm}: left at step {record.step}, {record.fraction:.0%}", flush=True)
            return False
    return True


def called(how: Mapping[str, Any]) -> str:
    """The variant of a way to write."""
    from benchmarks.rows import variant

    shown = {name: "x".join(map(str, v)) if name == "candidates" else v for name, v in how.items() if name != "steps"}
    return variant(shown)


def score(direction: str, arm: str, given: argparse.Namespace, until: float) -> bool:
    """Translate the split in every way that is not recorded yet, and record the scores; whether all are."""
    import mezzotint
    from benchmarks.rows import record

    out, source = folder(direction, arm, given.size), direction.split("-")
    run = mezzotint.load(out, device=given.device)
    scorer_at = folder(direction, "ar", given.size)
    scorer = mezzotint.load(scorer_at, device=given.device) if (scorer_at / "model.safetensors").exists() else None
    ways = AR_WAYS if ARMS[arm].system == "ar-seq2seq" else WAYS
    for how in ways:
        if how.get("choose") == "ar" and scorer is None:
            print(f"{arm}: {called(how)} is left out: there is no run of the arm 'ar' yet", flush=True)
            continue
        kept = out / f"{given.split}-{called(how)}-{how.get('steps', 20)}.json"
        if not kept.exists():
            if time.monotonic() > until:
                return False
            kept.write_text(json.dumps(translated(run, how, scorer, source, given.split)))
        record(list(rows(direction, arm, run, how, json.loads(kept.read_text()), given)), device=given.device)
    return True


def translated(run: Any, how: Mapping[str, Any], scorer: Any, source: list[str], split: str) -> dict[str, Any]:
    """What a run writes from a split, and what that took."""
    import mezzotint
    from mezzotint.data.pairs import Columns, read_pairs

    (read, texts), _, _ = read_pairs([data(split)], Columns(*source))
    more = {"scorer": scorer} if how.get("choose") == "ar" else {}
    began = time.perf_counter()
    written = list(mezzotint.translate(run, read, seed=SEED, **how, **more))
    seconds = time.perf_counter() - began
    nfe = sum(each.nfe for each in written) / len(written)
    return {"texts": [each.text for each in written], "references": texts, "seconds": seconds, "nfe": nfe}


def rows(
    direction: str, arm: str, run: Any, how: Mapping[str, Any], kept: Mapping[str, Any], given: argparse.Namespace
) -> Iterator[Any]:
    from benchmarks.rows import Row, variant
    from mezzotint.evaluate.overlap import overlap

    settings = {k: v for k, v in ARMS[arm].settings.items() if k != "dropout"}
    said = [part for part in (called(how), variant(settings)) if part != "default"]
    common: dict[str, Any] = {
        "benchmark": f"multi30k-{direction}", "system": run.card.name, "split": given.split, "seed": SEED,
        "variant": ",".join(sorted(",".join(said).split(","))) or "default", "size": given.size,
        "params": sum(p.numel() for p in run.system.net.parameters()), "nfe": kept["nfe"],
        "train_minutes": run.config["training"]["minutes"], "seconds": kept["seconds"],
        "steps": None if run.card.exact else how.get("steps", 20),
        "precision": str(next(run.system.net.parameters()).dtype)[6:],
    }  # fmt: skip
    for one in overlap(kept["texts"], kept["references"]):
        if one.value == one.value:
            print(f"{arm} {common['variant']} {one.name} {one.value:.3f} ({one.note})", flush=True)
            yield Row(**common, metric=one.name, value=one.value, stderr=one.stderr, n=one.n)
    rate = len(kept["texts"]) / kept["seconds"]
    yield Row(**common, metric="sentences_per_second", value=rate, n=len(kept["texts"]))


def speed(direction: str, given: argparse.Namespace, texts: int = 64, repeats: int = 5) -> bool:
    """Sentences a second at batch 1 and 64, all sides interleaved in one run; median of five."""
    import mezzotint
    from benchmarks.rows import Row, record
    from mezzotint.data.pairs import Columns, read_pairs

    runs = {arm: mezzotint.load(folder(direction, arm, given.size), device=given.device) for arm in ("ar", "difformer")}
    (read, _), _, _ = read_pairs([data("valid")], Columns(*direction.split("-")))
    sides = [("ar", how) for how in AR_WAYS] + [("difformer", WAYS[2]), ("difformer", {})]
    found: dict[tuple[int, int], list[float]] = {}
    for _ in range(repeats):
        for batch in (1, 64):
            lines = read[: texts if batch > 1 else 8]
            for side, (arm, how) in enumerate(sides):
                began = time.perf_counter()
                list(mezzotint.translate(runs[arm], lines, batch_size=batch, seed=SEED, **how))
                found.setdefault((side, batch), []).append(len(lines) / (time.perf_counter() - began))
    made = []
    for (side, batch), rates in found.items():
        arm, how = sides[side]
        rates.sort()
        print(f"{arm} {called(how)} batch {batch}: {rates}", flush=True)
        made.append(
            Row(
                benchmark=f"multi30k-{direction}", system=runs[arm].card.name, metric="sentences_per_second",
                value=rates[len(rates) // 2], n=repeats, batch=batch, variant=called(how), split="valid", seed=SEED,
                size=given.size,
            )
        )  # fmt: skip
    record(made, device=given.device)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=["de-en", "en-de"])
    parser.add_argument("what", choices=["train", "score", "speed"])
    parser.add_argument("arms", nargs="*", help=f"of {', '.join(ARMS)} (default: all)")
    parser.add_argument("--size", choices=["tiny", "small", "base"], default="tiny")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--piece", type=float, default=9.0)
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    if strange := [arm for arm in given.arms if arm not in ARMS]:
        parser.error(f"unknown arm '{strange[0]}'; known: {', '.join(ARMS)}")
    keep_memory()
    until = time.monotonic() + 60 * given.piece
    if given.what == "speed":
        speed(given.direction, given)
        return
    do = train if given.what == "train" else score
    done = all(do(given.direction, arm, given, until) for arm in given.arms or ARMS)
    print("nothing is left" if done else "call again to go on", flush=True)


if __name__ == "__main__":
    main()
