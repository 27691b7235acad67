"""Control on bistro (`bistro-control-semantic`, `-pos`, `-tree`, `-spans`, `-length`, `-compose`), by the gold judge,
and on e2e (`e2e-control-semantic`, `-pos`, `-length`, `-compose`), by strings, lengths and a tagger trained here.

    python -m benchmarks.control [--corpus e2e] [--tasks length pos] [--arms ternary mdlm] [--targets 20] [--minutes 9]

Each arm is trained for --train-minutes, and its classifiers for --control-minutes, on gold annotation (e2e: on fields
whose values stand in a text). Targets (control_targets.py) are what held-out texts are: a field and its value, their
parts of speech, their tree, one of their phrases, their length; for `compose` a field with a length, and a field with
parts of speech. Each is written --each times, with guidance alone, with hard constraints alone, and with both; nothing
is chosen among these texts. ar is guided as in FUDGE (Yang and Klein 2021), by classifiers of prefixes. With `best`
nothing leads, and each text is that of --candidates that the run's own classifiers like best, at the cost of all of
them. All arms but ar draw how long a text is before they write it: where a length is wanted, or comes with what is,
they are told it by whatever means, and only ar has to come to it. The gold judge scores and does nothing else; the
judge of fluency never saw a controller, and the texts that nobody controlled stand beside. On e2e parts of speech are
told by the tagger that `python -m benchmarks.tagger` trains; what that tells right of its own test splits stands among
the rows of `e2e-control-pos`.

Runs stand in runs/control under all that they were asked for; what is measured already, with as many targets and texts,
is left out. So what was stopped, or had too few --minutes, is continued by the same call.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from benchmarks.control_targets import BISTRO, CORPORA, Corpus
from benchmarks.tagger import card as tagger_card

RUNS = Path("runs/control")
ARMS: Mapping[str, tuple[str, dict[str, str]]] = {
    "base": ("diffusion-lm", {}),
    "ternary": ("qe-cdlm", {"quantize": "projections", "kind": "ternary"}),
    "table": ("qe-cdlm", {"quantize": "table", "kind": "ternary"}),
    "pow2": ("qe-cdlm", {"quantize": "projections", "kind": "pow2"}),
    "mdlm": ("mdlm", {}),
    "ar": ("ar", {}),
}
BATCH = 32
"""Rows of a batch in training, as in benchmarks.unconditional."""
MEANS = {"both": (True, True), "guided": (False, True), "hard": (True, False), "best": (False, False)}
"""How constraints are kept: (hard, soft)."""
BEST_OF = "best"
"""Of these, the one that chooses among several texts."""


def train_arm(arm: str, seed: int, given: argparse.Namespace, until: float) -> Path:
    """The run of an arm with its classifiers, trained to its end; SystemExit where the time was up before."""
    import mezzotint
    from benchmarks.rows import variant
    from benchmarks.unconditional import train_run

    corpus, (system, settings) = CORPORA[given.corpus], ARMS[arm]
    duration: dict[str, Any] = (
        {"max_steps": given.train_steps} if given.train_steps else {"minutes": given.train_minutes}
    )
    prefix = "" if corpus is BISTRO else f"{corpus.name},"
    out = RUNS / f"{prefix}{system},{variant({**settings, **dict(given.set), **duration, 'seed': seed})}"
    options = {
        **duration,
        "minutes": duration.get("minutes"),
        "batch_size": None if "batch" in dict(given.set) else BATCH,
    }
    options |= {"seed": seed, "tokenizer": "word", "settings": {**settings, **dict(given.set)}}
    if arm in dict(given.run):
        out = Path(dict(given.run)[arm])
    else:
        train_run(corpus.name, system, out, until=until, device=given.device, **options)
    budget = (
        {"max_steps": given.control_steps}
        if given.control_steps
        else {"max_steps": 0, "minutes": given.control_minutes}
    )
    # Those that qe-cdlm trains with itself were not trained as long as all others; those of ar once read texts as a
    # whole; and those of e2e were trained without parts of speech where there was no tagger.
    annotated = corpus.annotated()
    if not {**budget, "data": [Path(annotated).name]}.items() <= classifier_training(out, begun=system == "ar").items():
        if time.monotonic() > until:
            raise SystemExit(f"{out.name}: its classifiers are still to be trained; call again to go on")
        run = mezzotint.load(out, device=given.device)
        for record in run.train_control([annotated], seed=seed, **{k: v for k, v in budget.items() if v}):
            if record.note is not None:
                print(f"{out.name}: {record.note}", flush=True)
    return out


def classifier_training(run: Path, begun: bool = False) -> dict[str, Any]:
    """How the classifiers in a run's folder were trained, and on what `data`; empty where there are none, or none of
    texts that are `begun` where those are asked for."""
    path = run / "control.json"
    if not path.exists():
        return {}
    card = json.loads(path.read_text(encoding="utf-8"))
    return {**card["training"], "data": card["data"]} if card["spec"].get("prefixes", False) >= begun else {}


class RunScorer:
    """One run of an arm: yields rows."""

    def __init__(self, run: Any, labels: Mapping[str, object], given: argparse.Namespace, judge: Any) -> None:
        from mezzotint.held_out import training_text

        self.run, self.labels, self.given, self.judge = run, labels, given, judge
        self.training = training_text(run)
        self.corpus: Corpus = CORPORA[given.corpus]

    @property
    def identity(self) -> dict[str, Any]:
        """What every row of this run has."""
        from benchmarks.unconditional import requested_minutes

        config, net = self.run.config, self.run.spec.net
        return {
            "seed": config["seed"], "size": f"d{net.dim}x{net.depth}",
            "train_minutes": requested_minutes(config["training"]),
        }  # fmt: skip

    @property
    def sampling_options(self) -> dict[str, Any]:
        """How tokens are drawn, where it is not as usual."""
        given = self.given
        usual = {"temperature": 1.0, "decoder": "exact"}
        options = {name: getattr(given, name) for name, value in usual.items() if getattr(given, name) != value}
        return {**options, **({} if given.remask is None else {"strength": given.remask})}

    def write(self, wanted: Sequence[Any], means: str) -> tuple[list[str], list[Any], dict[str, Any]]:
        """The texts of all targets, what each was written for, and what they cost."""
        from mezzotint import Steering, Update

        hard, soft = MEANS[means]
        steering = Steering(
            update=Update(self.given.update), updates=self.given.updates, rate=self.given.rate,
            fluency=self.given.fluency, strength=self.given.strength, top_k=self.given.top_k,
        )  # fmt: skip
        texts, goals, nfe = [], [], 0
        began = time.perf_counter()
        for seed, target in enumerate(wanted):
            options = {"wanted": target, "steering": steering, "hard": hard, "soft": soft, **self.sampling_options}
            if means == BEST_OF:
                options |= {"choose": "best", "candidates": self.given.candidates}
            samples = self.run.generate(self.given.each, steps=self.given.steps, seed=seed, **options)
            texts += [sample.text for sample in samples]
            goals += [target] * len(samples)
            nfe += sum(sample.nfe for sample in samples)
        return texts, goals, {"seconds": time.perf_counter() - began, "nfe": nfe / max(len(texts), 1)}

    def controlled_rows(self, task: str, part: str, means: str) -> Iterator[Any]:
        """Success, and fluency of what was written for it."""
        from mezzotint.assess.scores import text_scores
        from mezzotint.evaluate.control import control_scores

        wanted = self.corpus.targets(part, self.given.targets, self.run.task_builder.room)
        texts, goals, cost = self.write(wanted, means)
        print(f"{task} {part} {means} {dict(self.labels)}: {cost}", flush=True)
        for text in texts[:3]:
            print(f"    {text[:160]!r}", flush=True)
        goals, (analyse, by) = [self.corpus.scored(goal) for goal in goals], self.corpus.analysis_of(part)
        scores = [replace(s, judge=by or "") for s in control_scores(goals, texts, analyse) if s.name in CONTROL_SCORES]
        of_these = text_scores(texts, self.judge, self.training, self.corpus is BISTRO)
        scores += [s for s in of_these if s.name in TEXT_SCORES]
        for score in scores:
            print(f"    {score.name} {score.value:.4f}", flush=True)
            yield self.row(task, score, self.variant(part, means), cost)

    def free_rows(self, task: str) -> Iterator[Any]:
        """The fluency of as many texts that nothing was wanted of."""
        from mezzotint.assess.scores import text_scores

        began = time.perf_counter()
        samples = self.run.generate(
            self.given.targets * self.given.each, steps=self.given.steps, **self.sampling_options
        )
        cost = {"seconds": time.perf_counter() - began, "nfe": sum(s.nfe for s in samples) / len(samples)}
        for score in text_scores([s.text for s in samples], self.judge, self.training, self.corpus is BISTRO):
            if score.name in TEXT_SCORES:
                yield self.row(task, score, self.variant("free", "none"), cost)

    def variant(self, part: str, means: str) -> str:
        """The variant of a row."""
        from benchmarks.rows import variant

        sampling = {"remask" if name == "strength" else name: value for name, value in self.sampling_options.items()}
        options = {"each": self.given.each, "means": means, "part": part, "targets": self.given.targets, **sampling}
        if means == BEST_OF:
            options["candidates"] = self.given.candidates
        elif means not in ("none", "hard") and self.run.card.weighs_tokens:
            options |= {"strength": self.given.strength, **({"top_k": self.given.top_k} if self.given.top_k else {})}
        elif means not in ("none", "hard"):
            options |= {"update": self.given.update, "updates": self.given.updates, "rate": self.given.rate,
                    "fluency": self.given.fluency}  # fmt: skip
        return variant({**self.labels, **options})

    def row(self, task: str, score: Any, variant: str, cost: Mapping[str, Any]) -> Any:
        from benchmarks.rows import Row

        value = score.value if score.value == score.value else None
        return Row(
            benchmark=f"{self.corpus.name}-control-{task}", system=self.run.card.name, variant=variant,
            metric=score.name, value=value, stderr=score.stderr, n=score.n, steps=self.given.steps,
            split="test", judge=score.judge or None, batch=self.given.each, **self.identity, **cost,
        )  # fmt: skip


CONTROL_SCORES = ("success", "success_near", "bracket_f1", "pos_words")
TEXT_SCORES = ("judge_nll", "entropy_words", "valid_share")


def tagger_rows(benchmark: str, name: str) -> Iterator[Any]:
    """What the judge of parts of speech tells right of the test splits that it was not trained on, and of the published
    tags of the targets."""
    from benchmarks.rows import Row, variant

    for corpus, shares in tagger_card()["tested"].items():
        print(f"{name} tells {shares['words']:.2%} of the words of {corpus} right", flush=True)
        for metric in ("words", "texts"):
            yield Row(
                benchmark=benchmark, system="tagger", variant=variant({"corpus": corpus}), judge=name,
                metric=f"tags_{metric}", value=shares[metric], n=int(shares["n"]),
                split=None if corpus == "control_targets" else "test",
            )  # fmt: skip


def measurements(
    measured: RunScorer, task: str, given: argparse.Namespace
) -> Iterator[tuple[str, Callable[[], Iterable[Any]]]]:
    """What is to be measured of a run for a task: the variant of its rows, and how they are made."""
    from mezzotint import Can

    can_control = Can.CONTROL in measured.run.card.can
    yield measured.variant("free", "none"), lambda: measured.free_rows(task)
    for part in measured.corpus.tasks[task]:
        for means in given.means if can_control else sorted({BEST_OF} & set(given.means)):
            yield (
                measured.variant(part, means),
                lambda part=part, means=means: measured.controlled_rows(task, part, means),  # type: ignore[misc]
            )


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS, setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=CORPORA, default=BISTRO.name)
    parser.add_argument("--tasks", nargs="+", choices=tuple(BISTRO.tasks), help="default: all of the corpus")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=tuple(ARMS))
    parser.add_argument("--means", nargs="+", choices=MEANS, default=tuple(MEANS))
    parser.add_argument("--train-minutes", type=float, default=10)
    parser.add_argument("--train-steps", type=int)
    parser.add_argument("--control-minutes", type=float, default=3)
    parser.add_argument("--control-steps", type=int)
    parser.add_argument("--set", type=setting, nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--run", type=setting, nargs="+", default=[], metavar="ARM=FOLDER", help="trained already")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--each", type=int, default=10, help="texts of each target")
    parser.add_argument("--candidates", type=int, default=8, help="texts that one is chosen from, with means best")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--update", default="sign", choices=("sign", "adagrad", "bayes"))
    parser.add_argument("--updates", type=int, default=3, help="after each step")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--fluency", type=float, default=0.01)
    parser.add_argument("--strength", type=float, default=3.0, help="of classifiers that weigh tokens")
    parser.add_argument("--top-k", type=int, default=0, help="tokens they weigh at each place (0: the default)")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--decoder", default="exact")
    parser.add_argument("--remask", type=float, help="how readily decoder remask masks again")
    parser.add_argument("--minutes", type=float, default=inf, help="how long this call may take")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    until = time.monotonic() + 60 * given.minutes
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.rows import has, record
    from mezzotint.judge import Judge

    corpus = CORPORA[given.corpus]
    tasks = given.tasks or list(corpus.tasks)
    if set(tasks) - set(corpus.tasks):
        raise SystemExit(f"{corpus.name} has the tasks {' '.join(corpus.tasks)}")
    if corpus.tagger is not None and any("pos" in part for task in tasks for part in corpus.tasks[task]):
        record(list(tagger_rows(f"{corpus.name}-control-pos", corpus.tagger().name)), results=given.out)
    judge = Judge(mezzotint.load(corpus.judge or mezzotint.bundled_judge(), device=given.device))
    for seed in given.seeds:
        for arm in given.arms:
            folder = train_arm(arm, seed, given, until)
            run = mezzotint.load(folder, device=given.device)
            system, settings = ARMS[arm]
            steps = {"train_steps": given.train_steps} if given.train_steps else {}
            measured = RunScorer(run, {**settings, **dict(given.set), **steps}, given, judge)
            for task in tasks:
                for variant, rows in measurements(measured, task, given):
                    key = measured.identity | {"system": system, "variant": variant, "steps": given.steps}
                    if has(f"{corpus.name}-control-{task}", given.out, metric="judge_nll", **key):
                        continue
                    if time.monotonic() > until:
                        raise SystemExit(
                            f"{folder.name}: {task}, {variant} is still to be measured; call again to go on"
                        )
                    record(rows(), device=str(run.device), results=given.out)


if __name__ == "__main__":
    main()
