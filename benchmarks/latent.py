"""`yelp-latent`, `ptb-latent`, `e2e-latent`: texts as points of a latent space, beside the same backbone without one.

    python -m benchmarks.judge yelp                                    once
    python -m benchmarks.latent yelp [--arms adavae without full] [--minutes 9]
    python -m benchmarks.latent yelp --arms bits-0.25 bits-1 beta-1 beta-0.1         the rate-distortion curve
    python -m benchmarks.latent yelp --arms memory both width-half width-double      infusions, sizes of adapters
    python -m benchmarks.latent yelp --arms recurrent [--recurrent-minutes 30]       a small recurrent network
    python -m benchmarks.transfer runs/latent/yelp/adavae,...                        what the points know of labels

The arms stand on one run of ar (--backbone-minutes) and are trained for as long (--train-minutes): `adavae`; `without`,
the backbone's own weights, and adapters, trained on with no latent; `full`, a latent and all weights trained (as
Optimus; Li et al. 2020, arXiv:2004.04092); adavae with other settings. One stands on nothing, and is trained for as
long as another and its backbone together: `recurrent`, a run of rnn-vae on the same tokens. Of each are measured, on
the test split: the importance-weighted bound at several numbers of draws, divergence, mutual information beside the
most that could be found, units in use, BLEU of reconstructions beside that of the most similar training text
(`retrieval`), how even walks between texts are, and texts from the standard normal prior and from a learned one
(--prior-minutes; 0: none) under the judge, beside the data's own values; with --mauve N also how near the law of N of
them is to that of held-out texts.

With --on-judge all arms stand on the run that became the judge, which saves a training; their texts are not judged.

Runs stand in runs/latent, under all that they were asked for; what is measured already is left out. So what was
stopped, or had too few --minutes, is continued by the same call.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf, log
from pathlib import Path
from typing import Any

RUNS = Path("runs/latent")
TUNE_ALL: Mapping[str, str] = {"tune": "all", "lr": "5e-4"}
"""All weights trained on, at a quarter of the adapters' rate: at theirs the bound is worse (docs/decisions/0025)."""
ARMS: Mapping[str, Mapping[str, str]] = {
    "adavae": {},
    "without": {"infuse": "none", "late": "0", **TUNE_ALL},
    "full": TUNE_ALL,
    "published": {"free": "total", "bits": "0.5", "beta": "1", "cycles": "4", "weigh": "token"},
    "bits-0.25": {"free": "total", "bits": "0.25", "beta": "1"},
    "bits-1": {"free": "total", "bits": "1.0", "beta": "1"},
    "beta-1": {"beta": "1"},
    "beta-0.5": {"beta": "0.5"},
    "beta-0.1": {"beta": "0.1"},
    "beta-0.01": {"beta": "0.01"},
    "memory": {"infuse": "memory"},
    "both": {"infuse": "both"},
    "width-half": {"bottleneck": "half"},
    "width-double": {"bottleneck": "double"},
    "recurrent": {},
}
STANDALONE: Mapping[str, str] = {"recurrent": "rnn-vae"}
"""Arms that stand on no backbone, and the systems that they are runs of."""
DRAWS = (1, 10, 100)
"""The numbers of draws at which the bound is told, besides all."""
PRIOR = 5
"""Minutes that a prior is learned for, unless said otherwise."""
WALKS, POINTS = 200, 11
"""Walks between pairs of texts, and the texts of each: as many pairs as in Zhang et al. 2024 (evaluate/walks.py)."""

Measurement = tuple[dict[str, Any], Callable[[], Iterable[Any]]]


