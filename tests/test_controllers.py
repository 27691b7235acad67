"""Classifiers of noisy texts: what they are told by, what they come to say, and how a run keeps and follows them."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import mezzotint
from mezzotint import CapabilityError, DataError, RunError, UsageError, Wanted
from mezzotint.cli.main import main
from mezzotint.data import bistro
from mezzotint.data.annotated import Annotated, bistro_annotated, read_annotated
from mezzotint.data.canvas import free
from mezzotint.data.labelled import IGNORED, labelled, labels_of
from mezzotint.data.lengths import Lengths
from mezzotint.data.trees import cells, read_tree
from mezzotint.guidance.choose import ControlRanking, most_wanted
from mezzotint.guidance.classifier import Classifiers
from mezzotint.guidance.constraint import Classified, View
from mezzotint.guidance.lengths import tilted_lengths
from mezzotint.net.classifier import ClassifierNet
from mezzotint.process.gaussian import Gaussian, SqrtVariance
from mezzotint.rng import Rng
from mezzotint.space.learned import LearnedEmbedding
from mezzotint.spec.classifier import ClassifierSpec, Labels
from mezzotint.spec.transformer import Positions, TransformerSpec
from mezzotint.training.classifier import ClassifierTask
from mezzotint.types import Noised, Steering
from tests.oracle import GaussianOracle, blank
from tests.trained import SETTINGS, few

NET = TransformerSpec(dim=16, depth=1, heads=2, positions=Positions.EDGES)

# ---- trees -----------------------------------------------------------------------------------------------------------


def test_trees_of_the_bundled_corpus_read_as_its_spans():
    for one in bistro.write(60):
        tree = read_tree(one.tree)
        assert tree.words == len(one.words) and tree.spans == one.spans


def test_a_tree_may_be_typed_with_any_words():
    tree = read_tree("(S (NP * *) (VP (VERB x) (NP *)) .)")
    assert tree.words == 5 and cells(tree.spans) == {(0, 5): "S", (0, 2): "NP", (2, 4): "VP", (3, 4): "NP"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("NP *", "begins with"), ("(S (NP *)", "not closed"), ("(S *) (S *)", "goes on"), ("(S (NP ))", "nothing in")],
)
def test_what_is_no_tree_is_refused(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_tree(text)


# ---- annotation ------------------------------------------------------------------------------------------------------


def test_records_are_read_as_they_are_annotated(tmp_path):
    file = tmp_path / "a.jsonl"
    records = [
        {"text": "a cold pub", "food": "Thai", "tags": "DET ADJ NOUN", "tree": "(NP (DT a) (JJ cold) (NN pub))"},
        {"text": "a pub", "fields": {"price": 3, "area": None}, "tags": ["DET", "NOUN"], "spans": [[0, 2, "NP"]]},
    ]
    file.write_text("\n".join(map(json.dumps, records)))
    one, other = read_annotated([file])
    assert one == Annotated("a cold pub", {"food": "Thai"}, ("DET", "ADJ", "NOUN"), ((0, 3, "NP"),))
    assert other == Annotated("a pub", {"price": "3"}, ("DET", "NOUN"), ((0, 2, "NP"),))
    for wrong, sentence in (
        ({"text": "a", "spans": [[1, 1, "NP"]]}, "line|:1"),
        ({"text": "a", "tree": "(NP"}, "not closed"),
        ({"words": "a"}, "no field 'text'"),
        ({"text": "a"}, "says nothing"),
    ):
        file.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=sentence):
            read_annotated([file])


def test_labels_are_those_of_each_text_and_nothing_else():
    texts = [Annotated("a b c", {"x": "1"}, ("D", "N", "V"), ((0, 3, "S"), (0, 2, "NP"), (0, 2, "X")))] * 3
    texts += [Annotated("a b", {"x": "rare"}), Annotated("a b", {"y": "2"}, ("D",))]
    labels = labels_of([*texts, texts[0]])
    assert labels == Labels({"x": ("", "1")}, ("D", "N", "V"), ("", "NP+X", "S"))
    found = labelled(blank(3, 4), texts[2:], [3, 2, 2], labels).labels
    assert found["fields"].tolist() == [[1], [IGNORED], [0]]
    assert found["tags"].tolist() == [[0, 1, 2, IGNORED], [IGNORED] * 4, [IGNORED] * 4]
    chart = found["phrases"]
    assert chart[0, 0].tolist() == [0, 1, 2, IGNORED] and chart[0, 2].tolist() == [IGNORED, IGNORED, 0, IGNORED]
    assert bool((chart[1:] == IGNORED).all())


# ---- what is read ----------------------------------------------------------------------------------------------------


def reader(vocab: int = 0) -> Classifiers:
    labels = Labels({"a": ("", "x", "y"), "b": ("", "z")}, ("D", "N", "V"), ("", "NP", "S+NP"))
    net = ClassifierNet(ClassifierSpec(width=4, canvas=8, vocab=vocab, net=NET), labels)
    net.initialise(torch.Generator().manual_seed(1))
    return Classifiers(net, labels, None if vocab else lambda ids: torch.zeros(*ids.shape, 4))


def noisy(rows: int = 3, length: int = 2) -> View:
    z = torch.randn(rows, length, 4, generator=torch.Generator().manual_seed(0))
    return View(Noised(z, torch.rand(rows).double()), blank(rows, length), lambda: torch.zeros(rows, length, 5))


def test_all_that_can_be_told_has_probability_one():
    classifiers, view = reader(), noisy()
    fields = [classifiers.says("a", value).log_p(view).exp() for value in ("x", "y")]
    assert torch.allclose(sum(fields) + classifiers.field(view, "a")[:, 0].exp(), torch.ones(3).double())
    tags = [classifiers.parts_of_speech(pair).log_p(view).exp() for pair in itertools.product("DNV", repeat=2)]
    assert torch.allclose(sum(tags), torch.ones(3).double())
    every = []
    for chart in itertools.product(((), ("NP",), ("S", "NP")), repeat=3):
        spans = tuple(
            (*place, one) for place, held in zip(((0, 2), (0, 1), (1, 2)), chart, strict=True) for one in held
        )
        every.append(classifiers.tree(2, spans).log_p(view).exp())
    assert torch.allclose(sum(every), torch.ones(3).double())
    # A phrase holds where it is one of several labels of the same words.
    said = classifiers.phrases(view)[:, 0, 1].exp()
    assert torch.allclose(classifiers.span((0, 2, "NP")).log_p(view).exp(), said[:, 1] + said[:, 2])
    assert torch.allclose(classifiers.span((0, 2, "S")).log_p(view).exp(), said[:, 2])
    assert len(view.cache) == 1


def test_padding_changes_nothing():
    classifiers, wide = reader(), noisy(2, 6)
    real = torch.arange(6) < torch.tensor([[6], [4]])
    canvas = mezzotint.Canvas(torch.zeros(2, 6).long(), torch.zeros_like(real), real, torch.arange(2))
    wide = View(wide.noised, canvas, lambda: torch.empty(0))
    narrow = View(Noised(wide.noised.z[1:, :4], wide.noised.t[1:]), blank(1, 4), lambda: torch.empty(0))
    for part in (
        classifiers.says("a", "x"),
        classifiers.span((1, 3, "NP")),
        classifiers.parts_of_speech(["D", "N", "V", "V"]),
    ):
        assert torch.allclose(part.log_p(wide)[1:], part.log_p(narrow), atol=1e-5)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda r: r.says("c", "x"), "unknown field 'c'"),
        (lambda r: r.says("a", "xx"), "did you mean 'x'"),
        (lambda r: r.parts_of_speech(["D", "NOUNS"]), "unknown part of speech"),
        (lambda r: r.span((0, 1, "VP")), "unknown phrase 'VP'"),
        (lambda r: r.tree(2, ((0, 2, "NP"), (0, 2, "S"))), "NP.S over the same words"),
    ],
)
def test_what_was_not_learned_is_refused(ask, sentence):
    with pytest.raises(UsageError, match=sentence):
        ask(reader())


# ---- learning --------------------------------------------------------------------------------------------------------

TEXTS, WEIGHTS = [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 1, 1]], [3, 2, 2, 1]


def test_a_trained_classifier_says_what_bayes_rule_says_of_noisy_texts():
    """p(x = 1 | z_t) against the exact posterior of the corpus, where texts that begin with 0 say x = 1."""
    process, space = Gaussian(SqrtVariance()), LearnedEmbedding(3, 4)
    space.initialise(torch.Generator().manual_seed(0))
    system = SimpleNamespace(process=process, net=SimpleNamespace(space=space))
    ids = torch.tensor([t for t, n in zip(TEXTS, WEIGHTS, strict=True) for _ in range(n * 8)])
    texts = [Annotated("", {"x": "1"} if row[0] == 0 else {"x": "2"}) for row in ids.tolist()]
    labels = labels_of(texts)
    net = ClassifierNet(ClassifierSpec(width=4, canvas=3, vocab=0, net=NET), labels)
    net.initialise(torch.Generator().manual_seed(0))
    lesson, optimiser = ClassifierTask(system, net), torch.optim.Adam(net.parameters(), lr=1e-2)
    canvas = blank(len(ids), 3)
    batch = labelled(mezzotint.Canvas(ids, canvas.given, canvas.real, canvas.index), texts, [3] * len(ids), labels)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 300)
        (loss,) = lesson.losses(batch, Rng(0, range(len(ids)), f"{step}", len(ids)))
        optimiser.zero_grad()
        (loss.total / loss.count).backward()
        optimiser.step()
    oracle = GaussianOracle(TEXTS, WEIGHTS, space.vectors.detach(), process)
    classifiers = Classifiers(net, labels, lesson.clean)
    for t in (0.05, 0.2, 0.5, 0.95):
        view = lesson.view(batch, torch.full((len(ids),), t).double(), Rng(9, range(len(ids))))
        exact = oracle.posterior(Noised(view.noised.z.double(), view.noised.t), canvas.free)[:, :2].sum(1)
        off = float((classifiers.says("x", "1").log_p(view).exp().detach() - exact).abs().mean())
        blind = float((5 / 8 - exact).abs().mean())
        assert off < max(0.35 * blind, 0.09), t


def test_what_one_word_says_is_learned_wherever_it_stands():
    """Of 60 words three say something, one of them in every other text of 12 noisy vectors."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 60, (128, 12), generator=generator)
    said = torch.randint(0, 4, (128,), generator=generator)
    ids[said < 3, 5] = said[said < 3]
    texts = [Annotated("", {"x": str(k)} if k < 3 else {"y": "0"}) for k in said.tolist()]
    process, space = Gaussian(SqrtVariance()), LearnedEmbedding(60, 8)
    space.initialise(torch.Generator().manual_seed(0))
    labels = labels_of(texts)
    spec = ClassifierSpec(width=8, canvas=12, vocab=0, net=replace(NET, dim=32), words=60)
    net = ClassifierNet(spec, labels)
    net.initialise(torch.Generator().manual_seed(0))
    lesson = ClassifierTask(SimpleNamespace(process=process, net=SimpleNamespace(space=space)), net)
    blank_ = blank(128, 12)
    batch = labelled(mezzotint.Canvas(ids, blank_.given, blank_.real, blank_.index), texts, [12] * 128, labels)
    optimiser = torch.optim.Adam(net.parameters(), lr=8e-3)
    for step in range(100):
        (loss,) = lesson.losses(batch, Rng(0, range(128), f"{step}", 128))
        optimiser.zero_grad()
        (loss.total / loss.count).backward()
        optimiser.step()
    view = lesson.view(batch, torch.full((128,), 0.02).double(), Rng(1, range(128)))
    classifiers = lesson.reader(labels)
    assert float((classifiers.field(view, "x").argmax(-1) == batch.labels["fields"][:, 0]).double().mean()) > 0.95
    # What a word says has a slope, by which a state can be moved towards it.
    noised = view.noised.z.clone().requires_grad_()
    seen = View(Noised(noised, torch.full((128,), 0.5).double()), batch, lambda: torch.empty(0))
    (slope,) = torch.autograd.grad(classifiers.says("x", "1").log_p(seen).sum(), noised)
    before, after = (
        classifiers.says("x", "1").log_p(View(Noised(z, seen.noised.t), batch, lambda: torch.empty(0))).mean().item()
        for z in (noised, noised + 0.1 * slope.sign())
    )
    assert after > before + 0.5


