"""`e2e-infill` and `roc-infill`: parts of held-out texts, written again by runs that are told how long they were.

    python -m benchmarks.infilling e2e --runs runs/e2e-sed runs/e2e-mdlm runs/e2e-ar [--n 500] [--minutes 9]
    python -m benchmarks.infilling e2e --runs runs/e2e-sed --guidance 1 1.5 2 3 4 6 8

    middle      e2e: the middle third of the tokens
    two         e2e: the second and the fourth fifth
    sentence    roc: the third of five sentences

Passed over are texts that a cut does not fit, that hold a word which the run does not know, that have more tokens than
all runs of a corpus have room for, or where a gap would part a character; the others come in a fixed random order.

A run that cannot fill gaps goes on from left to right: it sees what stands before a gap, earlier gaps as it filled
them, and nothing of what comes after; it may not end, and stops after as many tokens as the gap has. Like the others it
is told whether the gap begins with a space. Then what was given stands behind that again.

Beside each run's texts stand the whole texts that were cut, as `data`. Each temperature, guidance scale and decoder is
for the runs that can. What is measured already, with as many texts and the same judge, is left out, so that a call that
was stopped, or had too few --minutes, goes on where it was. --named says in the rows what runs of one system differ in.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cuts import Cut, Spans, cuts, portions, sentence
from benchmarks.unconditional import RunScorer

STEPS = 64
ROWS = 64

Options = dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """What is cut out of its texts."""

    longest: int
    """The most tokens that a text may have; all runs of the corpus have room for it."""
    cuts: Mapping[str, Spans]


CORPORA = {
    "e2e": Corpus(47, {"middle": partial(portions, [1], 3), "two": partial(portions, [1, 3], 5)}),
    "roc": Corpus(103, {"sentence": partial(sentence, 2, 5)}),
}


# -- writing ----------------------------------------------------------------------------------------------------------


def fill_gaps(run: Any, chosen: Sequence[Cut], options: Mapping[str, Any]) -> list[Any]:
    """Samples whose gaps are filled at once, each with a seed of its own, or all were drawn at the same quantiles."""
    tasks = [run.task(1, template=each.template(), seed=seed, **options) for seed, each in enumerate(chosen)]
    return run_tasks(run, tasks)


def continue_each(run: Any, chosen: Sequence[Cut], options: Mapping[str, Any]) -> list[Any]:
    """Samples whose gaps are filled one after another, each from what stands before it alone."""
    from mezzotint import Sample

    rows, nfe = [list(each.ids) for each in chosen], [0] * len(chosen)
    for gap in range(len(chosen[0].spans)):
        spans = [each.spans[gap] for each in chosen]
        tasks = [exact_length_task(run, rows[i], *span, {**options, "seed": i}) for i, span in enumerate(spans)]
        for i, sample in enumerate(run_tasks(run, tasks)):
            rows[i][slice(*spans[i])] = sample.ids[slice(*spans[i])]
            nfe[i] += sample.nfe
    finished = zip(rows, nfe, strict=True)
    return [
        Sample(run.tokenizer.decode(ids), ids, spent, options["steps"], i, 0) for i, (ids, spent) in enumerate(finished)
    ]


def exact_length_task(run: Any, ids: Sequence[int], begin: int, end: int, options: Mapping[str, Any]) -> Any:
    """The task of writing the tokens from `begin` to `end` behind those before them; the text cannot end on the way."""
    from mezzotint.data.canvas import prefix_canvas

    start = 1 if run.tokenizer.spaced[ids[begin]] else -1
    task, canvas = run.task(1, **options), prefix_canvas(ids[:begin], [end], [0], run.tokenizer.pad, start)
    request = replace(task.request, canvas=canvas.to(run.device), forbidden=tuple(sorted(run.tokenizer.special)))
    return replace(task, canvas=canvas, request=request)


def run_tasks(run: Any, tasks: Sequence[Any]) -> list[Any]:
    """The sample of each task of one row; those that are alike are written together, short ones with short ones."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i in sorted(range(len(tasks)), key=lambda i: tasks[i].canvas.ids.shape[1]):
        groups[run.task_builder.batch_key(tasks[i])].append(i)
    samples = {}
    for places in groups.values():
        for first in range(0, len(places), ROWS):
            batch = places[first : first + ROWS]
            for drafts in run.together([tasks[i] for i in batch]):
                samples |= {i: draft.samples[0] for i, draft in zip(batch, drafts, strict=True) if draft.done}
    return [samples[i] for i in range(len(tasks))]


# -- scoring ----------------------------------------------------------------------------------------------------------


def accuracy_scores(chosen: Sequence[Cut], samples: Sequence[Any]) -> Iterator[Any]:
    """How much of what was cut out came back."""
    from mezzotint.evaluate.table import Score

    right = [
        [sample.ids[i] == each.ids[i] for span in each.spans for i in range(*span)]
        for each, sample in zip(chosen, samples, strict=True)
    ]
    yield Score.ratio("gap_token_accuracy", [sum(row) for row in right], [len(row) for row in right])
    yield Score.mean("exact_match", [s.text == each.text for each, s in zip(chosen, samples, strict=True)])


