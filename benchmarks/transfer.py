"""`yelp-transfer`, `yelp-like` and `yelp-labels`: what the points of an adavae run on yelp know of praise and blame.

    python -m benchmarks.transfer runs/latent/yelp/adavae,... [--strengths 1 2 3] [--named beta=0.1] [--minutes 9]

Transfer: the texts with four human references (Li et al. 2018, arXiv:1804.06437) are moved by the difference of the
means of the training texts of both labels. They are scored by a judge of labels that training never saw and that stays
as it is (in AdaVAE's code it is trained along), by BLEU against the source and the references, and by the judge of
fluency; beside `retrieval`, the training text of the other label that is most like the source, `copy`, the source
itself, and `human`, the first reference, which is held against the other three.

Like: texts at points that are drawn where the training texts of a label lie, as many for either, at temperature 1: how
many the judge of labels takes for that label, and their fluency and variety.

Labels: a linear classifier on the posteriors' means of 10 to 10,000 labelled texts, scored on the test split, with
settings fixed before; beside the same on words, and beside a fine-tuned encoder (benchmarks/labels.py).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BUCKETS = 2**18


class LabelJudge:
    """Tells a text's label from its words and pairs of words: a linear classifier (Joulin et al. 2016,
    arXiv:1607.01759, without its hidden layer). Deterministic, and never changed once it is made."""

    def __init__(self, texts: Sequence[str], labels: Sequence[int], epochs: int = 2, batch: int = 256) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = nn.EmbeddingBag(BUCKETS, 1, mode="sum", sparse=True)
        nn.init.zeros_(self.table.weight)
        optimiser = torch.optim.Adagrad(self.table.parameters(), lr=0.1)
        bags, wanted = [_bag(text) for text in texts], torch.tensor(labels, dtype=torch.float32)
        for _ in range(epochs):
            for rows in torch.randperm(len(bags), generator=generator).split(batch):
                loss = F.binary_cross_entropy_with_logits(self._odds([bags[i] for i in rows]), wanted[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        self.table.requires_grad_(False)

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The likelier label, 0 or 1, of each text."""
        return (self._odds([_bag(text) for text in texts]) > 0).long().tolist()

    def _odds(self, bags: Sequence[Sequence[int]]) -> Tensor:
        starts = np.cumsum([0, *map(len, bags[:-1])])
        odds: Tensor = self.table(torch.tensor([i for bag in bags for i in bag]), torch.from_numpy(starts))[:, 0]
        return odds


def _bag(text: str) -> list[int]:
    """The places of a text's words and pairs of words in the table; an empty text has one of its own."""
    from mezzotint.evaluate.words import words

    text_words = words(text)
    pairs = [f"{a} {b}" for a, b in pairwise(text_words)]
    return [crc32(each.encode()) % BUCKETS for each in [*text_words, *pairs] or [""]]