# ---- a run's own -----------------------------------------------------------------------------------------------------

WORDS = {
    "The": "DET",
    "A": "DET",
    "old": "ADJ",
    "new": "ADJ",
    "river": "NOUN",
    "pub": "NOUN",
    "is": "AUX",
    ".": "PUNCT",
}


def sentence(i: int) -> dict[str, object]:
    noun, adjective = ("river", "pub")[i % 2], ("old", "new")[i // 2 % 2]
    words = [("The", "A")[i % 3 % 2], *([adjective] if i % 5 < 2 else []), noun, "is", adjective, "."]
    last = len(words)
    spans = [[0, last, "S"], [0, last - 3, "NP"], [last - 3, last - 1, "VP"], [last - 2, last - 1, "ADJP"]]
    text = " ".join(words).replace(" .", ".")
    return {"text": text, "what": noun, "tags": [WORDS[w] for w in words], "spans": spans}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("controllers")
    records = [sentence(i) for i in range(240)]
    made = few(
        root,
        [("qe", "qe-cdlm", {"width": "4"}), ("mdlm", "mdlm", {}), ("ar", "ar", {}), ("sed", "sed", {"width": "4"})],
        [str(r["text"]) for r in records],
    )
    (root / "annotated.jsonl").write_text("\n".join(map(json.dumps, records)))
    for run in made.values():
        list(run.train_control([root / "annotated.jsonl"], max_steps=3, batch_size=16))
    return made


@pytest.mark.parametrize("name", ["qe", "mdlm", "ar"])
def test_a_run_follows_its_classifiers(runs, name):
    tags = ("DET", "NOUN", "AUX", "ADJ", "PUNCT")
    spans = ((0, 5, "S"), (0, 2, "NP"), (2, 4, "VP"), (3, 4, "ADJP"))
    wanted = Wanted(says=(("what", "pub"),), pos=tags, spans=((0, 2, "NP"),), tree=(5, spans), without=("A",))
    samples = runs[name].generate(4, steps=4, wanted=wanted)
    for sample in samples:
        assert len(sample.ids) == 5 and "A" not in sample.text.split()
        assert set(sample.unmet) <= {
            "saying what=pub", "of the parts of speech DET NOUN AUX ADJ PUNCT", "with 0:2=NP", "of the tree",
        }  # fmt: skip
    plain = runs[name].generate(4, steps=4, wanted=Wanted(length=5, without=("A",)))
    logits = runs[name].reader
    assert logits.labels.tags == ("ADJ", "AUX", "DET", "NOUN", "PUNCT")
    if name == "qe":
        assert samples[0].nfe == plain[0].nfe == 4  # classifiers of vectors need no more of the network


@pytest.mark.parametrize("name", ["qe", "mdlm"])
def test_a_text_is_as_long_as_its_condition_lets_expect(runs, name, monkeypatch):
    """p(length) p(condition | length)^strength, by classifiers that see nothing but the length; drawn from the same
    numbers as without a condition, and paid for in evaluations where the network was asked."""
    run, law, seen = runs[name], runs[name].lengths, []

    def short(view):
        seen.append(view)
        return -0.5 * view.canvas.real.sum(1).double()

    monkeypatch.setattr(run.reader, "says", lambda field, value: Classified(log_p=short, name=f"{field}={value}"))
    every = list(range(law.least, law.longest + 1))
    u = [float(each) for each in Rng(7, range(40)).at("length").uniform()]

    def lengths(**options):
        samples = run.generate(40, steps=2, seed=7, wanted=Wanted(says=(("what", "pub"),)), **options)
        return [len(sample.ids) for sample in samples], [sample.nfe for sample in samples]

    for strength in (0.0, 2.0):
        seen.clear()
        found, nfe = lengths(steering=Steering(strength=strength))
        expected = [law.tilted(every, [-0.5 * strength * n for n in every]).draw(each) for each in u]
        assert found == expected
        first = seen[0]
        assert first.canvas.real.sum(1).tolist() == every and bool((first.noised.t == 1).all())
        assert len(nfe) == 40 and all(0 < each - (len(every) if name == "mdlm" else 0) <= 2 for each in nfe)
        if name == "mdlm":
            assert bool((first.noised.z == run.tokenizer.size)[first.canvas.real].all()), "something is written"
    assert sum(expected) < sum(found := lengths(soft=False)[0]) and found == [law.draw(each) for each in u]
    assert min(lengths(prefix="The old")[0]) > 2


def test_many_lengths_are_asked_of_evenly_and_the_rest_lies_between():
    law = Lengths((1,) * 200).given(9)
    seen = []

    def begun(lengths):
        seen.extend(lengths)
        canvas = free(lengths, list(range(len(lengths))), 0)
        return View(Noised(canvas.ids, torch.ones(len(lengths))), canvas, lambda: torch.empty(0))

    slope = Classified(log_p=lambda view: -0.01 * view.canvas.real.sum(1), weight=2.0)
    tilted, asked = tilted_lengths(law, [slope, slope], begun, 3.0)
    assert asked == len(seen) == 32 and (seen[0], seen[-1]) == (9, 200)
    assert max(b - a for a, b in itertools.pairwise(seen)) <= 7
    for n in range(10, 201):
        assert tilted.log_prob(n) - tilted.log_prob(n - 1) == pytest.approx(-0.12, rel=1e-5)


def test_classifiers_are_kept_with_what_they_are_and_how_right_they_were(runs, tmp_path):
    folder = runs["qe"].folder
    card = json.loads((folder / "control.json").read_text())
    assert card["labels"]["fields"] == {"what": ["", "pub", "river"]} and set(card["held_out"]) == {
        "fields", "tags", "phrases",
    }  # fmt: skip
    again, first = mezzotint.load(folder).reader, runs["qe"].reader
    state = again.net.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in first.net.state_dict().items())
    # They go with a run to others, who cannot train any into it; no path does.
    runs["qe"].save_pretrained(tmp_path / "given")
    given = mezzotint.load(tmp_path / "given")
    assert given.reader.labels == first.labels and str(folder.parent) not in (folder / "control.json").read_text()
    with pytest.raises(RunError, match="published"):
        given.train_control(["bistro"])


