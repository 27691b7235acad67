"""Translating: a line for a line whatever the lines are, the choice among candidates by hand, scores by hand."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sacrebleu import corpus_bleu

import mezzotint
from mezzotint.cli.main import main
from mezzotint.data.canvas import pack_sources
from mezzotint.errors import CapabilityError, RunError, UsageError
from mezzotint.evaluate.overlap import bleu, overlap
from mezzotint.guidance.choose import best_scored, most_agreed, sentence_bleu
from mezzotint.translation.write import log_p_of
from mezzotint.types import Request

WORDS = ["rot", "blau", "alt", "neu", "haus", "fluss", "am", "steht"]
SETTINGS = {"dim": "32", "depth": "1", "heads": "2", "hidden": "32", "batch": "16", "lr": "0.01"}
LINES = ["rot haus am fluss", "alt", "", "neu neu blau", "steht " * 40, "rot xyz", "haus steht am fluss", "   "]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()
    patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
    lines = [[WORDS[(i * k + k) % 8] for k in range(1, 3 + i % 5)] for i in range(120)]
    text = "".join(json.dumps({"de": " ".join(w), "en": " ".join(w[::-1]).upper()}) + "\n" for w in lines)
    (root / "pairs.jsonl").write_text(text)
    made = {}
    for name, seed in (("ar-seq2seq", 0), ("cmlm", 0), ("difformer", 0), ("scorer", 1)):
        system = "ar-seq2seq" if name == "scorer" else name
        more = {"width": "16"} if system == "difformer" else {}
        list(
            mezzotint.train(
                system, [root / "pairs.jsonl"], valid=[root / "pairs.jsonl"], source="de", target="en", seed=seed,
                out=root / name, max_steps=30, settings=SETTINGS | more,
            )
        )  # fmt: skip
        made[name] = mezzotint.load(root / name)
    yield made
    patch.undo()


ALL = {"ar-seq2seq": 5, "cmlm": 5, "difformer": 10}
"""And how many candidates each has, unless others are asked for."""


@pytest.mark.parametrize("name", ALL)
def test_a_line_for_a_line_and_bad_ones_disturb_no_other(runs, name: str) -> None:
    run = runs[name]
    run.system.net.double()
    found = list(mezzotint.translate(run, LINES, seed=3))
    few = list(mezzotint.translate(run, [LINES[i] for i in (0, 1)], seed=3, batch_size=1))
    run.system.net.float()
    assert [t.index for t in found] == list(range(len(LINES))) and [t.source for t in found] == LINES
    notes = {t.index: t.note for t in found if t.note}
    assert set(notes) == {2, 4, 5, 7} and "nothing in it" in notes[2] and "reads at most" in notes[4]
    assert notes[5] == "this run does not know xyz"
    assert all(not found[i].text and not found[i].nfe for i in (2, 4, 7))
    for i in (0, 1, 3, 5, 6):
        assert found[i].nfe and {len(found[i].candidates), len(found[i].scores)} == {ALL[name]}
        chosen = [one for one, text in zip(found[i].scores, found[i].candidates, strict=True) if text == found[i].text]
        assert found[i].score in chosen
    assert [t.text for t in few] == [found[0].text, found[1].text]
    assert all("<" not in c for t in found for c in t.candidates)


def test_a_length_is_a_symbol_of_the_score_and_candidates_agree_as_equals(runs) -> None:
    run, line = runs["difformer"], "rot haus am fluss"
    (found,) = mezzotint.translate(run, [line], candidates=(3, 2), choose="mbr", steps=4)
    source = pack_sources([np.array(run.tokenizer.encode(line))], [0], run.spec.source_canvas, 0, run.tokenizer.pad)
    with torch.no_grad():
        log_p = run.system.net.length(run.system.net.encode(source), source.real)[0].double()
    sketch = run.system.sketch(source, 3, 2)
    lengths = sketch.canvas.real.sum(1)
    utility, texts = sentence_bleu(), found.candidates
    risks = [sum(utility(text, other) for j, other in enumerate(texts) if j != i) for i, text in enumerate(texts)]
    assert len(texts) == 6 and risks[texts.index(found.text)] == pytest.approx(max(risks))
    forbidden = tuple(sorted(run.tokenizer.special))
    *_, frame = run.system.sample(Request(sketch.canvas, steps=4, forbidden=forbidden, temperature=0.5))
    for row, n in enumerate(lengths.tolist()):
        nats = float(frame.confidence[row, :n].double().log().sum()) + float(log_p[n - 1])
        assert found.scores[row] == pytest.approx(nats / (n + 1), rel=1e-3)


def test_candidates_are_lengths_times_texts_of_each(runs) -> None:
    run = runs["difformer"]
    run.system.net.double()
    (found,) = mezzotint.translate(run, ["rot haus am fluss"], candidates=(3, 4), choose="likelihood", steps=8)
    lengths = [len(text.split()) for text in found.candidates]
    assert len(lengths) == 12 and all(len(set(lengths[i : i + 4])) == 1 for i in (0, 4, 8))
    assert {abs(n - lengths[0]) for n in lengths} == {0, 1}
    assert found.nfe == 12 * 6 and len(set(found.candidates)) >= 3
    (one,) = mezzotint.translate(run, ["rot haus am fluss"], candidates=(1, 1), choose="likelihood", steps=8)
    assert one.text == found.candidates[0]
    run.system.net.float()


def test_the_beam_is_chosen_by_its_own_likelihood_and_that_is_the_runs(runs) -> None:
    run = runs["ar-seq2seq"]
    for found in mezzotint.translate(run, ["rot haus am fluss", "alt neu"], candidates=(1, 4)):
        scores = log_p_of(run, [(found.source, text) for text in found.candidates])
        assert found.text == found.candidates[0]
        # The search gives what is never written (padding, unknown words) no share of the probability.
        assert scores[0] <= found.score <= scores[0] + 0.03


def test_another_run_chooses_what_it_likes_best(runs) -> None:
    run, scorer = runs["difformer"], runs["scorer"]
    for found in mezzotint.translate(run, ["rot haus am fluss", "alt neu"], choose="ar", scorer=scorer):
        scores = log_p_of(scorer, [(found.source, text) for text in found.candidates])
        assert found.text == found.candidates[scores.index(max(scores))]
        plain = next(iter(mezzotint.translate(run, [found.source], choose="likelihood")))
        assert found.nfe == plain.nfe + 10
    assert log_p_of(scorer, [("rot " * 50, "ROT"), ("rot", "ROT")])[0] == -math.inf


def test_the_scorers_mean_is_over_symbols(runs) -> None:
    run = mezzotint.load(runs["scorer"].folder, precision="fp32")
    (score,) = log_p_of(run, [("rot haus", "HAUS ROT")])
    ids = [*run.tokenizer.encode("HAUS ROT"), 0]
    source = torch.tensor([[*run.tokenizer.encode("rot haus"), 0]])
    with torch.no_grad():
        memory = run.system.net.read(source, torch.ones_like(source, dtype=torch.bool))
        log_p = run.system.net(torch.tensor([[0, *ids[:-1]]]), memory).log_softmax(-1)[0]
    assert score == pytest.approx(float(log_p[range(len(ids)), ids].mean()), rel=1e-4)


def test_agreement_is_the_mean_utility_against_all_others() -> None:
    table = {("a", "b"): 3.0, ("a", "c"): 0.0, ("b", "a"): 1.0, ("b", "c"): 1.0, ("c", "a"): 0.0, ("c", "b"): 2.9}
    asked = []

    def utility(hypothesis: str, reference: str) -> float:
        asked.append((hypothesis, reference))
        return 10.0 if hypothesis == reference else table[hypothesis, reference]

    assert most_agreed(["c", "b", "a"], utility) == 2  # 1.45, 1, 1.5: the hypothesis is what is chosen
    assert most_agreed(["b", "a", "c", "c"], utility) == 2  # (10 + 2.9) / 3 against 1 and 1: equals agree
    asked.clear()
    assert most_agreed(["a", "a", "b", "a"], utility) == 0 and len(asked) <= 6
    # A text is no reference of its own, whatever it would have of itself: 0 against 1.
    assert most_agreed(["x", "a"], lambda one, other: 100.0 if one == other == "x" else float(one == "a")) == 1
    assert most_agreed(["x"], utility) == 0 and most_agreed(["x", "x"], utility) == 0
    assert best_scored([1.0, 3.0, 3.0, -math.inf]) == 1
    assert sentence_bleu()("a cat sat on a mat", "a cat sat on a mat") == pytest.approx(100)


def test_a_walk_adds_half_of_the_noise_or_none_where_a_length_has_one_text(runs) -> None:
    def usual(name: str, **how: object) -> float:
        return mezzotint.asked_of(runs[name], **how).temperature  # type: ignore[arg-type]

    assert usual("difformer") == usual("difformer", candidates=(1, 2)) == 0.5
    assert usual("difformer", candidates=(5, 1)) == usual("cmlm") == 0
    assert usual("difformer", decoder="ddim") == usual("ar-seq2seq", decoder="exact") == 1
    assert usual("difformer", temperature=0.7) == 0.7


@pytest.mark.parametrize(
    ("name", "how", "error", "sentence"),
    [
        ("difformer", {"choose": "ar"}, UsageError, "name the run that scores"),
        ("difformer", {"choose": "mbb"}, UsageError, "did you mean 'mbr'"),
        ("difformer", {"decoder": "beam"}, CapabilityError, "no decoder 'beam'"),
        ("difformer", {"stepz": 3}, UsageError, "did you mean 'steps'"),
        ("difformer", {"candidates": (0, 2)}, UsageError, "at least one length"),
        ("difformer", {"top_p": 0.5}, CapabilityError, "has no odds of tokens to cut"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(runs, name, how, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        list(mezzotint.translate(runs[name], ["rot"], **how))


def test_other_runs_and_other_tasks_are_refused(runs) -> None:
    with pytest.raises(RunError, match="a scorer must be a run of ar-seq2seq"):
        list(mezzotint.translate(runs["difformer"], ["rot"], choose="ar", scorer=runs["difformer"]))
    with pytest.raises(CapabilityError, match="writes from a source"):
        runs["difformer"].generate(1)


def test_the_command_keeps_lines_apart(runs, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    lines = [b"rot haus\n", b"\xff\xfe\n", b"\n", b"steht " * 40 + b"\n", b"alt neu"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"".join(lines))))
    assert main(["translate", str(runs["ar-seq2seq"].folder)]) == 0
    out, err = capsys.readouterr()
    written = out.split("\n")
    assert len(written) == 6 and written[5] == "" and written[1:4] == ["", "", ""]
    plain = [t.text for t in mezzotint.translate(runs["ar-seq2seq"], ["rot haus", "alt neu"])]
    assert [written[0], written[4]] == plain
    said = err.splitlines()
    assert "line 2: it is not UTF-8 text; an empty line stands for it" in said
    assert any(line.startswith("line 4: it is 4") and "reads at most" in line for line in said)


def test_the_command_reads_fields_of_records(runs, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    text = '{"de": "rot haus"}\n{"en": "x"}\nno\n{"de": 3}\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["translate", str(runs["difformer"].folder), "--source", "de", "--candidates", "2x1", "--json"]) == 0
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [bool(r["candidates"]) for r in records] == [True, False, False, False]
    assert [r["note"] for r in records[1:]] == [
        "there is no field 'de' in it", "it is no JSON object", "the field 'de' is no text",
    ]  # fmt: skip
    assert err.count("an empty line stands for it") == 3


def test_wrong_calls_are_refused(runs, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(runs["difformer"].folder)
    for words, sentence in (
        (["translate", folder, "--choose", "ar"], "--choose ar needs --scorer RUN"),
        (["translate", folder, "--candidates", "5by2"], "lengths x texts of each, as in 5x2"),
        (["sample", folder], "difformer writes from a source; use `mezzotint translate"),
        (["infill", folder, "a [2]"], "difformer cannot infill"),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err


def test_scores_are_those_of_sacrebleu_and_their_error_is_over_texts() -> None:
    texts = ["the cat sat on the mat", "a dog runs in the park now", "Two men", "he is"]
    references = ["the cat sat on a mat", "a dog runs through the park", "Two men are here", "she was"]
    score = bleu("sacrebleu", texts, [[one] for one in references])
    assert score.value == pytest.approx(corpus_bleu(texts, [references]).score)
    assert "tok:13a" in score.note and "version:" in score.note and score.stderr > 1
    found = {s.name: s for s in overlap([*texts, "same"], [[one] for one in [*references, "same"]])}
    assert found["exact_match"].value == 0.2 and found["length_ratio"].value == pytest.approx(18 / 19)
    assert bleu("bleu_lower", ["A B C D"], [["a b c d"]], lowercase=True).value == pytest.approx(100)


def test_of_several_references_each_text_may_follow_any() -> None:
    texts = ["the cat sat on the mat", "he is here"]
    references = [["a dog ran", "the cat sat on the mat"], ["she was there now"]]
    found = {s.name: s.value for s in overlap(texts, references)}
    streams = [["a dog ran", "she was there now"], ["the cat sat on the mat", None]]
    assert found["sacrebleu"] == pytest.approx(corpus_bleu(texts, streams).score)
    assert found["exact_match"] == 0.5 and found["length_ratio"] == pytest.approx(9 / 10)
    assert math.isnan(found["rouge_l"]) or found["rouge_l"] == 0.5
    alone = {s.name: s.value for s in overlap(texts, [each[:1] for each in references])}
    assert all(alone[name] < found[name] for name in ("sacrebleu", "bleu_lower", "chrf", "exact_match"))


@pytest.mark.parametrize("name", ALL)
def test_evaluate_scores_pairs(runs, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mezzotint.assess.scores.report", lambda run: run)
    run = runs[name]
    data = run.folder.parent / "few.jsonl"
    rows = [json.loads(line) for line in (run.folder.parent / "pairs.jsonl").read_text().splitlines()[:12]]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {s.name: s for _, s in mezzotint.evaluate_run(run.folder, [data])}
    assert {"bound_nats_per_token", "sacrebleu", "bleu_lower", "chrf", "rouge_l", "length_ratio", "nfe"} <= set(scores)
    assert scores["bound_nats_per_token"].value > 0 and scores["sacrebleu"].n == 12
    if name == "ar-seq2seq":
        symbols = [len(run.tokenizer.encode(row["en"])) + 1 for row in rows]
        nats = [-s * n for s, n in zip(log_p_of(run, [(r["de"], r["en"]) for r in rows]), symbols, strict=True)]
        assert scores["bound_nats_per_token"].value == pytest.approx(sum(nats) / sum(symbols), rel=1e-4)


def test_a_published_run_says_how_it_is_used(runs, tmp_path: Path) -> None:
    runs["difformer"].save_pretrained(tmp_path / "published")
    card = (tmp_path / "published/README.md").read_text()
    assert "It can translate." in card and 'mezzotint.translate(run, ["..."])' in card and "generate" not in card
    loaded = mezzotint.from_pretrained(tmp_path / "published")
    lines = ["rot haus", "alt neu"]
    both = [[t.text for t in mezzotint.translate(run, lines)] for run in (loaded, runs["difformer"])]
    assert both[0] == both[1]