class Infilling(RunScorer):
    """One run on one way of cutting."""

    def __init__(self, corpus: str, cut: str, chosen: Sequence[Cut], run: Any, named: Options, *scorers: Any) -> None:
        """`ears`: the judge, and the training text."""
        super().__init__(corpus, run, *scorers, len(chosen), f"{corpus}-infill")
        self.labels |= {"cut": cut, **named}
        self.chosen = chosen

    def samples(self, steps: int, temperature: float = 1.0, **options: Any) -> tuple[list[str], dict[str, Any]]:
        from mezzotint import Can

        began = time.perf_counter()
        fill = fill_gaps if Can.INFILL in self.run.card.can else continue_each
        self.last = fill(self.run, self.chosen, {"steps": steps, "temperature": temperature, **options})
        nfe = float(np.mean([sample.nfe for sample in self.last]))
        cost = {"seconds": time.perf_counter() - began, "nfe": nfe, "batch": ROWS}
        return [sample.text for sample in self.last], cost

    def quality(self, steps: int | None, **options: Any) -> Iterator[Any]:
        for row in super().quality(steps, **options):
            yield row
        for score in accuracy_scores(self.chosen, self.last):
            print(f"    {score.name} {score.value:.4f} ± {score.stderr}", flush=True)
            yield replace(row, metric=score.name, value=score.value, stderr=score.stderr, n=score.n, judge=None)


def arms(card: Any, given: argparse.Namespace) -> Iterator[Options]:
    """What a system is asked for, of all that is to be tried; what everybody does by default is left out."""
    from mezzotint import Can, Decoder

    for decoder, scale, temperature in product(given.decoders, given.guidance, given.temperatures):
        if Decoder(decoder) in card.decoders and (scale == 1 or Can.GUIDE in card.can):
            settings = {"decoder": decoder, "guidance": scale, "temperature": temperature}
            defaults = {"decoder": "exact", "guidance": 1, "temperature": 1}
            yield {name: value for name, value in settings.items() if value != defaults[name]}


def record_data(corpus: str, cut: str, chosen: Sequence[Cut], given: argparse.Namespace, *scorers: Any) -> None:
    """Record what is said of the texts that were cut, if it was not before."""
    from benchmarks.rows import has, record, variant
    from benchmarks.unconditional import data_rows

    name, labels = f"{corpus}-infill", variant({"cut": cut})
    if not has(name, given.out, system="data", variant=labels, metric="judge_nll", judge=given.judge, n=len(chosen)):
        rows = data_rows(corpus, [each.text for each in chosen], *scorers, name)
        record([replace(row, variant=labels) for row in rows], results=given.out)


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS, setting
    from mezzotint import Decoder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=sorted(CORPORA))
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--n", type=int, default=500, help="texts of each cut")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps that infillers fill them in")
    parser.add_argument("--cuts", nargs="+", help="default: all of the corpus")
    parser.add_argument("--temperatures", type=_number, nargs="+", default=[1])
    parser.add_argument("--guidance", type=_number, nargs="+", default=[1])
    parser.add_argument("--decoders", nargs="+", choices=[d.value for d in Decoder], default=["exact"])
    parser.add_argument("--named", type=setting, nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--minutes", type=float, default=inf, help="how long this call may take")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser.parse_args()


def _number(text: str) -> float:
    """2 for 2.0, as variants have it."""
    number = float(text)
    return int(number) if number.is_integer() else number


def load_runs(given: argparse.Namespace, longest: int) -> list[Any]:
    """The runs, which have to have the same tokens, and room for as many."""
    import mezzotint

    first, *others = runs = [mezzotint.load(folder, device=given.device) for folder in given.runs]
    for run in others:
        if run.tokenizer.fingerprint != first.tokenizer.fingerprint:
            raise SystemExit(f"{run.name} has another tokenizer than {first.name}: its gaps would be others")
    for run in runs:
        if run.spec.canvas <= longest:
            raise SystemExit(f"{run.name} has a canvas of {run.spec.canvas} tokens; it takes {longest} and an end")
    return runs


def measure(each: Infilling, given: argparse.Namespace, until: float) -> None:
    """Record what is still to be measured of a run; SystemExit where time is up."""
    from benchmarks.rows import has, record
    from mezzotint import Can, CapabilityError

    steps = given.steps if Can.INFILL in each.run.card.can else None
    for options in arms(each.run.card, given):
        facts = {
            **each.identity,
            "split": "test",
            "variant": each.variant(options),
            "steps": steps,
            "judge": given.judge,
            "n": each.n,
        }
        if has(each.common["benchmark"], given.out, metric="judge_nll", **facts):
            continue
        if time.monotonic() > until:
            raise SystemExit(f"{each.run.name}, {facts['variant']}: still to be measured; call again to go on")
        try:
            record(each.quality(steps, **options), device=str(each.run.device), results=given.out)
        except CapabilityError as error:
            print(f"{each.run.name}, {facts['variant']}: {error}", flush=True)


def main() -> None:
    given = arguments()
    until = time.monotonic() + 60 * given.minutes
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from mezzotint.evaluate.judge import tag
    from mezzotint.held_out import training_text
    from mezzotint.judge import Judge

    name, corpus, kept = given.corpus, CORPORA[given.corpus], RECIPES[given.corpus].kept
    if not kept.exists():
        raise SystemExit(f"{kept} is missing; python -m benchmarks.judge {name} makes it")
    judge = Judge(mezzotint.load(kept, device=given.device))
    given.judge = tag(judge)
    runs = load_runs(given, corpus.longest)
    scorers = judge, training_text(runs[0])
    texts = Path(corpus_files(name).test).read_text(encoding="utf-8").splitlines()
    for cut in given.cuts or corpus.cuts:
        chosen = list(islice(cuts(runs[0].tokenizer, texts, corpus.cuts[cut], corpus.longest), given.n))
        print(f"{name}, {cut}: {len(chosen)} texts, {sum(sum(c.lengths) for c in chosen)} tokens cut out", flush=True)
        record_data(name, cut, chosen, given, *scorers)
        measured = [Infilling(name, cut, chosen, run, dict(given.named), *scorers) for run in runs]
        if len({str(each.identity) for each in measured}) < len(runs):
            raise SystemExit("two of these runs would have the same rows; call once for each, with --named")
        for each in measured:
            measure(each, given, until)


if __name__ == "__main__":
    main()