def test_what_classifiers_find_in_a_finished_text_is_said(runs, monkeypatch):
    monkeypatch.setattr(
        Classifiers, "field", lambda self, view, name: torch.eye(3)[1].double().expand(len(view.noised.z), 3)
    )
    monkeypatch.setattr(runs["mdlm"].system, "denoise", runs["mdlm"].system.denoise)
    held = runs["mdlm"].generate(4, steps=2, wanted=Wanted(says=(("what", "pub"),)))
    assert all(sample.unmet == () for sample in held)
    missed = runs["mdlm"].generate(4, steps=2, wanted=Wanted(says=(("what", "river"),)))
    assert all(sample.unmet == ("saying what=river",) for sample in missed)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"says": (("what", "pub"), ("what", "river"))}, "both"),
        ({"pos": ("DET", "NOUN"), "length": 3}, "2 and 3"),
        ({"spans": ((0, 3, "NP"), (2, 4, "VP"))}, "cross"),
        ({"spans": ((3, 9, "NP"),), "length": 5}, "no 3:9"),
        ({"tree": (2, ((0, 2, "S"),)), "spans": ((0, 1, "NP"),)}, "the tree has no NP"),
    ],
)
def test_what_contradicts_itself_is_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Wanted(**options)


@pytest.mark.parametrize("name", ["qe", "mdlm"])
def test_a_template_has_to_have_room_for_a_phrase(runs, name):
    wanted = Wanted(spans=((2, 5, "VP"),))
    with pytest.raises(UsageError, match="takes 5 tokens, and the template can be as short as 4"):
        runs[name].infill("The [2-4] .", 1, steps=2, wanted=wanted)
    (sample,) = runs[name].infill("The [3] .", 1, steps=2, wanted=wanted)
    assert len(sample.ids) == 5 and set(sample.unmet) <= {"with 2:5=VP"}


