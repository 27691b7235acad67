"""`e2e-gaps`: gaps of 1 to 8 tokens cut out of held-out texts, filled without saying how long they were.

    python -m benchmarks.gaps [--run runs/e2e-mdlm] [--n 500] [--gaps 1 2] [--minutes 9]

A number of gaps and their lengths (uniform on 1 to 8) and places (uniform, never side by side) are drawn for each text;
texts that would keep fewer tokens than they have gaps are passed over, and so are those with a word that the run does
not know. Under this cut the true posterior of the lengths is p(length of the text) p(what is left | lengths).

    chosen      the template says [ ]: the run chooses
    true        the template says the length
    law         lengths by the run's law of text lengths alone: the template's words play no part
    frequent    always the length that is the most frequent among the gaps that were cut
    uniform     any length from 1 to 8

Temperature 0 takes the likeliest lengths and tokens, 1 draws both. What is done is kept under runs/gaps until all of it
is: what was stopped, or had too few --minutes, is continued by the same call.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cuts import Cut, cut_out, is_writable

STATE = Path("runs/gaps")
LONGEST = 8
SEED = 0


def cut(tokenizer: Any, text: str, gaps: int, rng: np.random.Generator) -> Cut | None:
    """The text with so many gaps in it; None where that cannot be, or it could not be written as a template."""
    ids = tokenizer.encode(text)
    lengths = [int(n) for n in rng.integers(1, LONGEST + 1, size=gaps)]
    remaining = len(ids) - sum(lengths)
    if remaining < gaps or not is_writable(tokenizer, text, ids):
        return None
    # Each gap stands behind another number of the tokens that are kept, so no two touch.
    places = sorted(int(n) for n in rng.choice(remaining + 1, size=gaps, replace=False))
    begins = [place + sum(lengths[:i]) for i, place in enumerate(places)]
    return cut_out(tokenizer, text, ids, [(begin, begin + n) for begin, n in zip(begins, lengths, strict=True)])


def cuts(tokenizer: Any, texts: Sequence[str], gaps: int, longest: int) -> Iterator[Cut]:
    """Cuts of the texts of at most `longest` tokens, in a fixed random order."""
    rng = np.random.default_rng((SEED, gaps))
    for i in rng.permutation(len(texts)):
        result = cut(tokenizer, texts[i], gaps, rng)
        if result is not None and len(tokenizer.encode(texts[i])) <= longest:
            yield result


def fill_gaps(run: Any, each: Cut, lengths: str, temperature: float, seed: int) -> dict[str, Any]:
    """One text asked for; with a seed of its own, or all texts would be drawn at the same quantiles."""
    marks = ["[ ]"] * len(each.lengths) if lengths == "chosen" else [f"[{n}]" for n in each.lengths]
    (sample,) = run.infill(each.template(marks), temperature=temperature, seed=seed)
    return {"chosen": sample.gaps, "match": sample.text == each.text, "nfe": sample.nfe}


def lengths_by_prior(run: Any, each: Cut, temperature: float, seed: int) -> tuple[int, ...]:
    """Lengths chosen by the law of the length of the whole text."""
    from mezzotint.data.template import Gap
    from mezzotint.rng import Rng
    from mezzotint.sampler.lengths import GapLengthSampler

    remaining = len(run.tokenizer.encode(each.text)) - sum(each.lengths)
    sampler = GapLengthSampler(
        [Gap(1, LONGEST)] * len(each.lengths),
        run.spec.canvas - remaining,
        lambda lengths: run.lengths.log_prob(remaining + sum(lengths)),
        calls=0,
    )
    return sampler(Rng(seed, [0]), temperature)[0].lengths


def outcomes(run: Any, chosen: Sequence[Cut], arm: tuple[str, float], until: float) -> list[dict[str, Any]]:
    """What became of each cut, from the state file where it was done before; SystemExit where time is up."""
    gaps, (lengths, temperature) = len(chosen[0].lengths), arm
    path = STATE / f"{run.weights_sha256[:8]}-{gaps}-{lengths}-{temperature:g}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    with path.open("a") as file:
        for each in chosen[len(done) :]:
            if time.monotonic() > until:
                raise SystemExit(f"{path.name}: {len(done)} of {len(chosen)} done; call again to go on")
            done.append(fill_gaps(run, each, lengths, temperature, seed=len(done)))
            file.write(json.dumps(done[-1]) + "\n")
            file.flush()
    return done[: len(chosen)]


def length_scores(chosen: Sequence[Cut], guessed: Sequence[Sequence[int]]) -> Iterator[Any]:
    """How near some lengths are to the true ones."""
    from mezzotint.evaluate.table import Score

    errors = [np.abs(np.subtract(g, each.lengths)) for g, each in zip(guessed, chosen, strict=True)]
    yield Score.mean("length_accuracy", [(o == 0).mean() for o in errors])
    yield Score.mean("length_error", [o.mean() for o in errors])


def reference_scores(chosen: Sequence[Cut]) -> Iterator[tuple[str, Any]]:
    """(name, score) of the guesses that look at nothing."""
    from mezzotint.evaluate.table import Score

    counts = Counter(n for each in chosen for n in each.lengths)
    most_frequent = [[counts.most_common(1)[0][0]] * len(each.lengths) for each in chosen]
    yield from (("frequent", score) for score in length_scores(chosen, most_frequent))
    any_length = np.arange(1, LONGEST + 1)
    yield "uniform", Score.mean("length_accuracy", [1 / LONGEST] * len(chosen))
    errors = [np.abs(any_length[:, None] - each.lengths).mean() for each in chosen]
    yield "uniform", Score.mean("length_error", errors)


def gap_rows(run: Any, chosen: Sequence[Cut], until: float) -> Iterator[Any]:
    """Rows for one number of gaps."""
    from benchmarks.rows import Row, variant
    from mezzotint.evaluate.table import Score

    gaps, net = len(chosen[0].lengths), run.spec.net
    common = {
        "benchmark": "e2e-gaps", "split": "test", "seed": SEED, "size": f"d{net.dim}x{net.depth}",
        "params": sum(p.numel() for p in run.system.net.parameters()),
        "train_minutes": run.config["training"]["minutes"],
        "precision": str(next(run.system.net.parameters()).dtype)[6:],
    }  # fmt: skip

    def row(system: str, score: Any, **more: Any) -> Row:
        named = variant({"gaps": gaps} | {k: f"{v:g}" if k == "temperature" else v for k, v in more.items()})
        print(f"{system} {named}: {score.name} {score.value:.4f} ± {score.stderr}", flush=True)
        scores = {"metric": score.name, "value": score.value, "stderr": score.stderr, "n": score.n}
        return Row(system=system, variant=named, **common, **scores)

    for name, score in reference_scores(chosen):
        yield row("reference", score, lengths=name)
    for temperature in (0.0, 1.0):
        options = {"temperature": temperature}
        by_prior = [lengths_by_prior(run, each, temperature, seed) for seed, each in enumerate(chosen)]
        yield from (row("reference", score, lengths="law", **options) for score in length_scores(chosen, by_prior))
        for lengths in ("true", "chosen"):
            done = outcomes(run, chosen, (lengths, temperature), until)
            scores = [Score.mean("exact_match", [float(d["match"]) for d in done])]
            if lengths == "chosen":
                scores += length_scores(chosen, [d["chosen"] for d in done])
            nfe = float(np.mean([d["nfe"] for d in done]))
            for score in scores:
                yield replace(row(run.card.name, score, lengths=lengths, **options), steps=32, nfe=nfe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="runs/e2e-mdlm")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--gaps", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--minutes", type=float, default=9.0)
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.rows import record

    run = mezzotint.load(given.run)
    texts = Path(corpus_files("e2e").test).read_text(encoding="utf-8").splitlines()
    for gaps in given.gaps:
        chosen = list(islice(cuts(run.tokenizer, texts, gaps, run.spec.canvas), given.n))
        record(gap_rows(run, chosen, until))
        for path in STATE.glob(f"{run.weights_sha256[:8]}-{gaps}-*"):
            path.unlink()


if __name__ == "__main__":
    main()