def sample_like(space: Any, train: Sequence[tuple[str, int]], n: int) -> tuple[list[str], list[int]]:
    """n texts, one half where the texts of each label lie, and their labels."""
    texts = [
        sample.text
        for label in (0, 1)
        for sample in space.like([text for text, own in train if own == label], n // 2, seed=label, temperature=1.0)
    ]
    return texts, [i // (n // 2) for i in range(len(texts))]


def move(space: Any, items: Sequence[Any], train: Sequence[tuple[str, int]], strength: float) -> list[str]:
    """Every item's text with the other label."""
    of = [[text for text, label in train if label == each] for each in (0, 1)]
    written: dict[int, str] = {}
    for label in (0, 1):
        rows = [i for i, item in enumerate(items) if item["label"] == label]
        if rows:
            texts = space.transfer([items[i]["text"] for i in rows], of[1 - label], of[label], strength)
            written |= {i: sample.text for i, sample in zip(rows, texts, strict=True)}
    return [written[i] for i in range(len(items))]


def retrieve(items: Sequence[Any], train: Sequence[tuple[str, int]]) -> list[str]:
    """The training text most like each item among those of the other label."""
    from benchmarks.nearest import nearest

    nearest_texts: dict[int, str] = {}
    for label in (0, 1):
        rows = [i for i, item in enumerate(items) if item["label"] == label]
        texts = [text for text, own in train if own != label]
        nearest_texts |= dict(zip(rows, nearest([items[i]["text"] for i in rows], texts), strict=True))
    return [nearest_texts[i] for i in range(len(items))]


def scores(texts: Sequence[str], items: Sequence[Any], labels: LabelJudge, judge: Any) -> Iterator[Any]:
    """What is said of texts that are to be the items with the other label."""
    from mezzotint.assess.scores import text_scores
    from mezzotint.evaluate.table import Score

    yield from text_scores(texts, judge, None, False)
    right = [float(said != item["label"]) for said, item in zip(labels(texts), items, strict=True)]
    yield Score.mean("accuracy", right, "share that the judge of labels, trained apart, takes for the other label")
    yield Score("source_bleu", bleu(texts, [[item["text"]] for item in items]), None, len(texts))
    yield Score("reference_bleu", bleu(texts, [item["refs"] for item in items]), None, len(texts))


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 over our words, against as many references for each text."""
    from sacrebleu.metrics.bleu import BLEU

    from mezzotint.evaluate.words import words

    split = [[" ".join(words(each)) for each in each_text] for each_text in zip(*references, strict=True)]
    result = BLEU(tokenize="none", force=True).corpus_score([" ".join(words(text)) for text in texts], split)
    return float(result.score)


def row(benchmark: str, system: str, score: Any, labels: Mapping[str, object], **more: object) -> Any:
    from benchmarks.rows import Row, variant

    print(f"{system} {variant(labels)} {score.name} {score.value:.4f}", flush=True)
    value = score.value if score.value == score.value else None
    return Row(
        benchmark=benchmark, system=system, variant=variant(labels), metric=score.name, value=value,
        stderr=score.stderr, n=score.n, judge=score.judge or None, split="test", **more,
    )  # fmt: skip


def _pairs(path: str | Path) -> list[tuple[str, int]]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [(record["text"], record["label"]) for record in map(json.loads, lines)]


def arguments() -> argparse.Namespace:
    from benchmarks.labels import LABELS
    from benchmarks.rows import RESULTS, setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--named", type=setting, nargs="+", default=[], metavar="KEY=VALUE", help="what names the run")
    parser.add_argument("--strengths", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--n", type=int, default=1000, help="texts drawn where those of a label lie")
    parser.add_argument("--test", type=int, default=10_000, help="texts whose label is to be told")
    parser.add_argument("--minutes", type=float, default=inf, help="how long this call may take")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    until = time.monotonic() + 60 * given.minutes
    import mezzotint
    from benchmarks.data import corpus_files, transfer_items
    from benchmarks.judge import RECIPES
    from benchmarks.labels import by_encoder, few_labels
    from benchmarks.rows import has, record, variant
    from mezzotint.assess.scores import text_scores
    from mezzotint.data.canvas import room
    from mezzotint.evaluate.table import Score
    from mezzotint.held_out import training_text
    from mezzotint.judge import Judge

    def is_due(benchmark: str, system: str, labels: Mapping[str, object], **facts: object) -> bool:
        facts |= {"system": system, "variant": variant(labels)}
        if has(benchmark, given.out, **facts):
            return False
        if time.monotonic() > until:
            raise SystemExit(f"{benchmark}: {system} {variant(labels)} is still to be measured; call again to go on")
        return True

    run, run_labels = mezzotint.load(given.run, device=given.device), dict(given.named)
    judge = Judge(mezzotint.load(RECIPES["yelp"].kept, device=given.device))
    max_tokens = room(run.spec.canvas, run.spec.ending)

    def fitting(pairs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        ids = run.tokenizer.encode_all([text for text, _ in pairs])
        return [pair for pair, each in zip(pairs, ids, strict=True) if len(each) <= max_tokens]

    train, test = (_pairs(path) for path in (corpus_files("yelp").train, corpus_files("yelp").test))
    few, held_out = fitting(train), fitting(test)[: given.test]
    items = [item for item in transfer_items() if fitting([(item["text"], 0)])]
    labels = LabelJudge([text for text, _ in train], [label for _, label in train])
    right = [said == label for said, (_, label) in zip(labels([text for text, _ in test]), test, strict=True)]
    record([row("yelp-transfer", "judge-of-labels", Score.mean("accuracy", right), {})], results=given.out)
    tasks: list[tuple[str, dict[str, object], Any]] = [
        ("copy", {}, lambda: [item["text"] for item in items]),
        ("human", {}, lambda: [item["refs"][0] for item in items]),
        ("retrieval", {}, lambda: retrieve(items, train)),
    ]
    for s in given.strengths:
        tasks.append(("adavae", {**run_labels, "strength": s}, lambda s=s: move(run.latent, items, few, s)))
    for system, name, texts in tasks:
        if is_due("yelp-transfer", system, name, metric="reference_bleu", n=len(items)):
            found = texts()
            print("\n".join(f"    {item['text']} -> {text}" for item, text in zip(items[:3], found, strict=False)))
            # One of the references is held against the others.
            against = [{**item, "refs": item["refs"][1:]} for item in items] if system == "human" else items
            rows = [row("yelp-transfer", system, score, name) for score in scores(found, against, labels, judge)]
            record(rows, device=str(run.device), results=given.out)
    if is_due("yelp-like", "adavae", run_labels, metric="accuracy", n=given.n // 2 * 2):
        texts, said = sample_like(run.latent, few, given.n)
        print("\n".join(f"    {label}: {text}" for text, label in [*zip(texts, said, strict=True)][:: len(texts) // 4]))
        right = [float(a == b) for a, b in zip(labels(texts), said, strict=True)]
        found = [Score.mean("accuracy", right), *text_scores(texts, judge, training_text(run), False)]
        record(
            [row("yelp-like", "adavae", score, run_labels) for score in found],
            device=str(run.device),
            results=given.out,
        )
    for k in given.labels:
        key = {**run_labels, "labels": k}

        def record_accuracy(system: str, labels: Mapping[str, object], values: Sequence[float]) -> None:
            over = Score.mean("accuracy", values)
            score = Score("accuracy", over.value, over.stderr, len(held_out))
            record([row("yelp-labels", system, score, labels)], results=given.out)

        if is_due("yelp-labels", "adavae", key, metric="accuracy"):
            on_points, on_words = few_labels(run.latent.encode, few, held_out, k)
            record_accuracy("adavae", key, on_points)
            record_accuracy("words", {"labels": k}, on_words)
        if is_due("yelp-labels", "encoder", key, metric="accuracy"):
            record_accuracy("encoder", key, by_encoder(run, few, held_out, k))


if __name__ == "__main__":
    main()