class Study:
    """The runs on one corpus, each trained to its end or until the time is up."""

    def __init__(self, given: argparse.Namespace, until: float) -> None:
        self.given, self.until = given, until

    def backbone(self) -> Path:
        """The run of ar that all arms stand on."""
        given = self.given
        if given.on_judge:
            return Path("runs/judges") / given.name
        return self._train("ar", {}, given.backbone_minutes, given.backbone_steps)

    def run(self, arm: str) -> tuple[Path, dict[str, object]]:
        """An arm's run, and what names it in rows."""
        if arm in STANDALONE:
            return self._standalone(
                STANDALONE[arm], {**dict(self.given.set), **dict(self.given.recurrent), **ARMS[arm]}
            )
        given, backbone = self.given, self.backbone()
        settings = {**dict(given.set), **ARMS[arm]}
        if (width := settings.get("bottleneck")) in ("half", "double"):
            default = _adapter_width(backbone)
            settings["bottleneck"] = str(default // 2 if width == "half" else 2 * default)
        out = self._train("adavae", settings, given.train_minutes, given.train_steps, backbone=backbone)
        labels = self._labels(given.train_steps)
        duration = f"{given.backbone_steps}steps" if given.backbone_steps else f"{given.backbone_minutes:g}min"
        duration = "judge" if given.on_judge else duration
        return out, {**settings, **labels, "backbone": duration}

    def _standalone(self, system: str, settings: Mapping[str, str]) -> tuple[Path, dict[str, object]]:
        """The run of a system that learns all that it knows in one training, and what names it in rows."""
        minutes, steps = total_budget(self.given)
        out = self._train(system, settings, minutes, steps)
        return out, {**settings, **self._labels(steps)}

    def _labels(self, steps: int | None) -> dict[str, object]:
        """What names a training in rows, beside its minutes."""
        batch = {"batch": self.given.batch} if self.given.batch else {}
        return {**({"train_steps": steps} if steps else {}), **batch}

    def _train(
        self, system: str, settings: Mapping[str, str], minutes: float, steps: int | None, **options: Any
    ) -> Path:
        from benchmarks.rows import variant
        from benchmarks.unconditional import train_run

        given = self.given
        settings = {**dict(given.net), **settings} if system == "ar" else settings
        budget: dict[str, Any] = {"minutes": None if steps else minutes, "max_steps": steps}
        labels = {k: v for k, v in {**budget, "seed": given.seed}.items() if v is not None}
        labels |= {"stem": options["backbone"].name.replace(",", "+")} if options else {}
        labels |= {"batch": given.batch} if given.batch else {}
        out = RUNS / given.name / f"{system},{variant({**labels, **settings})}"
        options |= {"settings": dict(settings), "seed": given.seed, "batch_size": given.batch, **budget}
        return train_run(given.name, system, out, until=self.until, device=given.device, **options)


def total_budget(given: argparse.Namespace) -> tuple[float, int | None]:
    """Minutes or steps of a training from nothing: those asked for, else the backbone's and those on it together."""
    if given.recurrent_minutes or given.recurrent_steps:
        return given.recurrent_minutes or 0.0, given.recurrent_steps
    if given.on_judge or bool(given.backbone_steps) != bool(given.train_steps):
        raise SystemExit("how long the backbone and an arm take together is not known here; say --recurrent-minutes")
    if given.train_steps:
        return 0.0, given.backbone_steps + given.train_steps
    return given.backbone_minutes + given.train_minutes, None


def _adapter_width(backbone: Path) -> int:
    """The width of an adapter by default, on this backbone."""
    from mezzotint.training.folder import read_config

    return max(1, int(read_config(backbone)["spec"]["net"]["dim"]) // 6)


class RunScorer:
    """One run, measured: yields rows."""

    def __init__(self, run: Any, labels: Mapping[str, object], given: argparse.Namespace, held_out: Any) -> None:
        from mezzotint.training.checkpoint import parameter_counts

        trained, frozen = parameter_counts(run.system)
        net, training = run.spec.net, run.config["training"]
        self.run, self.labels, self.given, self.held_out = run, dict(labels), given, held_out
        self.subset = held_out.some(given.n)
        self.share = trained / frozen if frozen else None
        self.has_latent = labels.get("infuse") != "none"
        self.common = {
            "benchmark": f"{given.name}-latent", "system": run.card.name, "split": "test", "seed": given.seed,
            "size": f"d{net.dim}x{net.depth}", "params": trained,
            "train_minutes": None if training["max_steps"] else training["minutes"],
        }  # fmt: skip

    def row(self, score: Any, **more: object) -> Any:
        """A score as a row; `more` names it further."""
        from benchmarks.rows import Row, variant

        value = score.value if score.value == score.value else None
        print(f"{variant({**self.labels, **more})} {score.name} {value} ± {score.stderr} ({score.note})", flush=True)
        return Row(
            **self.common, variant=variant({**self.labels, **more}), metric=score.name, value=value,
            stderr=score.stderr, n=score.n, judge=score.judge or None,
        )  # fmt: skip

    def likelihood(self) -> Iterator[Any]:
        """The bound by more and more draws, and what the text costs at draws of its posterior."""
        import torch

        from mezzotint.evaluate.latent import importance, log_weights
        from mezzotint.evaluate.table import Score

        draws = self.given.draws if self.has_latent else 1
        parts = [log_weights(self.run.system, batch, draws, self.given.seed) for batch in self.subset.batches()]
        weights, costs = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        for s in sorted({*(s for s in DRAWS if s < draws), draws}):
            yield self.row(importance(weights[:, :s], self.subset.symbols), draws=s)
        yield self.row(Score.mean("reconstruction_nats", costs.mean(1).numpy()))
        yield self.row(Score("trainable_share", self.share if self.share is not None else float("nan"), None, 1))

    def posteriors(self) -> Iterator[Any]:
        """What the latents hold of their texts."""
        import torch

        from mezzotint.evaluate.latent import posterior, posterior_scores
        from mezzotint.evaluate.table import Score
        from mezzotint.types import Posterior

        parts = [posterior(self.run.system, batch) for batch in self.held_out.some(self.given.posteriors).batches()]
        q = Posterior(torch.cat([part.mean for part in parts]), torch.cat([part.logvar for part in parts]))
        for score in posterior_scores(q, self.given.seed):
            yield self.row(score)
        yield self.row(Score("mutual_information_cap", log(len(q.mean)), None, len(q.mean)))

    def reconstruction(self) -> Iterator[Any]:
        """What comes back of a text."""
        from mezzotint.assess.scores import reconstruction_score

        yield self.row(reconstruction_score(self.run, self.subset))

    def walks(self) -> Iterator[Any]:
        """How evenly the way leads from one text to another."""
        from mezzotint.assess.scores import walks_between
        from mezzotint.evaluate.walks import smoothness

        walks = walks_between(self.run, self.subset, WALKS, POINTS)
        print("\n".join(f"    {text[:150]}" for text in walks[0]), flush=True)
        for score in smoothness(walks):
            yield self.row(score)

    def samples(self, judge: Any, training: Any, prior: str) -> Iterator[Any]:
        """Texts at points that the standard normal prior draws, or the learned one."""
        from mezzotint.assess.scores import text_scores

        texts = self.sample_texts(prior, self.given.n)
        print("\n".join(f"    {text[:150]}" for text in texts[:4]), flush=True)
        for score in text_scores(texts, judge, training, False):
            yield self.row(score, **self.prior_labels(prior))

    def likeness(self, judge: Any, others: Sequence[str], prior: str) -> Iterator[Any]:
        """How near the law of such texts is to that of held-out ones."""
        from mezzotint.evaluate.divergence import divergence

        yield self.row(divergence(self.sample_texts(prior, len(others)), others, judge), **self.prior_labels(prior))

    def sample_texts(self, prior: str, n: int) -> list[str]:
        """n texts at points of a prior, or of a run without points."""
        from mezzotint.rng import Rng

        seed, draw = self.given.seed, Rng(self.given.seed, range(n)).at("latent")
        if not self.has_latent:
            return [sample.text for sample in self.run.generate(n, seed=seed)]
        points = self.run.system.prior(draw) if prior == "learned" else draw.normal(self.run.spec.latent)
        return [sample.text for sample in self.run.latent.decode(points.cpu(), temperature=1.0, seed=seed)]

    def prior_labels(self, prior: str) -> dict[str, object]:
        """What names texts of a prior, and how long one that was learned took, where that is not the usual."""
        given = self.given
        if prior != "learned" or (not given.prior_steps and given.prior_minutes == PRIOR):
            return {"prior": prior}
        budget = (
            {"prior_steps": given.prior_steps} if given.prior_steps else {"prior_minutes": f"{given.prior_minutes:g}"}
        )
        return {"prior": prior, **budget}

    def measurements(self, judge: Any, training: Any) -> Iterator[Measurement]:
        """What is measured: what a row of it must have, and how they are made. Without a judge texts are not judged."""
        from benchmarks.rows import variant

        given, has_latent = self.given, self.has_latent
        name, n = variant(self.labels), len(self.subset.rows)
        n_posteriors = min(given.posteriors, len(self.held_out.rows))
        all_draws = variant({**self.labels, "draws": given.draws if has_latent else 1})
        key = {key: self.common[key] for key in ("system", "seed", "size", "train_minutes")}
        yield {**key, "metric": "importance_nats_per_token", "variant": all_draws, "n": n}, self.likelihood
        if has_latent:
            yield {**key, "metric": "mutual_information_cap", "variant": name, "n": n_posteriors}, self.posteriors
            yield {**key, "metric": "reconstruction_bleu", "variant": name, "n": n}, self.reconstruction
            yield {**key, "metric": "interpolation_smoothness", "variant": name}, self.walks
        for prior in ("normal", "learned") if has_latent and wants_prior(given) else ("normal",):
            label = variant({**self.labels, **self.prior_labels(prior)})
            facts = {**key, **text_facts(judge), "variant": label, "n": given.n}
            yield facts, lambda prior=prior: self.samples(judge, training, prior)
            if given.mauve and judge is not None:
                # As many others as the data's own value is of.
                others = self.held_out.like_samples(2 * given.mauve)[given.mauve :]
                facts = {**facts, "metric": "mauve[judge]", "n": given.mauve}
                yield facts, lambda prior=prior, others=others: self.likeness(judge, others, prior)


def text_facts(judge: Any) -> dict[str, object]:
    """What the rows of texts have, judged or not, by which it is known that they are there."""
    from mezzotint.evaluate.judge import tag

    return {"metric": "entropy_words"} if judge is None else {"metric": "judge_nll", "judge": tag(judge)}


def data_divergence(given: argparse.Namespace, held_out: Any, judge: Any) -> Iterator[Any]:
    """How near one half of as many held-out texts is to the other: what can be reached."""
    from benchmarks.rows import Row
    from mezzotint.evaluate.divergence import divergence

    texts = held_out.like_samples(2 * given.mauve)
    score = divergence(texts[: given.mauve], texts[given.mauve :], judge)
    print(f"the data's own {score.name} {score.value} ± {score.stderr}", flush=True)
    yield Row(
        benchmark=f"{given.name}-latent", system="data", metric=score.name, value=score.value, stderr=score.stderr,
        n=score.n, split="test", judge=score.judge,
    )  # fmt: skip


def retrieval_row(given: argparse.Namespace, subset: Any, training: Sequence[str]) -> Iterator[Any]:
    """The trivial way to bring a text back: the training text that is most like it."""
    from benchmarks.nearest import nearest
    from benchmarks.rows import Row
    from mezzotint.evaluate.latent import reconstruction

    score = reconstruction(subset.written, nearest(subset.written, training))
    print(f"retrieval {score.name} {score.value}", flush=True)
    yield Row(
        benchmark=f"{given.name}-latent", system="retrieval", metric=score.name, value=score.value, n=score.n,
        split="test",
    )  # fmt: skip


def wants_prior(given: argparse.Namespace) -> bool:
    """Whether a prior is to be learned: not in no time."""
    return bool(given.prior_minutes or given.prior_steps)


def learn_prior(folder: Path, given: argparse.Namespace) -> None:
    """Give a run a prior of its own, where it has none that was trained for as long."""
    import mezzotint

    options = {"minutes": None if given.prior_steps else given.prior_minutes, "max_steps": given.prior_steps}
    weights, note = folder / "prior.safetensors", folder / "prior-asked.json"
    if weights.exists() and note.exists() and json.loads(note.read_text()) == options:
        return
    weights.unlink(missing_ok=True)
    note.write_text(json.dumps(options))
    run = mezzotint.load(folder, device=given.device)
    for tick in run.latent.learn_prior(mezzotint.own_texts(run), seed=given.seed, **options):
        progress = tick
    print(f"{folder.name}: a prior, error {progress.loss:.4f} of v", flush=True)


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS, setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("e2e", "ptb", "yelp"))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["adavae", "without", "full"])
    for what, minutes in (("backbone", 15), ("train", 15), ("prior", PRIOR)):
        parser.add_argument(f"--{what}-minutes", type=float, default=minutes)
        parser.add_argument(f"--{what}-steps", type=int)
    parser.add_argument("--recurrent-minutes", type=float, help="of that arm (default: the backbone's and an arm's)")
    parser.add_argument("--recurrent-steps", type=int)
    parser.add_argument("--on-judge", action="store_true", help="all arms stand on the run that became the judge")
    parser.add_argument("--batch", type=int, help="rows a step (default: the recipe's)")
    parser.add_argument("--net", type=setting, nargs="+", default=[], metavar="KEY=VALUE", help="of the backbone")
    parser.add_argument("--set", type=setting, nargs="+", default=[], metavar="KEY=VALUE", help="of every arm")
    parser.add_argument("--recurrent", type=setting, nargs="+", default=[], metavar="KEY=VALUE", help="of that arm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=1000, help="texts for the bound, reconstructions and the judge")
    parser.add_argument("--draws", type=int, default=500, help="draws of each posterior for the bound")
    parser.add_argument("--posteriors", type=int, default=10_000, help="texts for divergence and information")
    parser.add_argument("--mauve", type=int, default=0, help="texts to be compared with as many held-out ones (500)")
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
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from benchmarks.rows import has, record
    from benchmarks.unconditional import data_rows
    from mezzotint.held_out import Texts, training_text
    from mezzotint.judge import Judge

    def check_time(what: str) -> None:
        if time.monotonic() > until:
            raise SystemExit(f"{what} is still to be done; call again to go on")

    study, benchmark = Study(given, until), f"{given.name}-latent"
    judge = None if given.on_judge else Judge(mezzotint.load(RECIPES[given.name].kept, device=given.device))
    for arm in given.arms:
        folder, labels = study.run(arm)
        if labels.get("infuse") != "none" and wants_prior(given):
            check_time(f"{folder.name}: its prior")
            learn_prior(folder, given)
        run = mezzotint.load(folder, device=given.device)
        held_out, training = Texts(run, [corpus_files(given.name).test]), training_text(run)
        measured = RunScorer(run, labels, given, held_out)
        if not has(benchmark, given.out, system="data", **text_facts(judge), n=given.n):
            record(data_rows(given.name, held_out.like_samples(given.n), judge, training, benchmark), results=given.out)
        if (
            given.mauve
            and judge is not None
            and not has(
                benchmark, given.out, system="data", **text_facts(judge) | {"metric": "mauve[judge]"}, n=given.mauve
            )
        ):
            record(data_divergence(given, held_out, judge), results=given.out)
        if not has(benchmark, given.out, system="retrieval", n=len(measured.subset.rows)):
            record(retrieval_row(given, measured.subset, mezzotint.own_texts(run)), results=given.out)
        for facts, rows in measured.measurements(judge, training):
            if not has(benchmark, given.out, **facts):
                check_time(f"{folder.name}: {facts['metric']}")
                record(rows(), device=str(run.device), results=given.out)


if __name__ == "__main__":
    main()
