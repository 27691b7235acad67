"""The benchmark of latent spaces: what it trains and measures, in pieces, nothing twice; the trivial baselines."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import mezzotint
from benchmarks import data, judge, latent, rows, transfer
from benchmarks import labels as telling
from benchmarks.nearest import nearest

WORDS = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]
TINY = ["--net", "dim=16", "depth=2", "heads=2", "validations=1", "--set", "latent=3", "validations=1"]
TINY += ["--recurrent", "dim=8", "hidden=12"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """An empty folder with a corpus and its judge."""
    root = tmp_path_factory.mktemp("latent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        patch.chdir(root)
        lines = [" ".join(WORDS[(i * k + k) % 12] for k in range(1, 4 + i % 5)) for i in range(60)]
        for name, part in (("train", lines), ("valid", lines[:10]), ("test", lines[5:25])):
            Path(f"{name}.txt").write_text("\n".join(part) + "\n")
        settings = {"dim": "16", "depth": "1", "heads": "2", "batch": "8"}
        list(mezzotint.train("ar", ["train.txt"], out="judge", max_steps=2, settings=settings))
        patch.setattr(data, "corpus_files", lambda name: data.Data("train.txt", "valid.txt", "test.txt"))
        patch.setitem(judge.RECIPES, "yelp", SimpleNamespace(kept=Path("judge")))
        yield root


def call(patch: pytest.MonkeyPatch, *words: str) -> list[rows.Row]:
    """The rows after a call of the benchmark."""
    budget = ["--backbone-steps", "3", "--train-steps", "4", "--prior-steps", "2", "--batch", "8"]
    asked = ["--n", "6", "--draws", "12", "--posteriors", "15", "--out", "results"]
    patch.setattr(sys, "argv", ["latent", "yelp", *budget, *asked, *words, *TINY])
    latent.main()
    return rows.read(Path("results/yelp-latent.json"))


def test_it_goes_on_where_it_was_stopped_and_measures_nothing_twice(workshop, monkeypatch):
    arms = ["--arms", "adavae", "without", "width-double", "recurrent"]
    with pytest.raises(SystemExit, match="call again to go on"):
        call(monkeypatch, *arms, "--minutes", "0")
    assert not Path("results/yelp-latent.json").exists()
    found = call(monkeypatch, *arms)
    named = {"backbone": "3steps", "batch": 8, "latent": 3, "train_steps": 4, "validations": 1}
    without = named | latent.ARMS["without"]

    def of(metric: str, **settings: object) -> rows.Row:
        (row,) = [r for r in found if r.metric == metric and r.variant == rows.variant(settings)]
        return row

    bounds = [of("importance_nats_per_token", **named, draws=s) for s in (1, 10, 12)]
    assert [b.n for b in bounds] == [6] * 3 and all(b.stderr for b in bounds)
    assert len({b.params for b in bounds}) == 1 and bounds[0].params < of("trainable_share", **without).params
    assert of("mutual_information", **named).n == 15
    assert of("mutual_information_cap", **named).value == pytest.approx(2.708, abs=1e-3)
    for metric in ("divergence_nats", "active_units", "reconstruction_bleu", "reconstruction_nats"):
        assert of(metric, **named).value is not None
    for metric in ("interpolation_smoothness", "longest_step"):  # which nothing can be said of where nothing is learned
        assert of(metric, **named).n <= latent.WALKS
    assert of("judge_nll", **named, prior="normal").n == 6
    assert of("judge_nll", **named, prior="learned", prior_steps=2).n == 6
    assert of("mutual_information_upper", **named).value <= of("divergence_nats", **named).value
    assert of("trainable_share", **without).value is None and 0 < of("trainable_share", **named).value < 1
    assert of("trainable_share", **named, bottleneck=4).value > of("trainable_share", **named).value
    exact = [r for r in found if r.metric == "importance_nats_per_token" and "infuse=none" in r.variant]
    assert [r.variant for r in exact] == [rows.variant(without | {"draws": 1})]
    assert not any("infuse=none" in r.variant and r.metric in ("mutual_information", "active_units") for r in found)
    assert {r.system for r in found} == {"adavae", "data", "retrieval", "rnn-vae"}
    recurrent = {"batch": 8, "dim": 8, "hidden": 12, "latent": 3, "train_steps": 7, "validations": 1}
    theirs = {r.metric: r for r in found if r.system == "rnn-vae"}
    assert {r.metric for r in found if r.system == "adavae"} == theirs.keys(), "it is measured as they are"
    assert theirs["mutual_information"].variant == rows.variant(recurrent), "backbone and arm took 3 steps and 4"
    assert theirs["trainable_share"].value is None and theirs["importance_nats_per_token"].size == "d8x1"
    runs = list(Path("runs/latent/yelp").iterdir())
    assert len(runs) == 5 and len({(run / "tokenizer.json").read_text() for run in runs}) == 1
    canvases = {json.loads((run / "config.json").read_text())["spec"]["canvas"] for run in runs}
    assert len(canvases) == 1, "nats a token are of the same tokens of the same texts"
    for name in ("likelihood", "posteriors", "reconstruction", "walks", "samples"):
        monkeypatch.setattr(latent.RunScorer, name, None)
    assert call(monkeypatch, *arms) == found


def test_an_arm_without_a_backbone_has_the_time_of_one_with_it():
    given = {"backbone_minutes": 15, "train_minutes": 10, "recurrent_minutes": None, "on_judge": False}
    steps = {"backbone_steps": None, "train_steps": None, "recurrent_steps": None}

    def whole(**more: object) -> tuple[float, int | None]:
        return latent.total_budget(argparse.Namespace(**{**given, **steps, **more}))

    assert whole() == (25, None) and whole(recurrent_minutes=3.0, on_judge=True) == (3.0, None)
    assert whole(backbone_steps=5, train_steps=7) == (0.0, 12) and whole(recurrent_steps=9) == (0.0, 9)
    for unknown in ({"on_judge": True}, {"train_steps": 7}):
        with pytest.raises(SystemExit, match="say --recurrent-minutes"):
            whole(**unknown)


def test_the_most_similar_text_shares_the_rarest_words():
    texts = ["the pub is old", "the river is cold", "the the the the", "a zebra by the river"]
    assert nearest(["the zebra", "cold is the river", "unheard of", "the"], texts) == [
        "a zebra by the river",
        "the river is cold",
        "the pub is old",
        "the the the the",
    ]


# ---- labels and transfer ---------------------------------------------------------------------------------------------


def test_the_judge_of_labels_reads_pairs_of_words_and_is_always_the_same():
    texts = ["not good", "good", "bad", "not bad", "so good", "so bad", "it is not good", "it is not bad"] * 20
    labels = [0, 1, 0, 1, 1, 0, 0, 1] * 20
    made = transfer.LabelJudge(texts, labels, epochs=6, batch=8)
    assert made(texts) == labels and made(["not good indeed", "", "good"])[::2] == [0, 1]
    assert torch.equal(made.table.weight, transfer.LabelJudge(texts, labels, epochs=6, batch=8).table.weight)


def test_a_linear_classifier_is_the_likeliest_under_its_prior():
    g = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1] * 100)
    x = torch.randn(200, 3, generator=g, dtype=torch.float64) + 2 * labels[:, None] * torch.tensor([1.0, 0.0, 0.5])
    w = telling.logistic(x, labels)
    p = torch.sigmoid(x @ w[:-1] + w[-1])
    assert torch.allclose(x.T @ (p - labels) + w[:-1], torch.zeros(3, dtype=torch.float64), atol=1e-3)
    assert float((p - labels).sum()) == pytest.approx(0, abs=1e-3)
    # Two normal laws 2.24 apart: nobody tells more than 86.8 % right.
    assert telling.accuracy(x[:100] * 7 - 2, labels[:100], x[100:] * 7 - 2, labels[100:]) == pytest.approx(
        0.868, abs=0.08
    )


def test_an_encoder_learns_what_the_backbone_alone_does_not_know(workshop):
    settings = {"dim": "16", "depth": "2", "heads": "2", "validations": "0"}
    list(mezzotint.train("ar", ["train.txt"], out="plain", max_steps=2, batch_size=8, settings=settings))
    how = {"backbone": "plain", "settings": {"latent": "3", "validations": "0", "lr": "0.1"}}
    list(mezzotint.train("adavae", ["train.txt"], out="on-plain", max_steps=3, batch_size=8, **how))
    run = mezzotint.load("on-plain")
    made = telling.Encoder(run)
    plain = mezzotint.load("plain").system.net
    assert all(torch.equal(a, b) for a, b in zip(made.backbone.parameters(), plain.parameters(), strict=True))
    assert not torch.equal(run.system.backbone.blocks[0].norm1.weight, plain.blocks[0].norm1.weight), "adavae's are not"
    texts = [f"the {place} is {state}" for place in ("pub", "river", "old pub") for state in ("cold", "warm")]
    wanted = torch.tensor([0, 1] * 3)
    batch = telling._batch(run, texts)
    assert made(batch).tolist() == [0.0] * 6
    learned = telling.train_encoder(run, texts, wanted, seed=0)
    assert ((learned(batch) > 0).long() == wanted).all()
    ids, real = batch.ids.clone(), batch.real
    ids[~real] = 5
    assert torch.allclose(learned(batch), learned(replace(batch, ids=ids)), atol=1e-6), "padding says nothing"
    assert not torch.equal(learned.backbone.embed.weight, plain.embed.weight), "all of it is trained"


def test_bleu_takes_the_nearest_of_several_references():
    texts = ["the pub is old and cold", "a new river"]
    refs = [["the pub is old and cold", "no pub"], ["nothing at all", "a new river"]]
    assert transfer.bleu(texts, refs) == pytest.approx(100)
    assert transfer.bleu(texts, [each[:1] for each in refs]) < 80


def test_transfer_and_labels_are_measured_once(workshop, monkeypatch):
    lines = Path("train.txt").read_text().splitlines()
    for name in ("train", "test"):
        some = Path(f"{name}.txt").read_text().splitlines()
        records = [{"text": text, "label": int("cold" in text)} for text in some]
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    items = [
        {"text": text, "label": i % 2, "refs": [text, lines[i], "a pub", "the pub"]} for i, text in enumerate(lines[:5])
    ]
    monkeypatch.setattr(data, "transfer_items", lambda: items)
    monkeypatch.setattr(data, "corpus_files", lambda name: data.Data("train.jsonl", "train.jsonl", "test.jsonl"))
    if not Path("runs/vae").exists():
        settings = {"dim": "16", "depth": "2", "heads": "2", "validations": "0"}
        list(mezzotint.train("ar", ["train.txt"], out="runs/ar", max_steps=2, batch_size=8, settings=settings))
        how = {"backbone": "runs/ar", "settings": {"latent": "3", "validations": "0"}}
        list(mezzotint.train("adavae", ["train.txt"], out="runs/vae", max_steps=2, batch_size=8, **how))
    asked = ["transfer", "runs/vae", "--strengths", "1", "--labels", "10", "--out", "results", "--named", "latent=3"]
    asked += ["--n", "8"]
    monkeypatch.setattr(telling, "MIN_STEPS", 2)
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit, match="copy default is still to be measured"):
        monkeypatch.setattr(sys, "argv", [*asked, "--minutes", "0"])
        transfer.main()
    monkeypatch.setattr(sys, "argv", asked)
    transfer.main()
    found = rows.read(Path("results/yelp-transfer.json"))
    value = {(r.system, r.metric): r.value for r in found}
    assert value["copy", "source_bleu"] == pytest.approx(100)
    people = [item["refs"] for item in items]
    assert value["human", "reference_bleu"] == transfer.bleu(
        [first for first, *_ in people], [rest for _, *rest in people]
    )
    assert all((system, "entropy_words") in value for system in ("copy", "human", "retrieval", "adavae"))
    assert {"copy", "human", "retrieval", "adavae", "judge-of-labels"} == {r.system for r in found}
    assert {r.variant for r in found if r.system == "adavae"} == {"latent=3,strength=1.0"}
    few = rows.read(Path("results/yelp-labels.json"))
    named = "labels=10,latent=3"
    assert {(r.system, r.variant) for r in few} == {("adavae", named), ("encoder", named), ("words", "labels=10")}
    assert all(0 <= r.value <= 1 and r.stderr is not None and r.n == 20 for r in few)
    like = {r.metric: r for r in rows.read(Path("results/yelp-like.json"))}
    assert like["accuracy"].n == like["judge_nll"].n == 8 and "entropy_words" in like
    for name in ("move", "retrieve", "sample_like"):
        monkeypatch.setattr(transfer, name, None)
    for name in ("few_labels", "by_encoder"):
        monkeypatch.setattr(telling, name, None)
    transfer.main()
