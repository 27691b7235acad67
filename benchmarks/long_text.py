"""`prose-long`: texts of 1,000 tokens from a run of windows, in blocks: how they hold up on the way, what they cost.

    python -m benchmarks.long_text [--run runs/prose-mdlm] [--judge FOLDER] [--n 16] [--length 1000] [--steps 32]

Each arm is a size of block, with keys and values of what stands before the block computed at every call or kept. The
judge reads each text through a window of its own canvas that moves by half of it, so that every token but those at the
start is scored after at least half a canvas of what precedes it; its NLL is reported by buckets of 128 tokens (the
variant's `from`), beside that of held-out prose cut into texts of the same length. `total_variation` is that between
the two ways of computing the distributions at the states which the first visits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NAME = "prose-long"
BUCKET = 128
SEED = 0


def by_bucket(texts: Sequence[str], judge: Any) -> Iterator[tuple[int, Any]]:
    """(first token of the bucket, (n, 2) nats and tokens of each text that reaches it)."""
    from mezzotint.evaluate.table import Numbers

    canvas = judge.run.spec.canvas
    costs = [token_nll(judge, ids, canvas // 2) for ids in judge.run.tokenizer.encode_all(texts)]
    for first in range(0, max(map(len, costs)), BUCKET):
        parts = [cost[first : first + BUCKET] for cost in costs]
        pairs: Numbers = np.array([(part.sum(), len(part)) for part in parts if len(part)])
        yield first, pairs


def token_nll(judge: Any, ids: Sequence[int], stride: int) -> Any:
    """(len(ids),) nats of each token after those before it, of which the judge sees a canvas less `stride` or more."""
    import torch

    from mezzotint.data.canvas import pack
    from mezzotint.types import Ending

    canvas, tokenizer = judge.run.spec.canvas, judge.run.tokenizer
    starts = [0, *range(stride, max(stride, len(ids) - canvas + stride), stride)]
    windows = [np.asarray(ids[start : start + canvas]) for start in starts]
    batch = pack(windows, range(len(windows)), Ending.LENGTH, canvas, tokenizer.end, tokenizer.pad)
    with torch.no_grad():
        nll = judge.run.system.token_nll(batch.to(judge.run.device)).double().cpu().numpy()
    found = np.empty(len(ids))
    for row, start, window in zip(nll, starts, windows, strict=True):
        # A later window adds only what the one before it did not reach.
        fresh = 0 if start == 0 else canvas - stride
        found[start + fresh : start + len(window)] = row[fresh : len(window)]
    return found


def held_out(run: Any, path: Path, n: int, length: int) -> list[str]:
    """n stretches of `length` tokens of the held-out documents, evenly spaced."""
    from mezzotint.data.corpus import read
    from mezzotint.types import Layout

    documents, _ = read([path], None, Layout.WINDOWS)
    pieces = []
    for ids in run.tokenizer.encode_each(documents):
        pieces += [ids[i : i + length] for i in range(0, len(ids) - length + 1, length)]
    chosen = np.linspace(0, len(pieces) - 1, min(n, len(pieces))).round().astype(int)
    return [run.tokenizer.decode(pieces[i]) for i in chosen]


def scored(texts: Sequence[str], judge: Any, common: dict[str, Any], settings: dict[str, Any]) -> Iterator[Any]:
    """Rows: judge NLL by bucket, and the diversity of the whole texts."""
    from benchmarks.rows import Row, variant
    from mezzotint.evaluate.diversity import diversity
    from mezzotint.evaluate.judge import tag
    from mezzotint.evaluate.table import bootstrap_stderr, ratio

    whole = common | {"variant": variant(settings)}
    for first, pairs in by_bucket(texts, judge):
        value, stderr = ratio(pairs), bootstrap_stderr(pairs, ratio)
        print(f"  tokens from {first}: judge NLL {value:.3f} ± {stderr or 0:.3f}", flush=True)
        yield Row(
            **common | {"variant": variant(settings | {"from": first}), "metric": "judge_nll", "value": value,
                        "stderr": stderr, "n": len(pairs), "judge": tag(judge)}
        )  # fmt: skip
    for score in diversity(texts):
        yield Row(**whole | {"metric": score.name, "value": score.value, "stderr": score.stderr, "n": score.n})


def arm(run: Any, judge: Any, common: dict[str, Any], options: dict[str, Any], n: int, length: int) -> Iterator[Any]:
    """One way of writing: its texts scored, its speed."""
    from benchmarks.rows import Row, variant

    settings = {**options, "length": length}
    began = time.perf_counter()
    samples = run.generate(n, length=length, seed=SEED, steps=common["steps"], **options)
    seconds = time.perf_counter() - began
    nfe = sum(s.nfe for s in samples) / n
    print(f"{variant(settings)}: {nfe:.0f} evaluations, {seconds:.1f} s\n    {samples[0].text[:300]!r}", flush=True)
    cost = common | {"nfe": nfe, "seconds": seconds, "batch": min(n, 64)}
    tokens = n * length / seconds
    yield Row(**cost | {"variant": variant(settings), "metric": "tokens_per_second", "value": tokens, "n": n})
    yield from scored([s.text for s in samples], judge, cost, settings)


def gap(run: Any, common: dict[str, Any], block: int, n: int, length: int) -> Any:
    """A row: the total variation between distributions with and without kept keys and values."""
    from benchmarks.rows import Row, variant
    from mezzotint.data.canvas import free
    from mezzotint.rng import Rng
    from mezzotint.sampler.blocks import write_blocks
    from mezzotint.sampler.drive import Counted
    from mezzotint.sampler.reuse import Reuse
    from mezzotint.sampler.reveal import Reveal

    system, found = run.system, []
    reuse = Reuse(lambda part, at, cache: system.logits(part, None, at, cache), system.spec.net.depth)

    def both(noised: Any, cond: Any, previous: object = None, at: Any = None) -> Any:
        whole, kept = system.denoise(noised, cond, previous, at), reuse(noised, cond, previous, at)
        found.append((whole.logits.softmax(-1) - kept.logits.softmax(-1)).abs().sum(-1).cpu().numpy() / 2)
        return whole

    canvas = free([length] * n, range(n), run.tokenizer.pad).to(run.device)
    counted, rng = Counted(both, canvas), Rng(SEED, range(n))
    step, window = Reveal(system.process), run.spec.canvas
    list(write_blocks(counted, step, canvas, common["steps"], rng, counted.calls, window=window, block=block))
    value = float(np.concatenate(found).mean())
    print(f"block {block}: total variation between kept and not {value:.4f}", flush=True)
    settings = variant({"against": "whole", "block": block, "length": length, "reuse": True})
    return Row(**common | {"variant": settings, "metric": "total_variation", "value": value, "n": n})


def main() -> None:
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from benchmarks.rows import record
    from mezzotint.judge import Judge

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/prose-mdlm"))
    parser.add_argument("--judge", type=Path, default=RECIPES["prose"].kept)
    parser.add_argument("--test", type=Path, help="held-out documents (default: the prose test split)")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=32, help="of each block")
    parser.add_argument("--blocks", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    judge, run = Judge(mezzotint.load(given.judge)), mezzotint.load(given.run, device=given.device)
    device = str(run.device)
    texts = held_out(run, given.test or Path(corpus_files("prose").test), given.n, given.length)
    print("held-out prose:", flush=True)
    data = {"benchmark": NAME, "system": "data", "split": "test"}
    record(list(scored(texts, judge, data, {"length": given.length})), device=device)
    net, model = run.spec.net, run.system.net
    common: dict[str, Any] = {
        "benchmark": NAME, "system": run.card.name, "seed": run.config["seed"], "size": f"d{net.dim}x{net.depth}",
        "params": sum(p.numel() for p in model.parameters()), "precision": str(next(model.parameters()).dtype)[6:],
        "steps": given.steps,
    }  # fmt: skip
    for block in given.blocks:
        for options in ({"block": block}, {"block": block, "reuse": True}):
            record(list(arm(run, judge, common, options, given.n, given.length)), device=device)
        record([gap(run, common, block, min(given.n, 4), given.length)], device=device)


if __name__ == "__main__":
    main()