@pytest.mark.parametrize(
    ("steering", "sentence"),
    [
        ({"updates": 0}, "steering.updates must be at least 1"),
        ({"rate": -0.1}, "steering.rate must be above 0"),
        ({"rate": math.nan}, "steering.rate must be above 0"),
        ({"fluency": -5.0}, "steering.fluency must be at least 0"),
        ({"update": "sign"}, "steering.update must be an Update, not 'sign'"),
        ({"top_k": 2.5}, "steering.top_k must be a whole number, not 2.5"),
        ({"strength": "3"}, "steering.strength must be a number, not '3'"),
        ({"t_min": 2.0}, "steering.t_min and steering.t_max are times"),
    ],
)
def test_steerings_that_make_no_sense_are_refused(runs, steering, sentence):
    with pytest.raises(UsageError, match=sentence):
        runs["qe"].generate(1, steps=2, wanted=Wanted(length=3), steering=Steering(**steering))


def test_runs_without_classifiers_name_the_command_that_makes_them(runs, tmp_path, capsys):
    root = runs["qe"].folder.parent
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "tokenizer.json", "lengths.json", "model.safetensors"):
        (other / name).write_bytes((root / "qe" / name).read_bytes())
    assert main(["control", str(other), "--says", "what=pub"]) == 2
    assert f"mezzotint train-control {other} --data FILE" in capsys.readouterr()[1]
    assert main(["control", str(other), "--says", "what=pub", "--strength", "2"]) == 2
    assert "no tokens of qe-cdlm are weighed by classifiers; leave --strength out" in capsys.readouterr()[1]
    for name in ("control.json", "control.safetensors"):
        (other / name).write_bytes((root / "qe" / name).read_bytes())
    assert main(["control", str(other), "--says", "what=tree", "-n", "1"]) == 2
    assert "unknown value of what 'tree'; known: pub, river" in capsys.readouterr()[1]
    (other / "control.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="is not what control"):
        _ = mezzotint.load(other).reader
    (other / "model.safetensors").write_bytes((root / "qe" / "control.safetensors").read_bytes())
    with pytest.raises(RunError):
        _ = mezzotint.load(other).reader


def test_the_commands(runs, tmp_path, capsys):
    folder, data = runs["qe"].folder, runs["qe"].folder.parent / "annotated.jsonl"
    assert main(["train-control", str(folder), "--data", str(data), "--max-steps", "2", "--batch-size", "16"]) == 0
    assert "tags of held-out texts told right" in capsys.readouterr()[1]
    words = ["--pos", "DET NOUN AUX ADJ PUNCT", "--span", "0:2=NP", "--tree", "(S (NP * *) (VP * (ADJP *)) *)"]
    assert main(["control", str(folder), *words, "--says", "what=pub", "-n", "2", "--steps", "3", "--json"]) == 0
    assert all("unmet" in json.loads(line) for line in capsys.readouterr()[0].splitlines())
    for wrong, sentence in (
        (["--span", "2:1=NP"], "as in 3:7=NP"),
        (["--says", "what"], "FIELD=VALUE"),
        (["--tree", "(S"], "not closed"),
    ):
        assert main(["control", str(folder), *wrong]) == 2
        assert sentence in capsys.readouterr()[1]


def test_marks_of_the_tokenizer_are_no_words_that_could_be_meant(runs):
    with pytest.raises(UsageError, match="unknown word '<pad>'") as refused:
        runs["mdlm"].generate(1, wanted=Wanted(has=("<pad>",)))
    assert str(refused.value).count("<") == 1


def test_the_command_masks_again_and_says_when_that_could_help(runs, capsys, monkeypatch):
    asked = []
    stream = mezzotint.Run.stream
    monkeypatch.setattr(
        mezzotint.Run, "stream", lambda run, n, **options: asked.append(options) or stream(run, n, **options)
    )
    wanted = ["control", str(runs["mdlm"].folder), "--pos", "DET NOUN NOUN NOUN PUNCT", "-n", "2", "--steps", "3"]
    assert main(wanted) == 0
    assert "--remask 0.2 --steps 64 writes words anew" in capsys.readouterr()[1]
    assert main([*wanted, "--remask", "0.3"]) == 0
    assert "--remask" not in capsys.readouterr()[1]
    assert "decoder" not in asked[0] and (asked[1]["decoder"], asked[1]["strength"]) == ("remask", 0.3)
    assert main([*wanted, "--remask", "0.3", "--decoder", "remask-rescaled"]) == 0 and len(asked) == 3
    assert asked[2]["decoder"] == "remask-rescaled"
    capsys.readouterr()
    assert main([*wanted, "--remask", "0.3", "--decoder", "spread"]) == 2
    assert "leave --decoder spread out" in capsys.readouterr()[1]
    wanted[1] = str(runs["qe"].folder)
    assert main([*wanted, "--remask", "0.3"]) == 2
    assert "qe-cdlm has no decoder 'remask'" in capsys.readouterr()[1]
    assert main(wanted) == 0
    assert "--remask" not in capsys.readouterr()[1]


def test_words_are_for_runs_that_write_words(runs, monkeypatch):
    monkeypatch.setattr(runs["qe"].tokenizer, "kind", "bpe")
    with pytest.raises(CapabilityError, match="pieces of words"):
        runs["qe"].generate(1, wanted=Wanted(pos=("DET",)))


def test_gold_annotation_of_the_bundled_corpus():
    one = bistro_annotated("train", 1)[0]
    assert one.fields["name"] and one.tags and one.spans and Path(mezzotint.__file__).exists()


# ---- with a training, and for systems that are chosen from -----------------------------------------------------------


def test_qe_cdlm_trains_its_own_classifiers_where_the_texts_are_annotated(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    root = runs["qe"].folder.parent
    options = {"max_steps": 3, "settings": SETTINGS | {"width": "4"}}
    records = list(mezzotint.train("qe-cdlm", [root / "annotated.jsonl"], out=tmp_path / "told", **options))
    assert any("tags of held-out texts told right" in (record.note or "") for record in records)
    card = json.loads((tmp_path / "told" / "control.json").read_text())
    assert card["training"]["max_steps"] == 1
    assert mezzotint.load(tmp_path / "told").reader.labels.fields == {"what": ("", "pub", "river")}
    # It is told by the averaged weights, those that the run is read with.
    assert card["run"] == mezzotint.load(tmp_path / "told").weights_sha256
    for system, why in (("qe-cdlm", "has no annotation that can be read"), ("mdlm", None)):
        out = tmp_path / f"plain-{system}"
        settings = SETTINGS | ({"width": "4"} if system == "qe-cdlm" else {})
        notes = [r.note for r in mezzotint.train(system, [root / "texts.txt"], out=out, max_steps=3, settings=settings)]
        assert not (out / "control.json").exists()
        assert (why is None) or any(why in (note or "") and f"train-control {out}" in (note or "") for note in notes)


def test_annotation_without_anything_to_learn_is_refused(runs, tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"The pub {i}", "no": str(i)}) for i in range(40)))
    with pytest.raises(DataError, match="nothing to learn"):
        list(runs["qe"].train_control([tmp_path / "a.jsonl"], max_steps=2))


