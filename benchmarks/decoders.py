"""`e2e-decoders`: every decoder of a run, quality against measured evaluations, under one judge.

    python -m benchmarks.decoders [--run runs/e2e-mdlm] [--n 1000] [--steps 4 8 16 32 64] [--decoders confidence ...]
    python -m benchmarks.decoders --matched [--sweep-steps 16]
    python -m benchmarks.decoders --run runs/e2e-sed --steps 8 16 32 64 128 1000 [--temperatures 1 0.9]

Each decoder at each number of steps and each temperature; the threshold decoder at each threshold, with as many steps
as there are positions, so that the threshold alone says how many evaluations a text costs. With --matched, judge NLL
where a sweep over temperature reaches the word entropy of the exact decoder's own samples (64 steps, temperature 1): a
decoder that pays for fluency with monotony is seen there. What is already measured, with as many texts and the same
judge, is left out, so the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

NAME = "e2e-decoders"
STEPS = (4, 8, 16, 32, 64)
THRESHOLDS = (0.2, 0.3, 0.5, 0.7, 0.9, 0.99)
STRENGTHS = (0.04, 0.1)
TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
SWEEP_STEPS = 16
REFERENCE_STEPS = 64

Options = dict[str, Any]


def arms(decoders: list[str], steps: tuple[int, ...], positions: int) -> Iterator[tuple[int, Options]]:
    """(steps, what `run.generate` is asked for) of every measurement."""
    for decoder in decoders:
        options = {} if decoder == "exact" else {"decoder": decoder}
        if decoder == "threshold":
            yield from ((positions, options | {"threshold": threshold}) for threshold in THRESHOLDS)
        elif decoder.startswith("remask"):
            yield from ((n, options | {"strength": strength}) for strength in STRENGTHS for n in steps)
        else:
            yield from ((n, options) for n in steps)


def main() -> None:
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from benchmarks.rows import has, record
    from benchmarks.unconditional import RunScorer, Target, data_rows
    from mezzotint.errors import unknown
    from mezzotint.evaluate.judge import tag
    from mezzotint.held_out import Texts, training_text
    from mezzotint.judge import Judge

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/e2e-mdlm"))
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--decoders", nargs="+", help="all that the run has, where none is named")
    parser.add_argument("--matched", action="store_true")
    parser.add_argument("--sweep-steps", type=int, default=SWEEP_STEPS)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0])
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    judge, run = Judge(mezzotint.load(RECIPES["e2e"].kept)), mezzotint.load(given.run, device=given.device)
    training = training_text(run)
    measured = RunScorer("e2e", run, judge, training, given.n, NAME)
    names = [decoder.value for decoder in mezzotint.Decoder if decoder in run.card.decoders]
    decoders = given.decoders or names
    for name in decoders:
        if name not in names:
            raise unknown("decoder", name, names)

    def missing(metric: str, options: Options, steps: int) -> bool:
        facts = {**measured.identity, "judge": tag(judge), "n": given.n}
        return not has(NAME, **facts, metric=metric, variant=measured.variant(options), steps=steps)

    if given.matched:
        target = Target.of_texts(measured.samples(REFERENCE_STEPS)[0])
        for steps, options in arms(decoders, (given.sweep_steps,), run.spec.canvas):
            if missing("judge_nll_matched", options, steps):
                record(measured.matched(target, steps, TEMPERATURES, **options), device=str(run.device))
        return
    if not has(NAME, system="data", metric="judge_nll", judge=tag(judge), n=given.n):
        held_out = Texts(run, [corpus_files("e2e").test])
        record(data_rows("e2e", held_out.like_samples(given.n), judge, training, NAME), device=str(run.device))
    measurements = arms(decoders, tuple(given.steps), run.spec.canvas)
    for temperature, (steps, options) in product(given.temperatures, measurements):
        settings = options if temperature == 1 else {**options, "temperature": temperature}
        if missing("judge_nll", settings, steps):
            record(measured.quality(steps, **settings), device=str(run.device))


if __name__ == "__main__":
    main()