def test_a_run_that_writes_from_left_to_right_is_led_by_what_it_has_begun(runs, tmp_path):
    run = runs["ar"]
    held_out = json.loads((run.folder / "control.json").read_text())["held_out"]
    assert run.reader.net.end is not None and set(held_out) == {"fields", "tags", "phrases"}
    wanted = Wanted(says=(("what", "pub"),), length=5)
    # A length by hard means is exact; one that is only followed is what the classifiers make of it.
    assert all(len(sample.ids) == 5 for sample in run.generate(8, wanted=wanted))
    assert all(sample.unmet == () for sample in run.generate(4, wanted=Wanted(without=("A", "is old"), length=3)))
    run.generate(2, wanted=wanted, hard=False)
    with pytest.raises(CapabilityError, match="nothing tells it that 'pub' will come"):
        run.generate(2, wanted=Wanted(has=("pub",)))
    assert len(run.generate(1, wanted=Wanted(has=("pub",)), choose="best", candidates=2)) == 1
    # With its probability told as it is, a field is always met; a classifier that is sure of one word is obeyed.
    with pytest.MonkeyPatch.context() as patch:
        said = run.tokenizer.encode("pub")[0]

        def sure(self: Classifiers, view: View, name: str) -> torch.Tensor:
            has = (view.noised.z == said).any(1)
            odds = torch.where(has[:, None], torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.5, 0.0, 0.5]))
            return (odds.double() + 1e-9).log()

        patch.setattr(Classifiers, "field", sure)
        guided = run.generate(6, wanted=Wanted(says=(("what", "pub"),)))
        assert all(sample.ids[0] == said and sample.unmet == () for sample in guided)


def test_a_length_is_led_to_where_classifiers_tell_ends_and_kept_where_there_are_none(runs, tmp_path, monkeypatch):
    """So that a text of a length comes to its end, and is not only cut off at it."""
    asked, ends = [], Classifiers.ends
    monkeypatch.setattr(Classifiers, "ends", lambda self, view: asked.append(view) or ends(self, view))
    wanted = {"wanted": Wanted(length=4), "steps": 2}
    for options, guided in (({}, True), ({"soft": False}, False), ({"hard": False}, True)):
        asked.clear()
        texts = runs["ar"].generate(3, **wanted, **options)
        assert bool(asked) == guided, options
        assert options == {"hard": False} or [len(sample.ids) for sample in texts] == [4, 4, 4]
    folder = shutil.copytree(runs["ar"].folder, tmp_path / "untold")
    for kept in folder.glob("control.*"):
        kept.unlink()
    asked.clear()
    texts = mezzotint.load(folder).generate(3, **wanted)
    assert [len(sample.ids) for sample in texts] == [4, 4, 4] and not asked
    with pytest.raises(RunError, match="no classifiers"):
        mezzotint.load(folder).generate(3, **wanted, hard=False)


def test_classifiers_of_finished_texts_do_not_lead(runs, tmp_path):
    run, other = runs["ar"], tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "control.json", "control.safetensors"):
        (other / name).write_bytes((run.folder / name).read_bytes())
    card = json.loads((other / "control.json").read_text())
    card["spec"].pop("prefixes")
    (other / "control.json").write_text(json.dumps(card))
    with pytest.raises(RunError, match=f"still being written; `mezzotint train-control {other} --data FILE`"):
        _ = mezzotint.load(other).reader


def test_a_run_that_cannot_be_led_reads_finished_texts_and_chooses_among_them(runs):
    run, wanted = runs["sed"], Wanted(says=(("what", "pub"),))
    with pytest.raises(CapabilityError, match="sed cannot control"):
        run.generate(2, wanted=wanted)
    every = run.generate(4, steps=2, wanted=wanted, chosen=True)
    one = run.generate(1, steps=2, wanted=wanted, choose="best", candidates=4)[0]
    best = min(every, key=lambda each: (len(each.unmet), -each.chance))
    assert (one.text, one.chance) == (best.text, best.chance) and one.nfe == sum(each.nfe for each in every)


def test_what_is_chosen_is_the_best_of_its_candidates_read_by_themselves(runs):
    run, alone = runs["ar"], {"hard": False, "soft": False}
    wanted = Wanted(says=(("what", "pub"),), length=5)
    every = run.generate(6, wanted=wanted, chosen=True, **alone)
    taken = run.generate(2, wanted=wanted, choose="best", candidates=3, **alone)
    for i, one in enumerate(taken):
        some = every[3 * i : 3 * i + 3]
        best = min(some, key=lambda each: (len(each.unmet), -each.chance))
        assert (one.text, one.unmet, one.chance) == (best.text, best.unmet, best.chance)
        assert one.nfe == sum(each.nfe for each in some)
    # What stands behind the end of a text is not read: its chance is that of the text by itself.
    for one in every:
        ids = torch.tensor([[*one.ids, run.tokenizer.end][: run.spec.canvas]])
        canvas = mezzotint.Canvas(ids, torch.zeros_like(ids).bool(), torch.ones_like(ids).bool(), torch.arange(1))
        alone = run.reader.says("what", "pub").chance(ids, canvas)
        assert one.chance == pytest.approx(float(alone), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"choose": "bets"}, "did you mean 'best'"),
        ({"choose": "best", "candidates": 0}, "at least 1"),
        ({"choose": "mbr", "wanted": Wanted()}, "nothing is wanted"),
    ],
)
def test_what_cannot_be_chosen_by_is_refused(runs, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        runs["mdlm"].generate(1, **{"wanted": Wanted(length=3), **options})


def test_the_chosen_text_misses_least_and_then_is_the_surest_or_the_most_like_the_others():
    texts = ["a b c", "a b d", "x y z", "a b c d"]
    assert most_wanted(texts, [1, 1, 0, 1], [0.0, 0.0, -9.0, 0.0], ControlRanking.BEST) == 2
    assert most_wanted(texts, [0, 0, 0, 1], [-3.0, -1.0, -2.0, 0.0], ControlRanking.BEST) == 1
    assert most_wanted(texts, [0, 0, 0, 0], [0.0] * 4, ControlRanking.MBR) in (0, 3)
    assert most_wanted(texts, [1, 1, 0, 1], [0.0] * 4, ControlRanking.MBR) == 2


def test_the_command_leads_and_chooses_from_left_to_right(runs, capsys):
    folder = str(runs["ar"].folder)
    assert main(["control", folder, "--says", "what=pub", "--length", "5", "-n", "3"]) == 0
    assert len(capsys.readouterr()[0].splitlines()) == 3
    assert main(["control", folder, "--says", "what=pub", "-n", "2", "--choose", "best", "--candidates", "3"]) == 0
    assert len(capsys.readouterr()[0].splitlines()) == 2
    for words, said in (
        (["--has", "pub"], "nothing tells it that 'pub' will come"),
        (["--says", "what=pub", "--candidates", "3"], "--choose"),
        (["--says", "what=pub", "--choose", "mbr", "--watch"], "leave --watch out"),
    ):
        assert main(["control", folder, *words]) == 2
        assert re.search(said, capsys.readouterr()[1])
