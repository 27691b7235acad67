"""Gaps of open length: under the exact denoiser, lengths and fillings have the exact law given the rest of the text."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gaps import cut
from mezzotint.data.canvas import close_rows, pack, template_canvas
from mezzotint.data.lengths import Lengths
from mezzotint.data.template import Gap, parse_template
from mezzotint.data.tokenizer import Tokenizer, train_tokenizer
from mezzotint.errors import CapabilityError, UsageError
from mezzotint.rng import Rng
from mezzotint.run import Run
from mezzotint.sampler import lengths as choosing
from mezzotint.sampler.lengths import GapLengthSampler, combinations, log_evidence, middle
from mezzotint.spec.mdlm import MDLMSpec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems.mdlm import MDLM
from mezzotint.types import Ending
from tests.oracle import MaskedOracle, chi_square_p

CORPUS = {
    "a c": 3, "b c": 1, "a b c": 4, "a a c": 2, "b a c": 2, "c b a": 3, "a b b c": 5, "a c c b": 1, "b b a c": 2,
    "a b c b c": 2, "a a b a c": 1, "c c a b b": 2,
}  # fmt: skip
TOKENIZER = train_tokenizer("word", list(CORPUS) * 2, [])
LONGEST = 5
LENGTHS = Lengths.from_lengths([len(t.split()) for t, times in CORPUS.items() for _ in range(times)], LONGEST)
IDS = {text: TOKENIZER.encode(text) for text in CORPUS}


def run_of(system: MDLM, tokenizer: Tokenizer = TOKENIZER, lengths: Lengths | None = LENGTHS) -> Run:
    return Run(Path("nowhere"), {}, system, torch.device("cpu"), tokenizer, lengths)


def network(ending: Ending = Ending.LENGTH, lengths: Lengths | None = LENGTHS, canvas: int = LONGEST) -> MDLM:
    spec = MDLMSpec(vocab=TOKENIZER.size, canvas=canvas, ending=ending, net=TransformerSpec(dim=16, depth=1, heads=2))
    system = MDLM(spec, lengths)
    system.initialise(0)
    system.net.double()
    with torch.no_grad():
        system.net.embed.weight *= 30  # so that it has opinions
    return system


def exact(ending: Ending = Ending.LENGTH) -> MDLM:
    """A system whose network is the exact denoiser of the corpus; for Ending.FILL of whole canvases."""
    system = network(ending, canvas=LONGEST + (ending is Ending.FILL))
    rows = [torch.tensor(ids).numpy() for ids in IDS.values()]
    texts = list(IDS.values())
    if ending is Ending.FILL:
        texts = pack(rows, range(len(rows)), ending, LONGEST + 1, TOKENIZER.end, TOKENIZER.pad).ids.tolist()
    system.denoise = MaskedOracle(texts, list(CORPUS.values()), TOKENIZER.size)
    return system


def law(template: str, ending: Ending = Ending.LENGTH) -> dict[tuple, float]:
    """(lengths of the gaps, text) to probability, by enumeration of the corpus."""
    parsed = parse_template(template)
    of_length = Counter()
    for text, weight in CORPUS.items():
        of_length[len(IDS[text])] += weight
    found = {}
    for lengths in combinations(parsed.gaps, LONGEST):
        ids, known, _ = parsed.fill(TOKENIZER, lengths)
        for text, weight in CORPUS.items():
            agree = len(ids) == len(IDS[text]) and all(
                i == j for i, j, k in zip(ids, IDS[text], known, strict=True) if k
            )
            if agree and ending is Ending.LENGTH:
                found[lengths, text] = math.exp(LENGTHS.log_prob(len(ids))) * weight / of_length[len(ids)]
            elif agree:
                found[lengths, text] = float(weight)
    return found


def normal(weights: dict[tuple, float]) -> dict[tuple, float]:
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items()}


class EveryOrder:
    """In place of an Rng: a row for every order of `given` tokens and every number of them that are hidden."""

    def __init__(self, given: int) -> None:
        self.rows = list(product(permutations(range(given)), range(given)))
        self.given = given

    def at(self, purpose: object) -> EveryOrder:
        return self

    def stratified(self) -> torch.Tensor:
        return torch.tensor([(n + 0.5) / self.given for _, n in self.rows], dtype=torch.float64)

    def uniform(self, length: int) -> torch.Tensor:
        numbers = [[*(p / self.given for p in order), *[0.0] * (length - self.given)] for order, _ in self.rows]
        return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize("ending", [Ending.LENGTH, Ending.FILL], ids=["length", "fill"])
@pytest.mark.parametrize("template", ["a [1-3] c", "[1-4] b", "a [1-2] b [1]", "[1-3] c", "a [ ]"])
def test_the_evidence_over_all_orders_is_the_exact_probability_of_length_and_given_tokens(template, ending):
    parsed, system = parse_template(template), exact(ending)
    for lengths in {key[0] for key in law(template)}:
        canvas = template_canvas(parsed, TOKENIZER, [lengths], [0])
        if ending is Ending.FILL:
            canvas = close_rows(canvas, LONGEST + 1, TOKENIZER.end, TOKENIZER.pad, known=False)
        orders = EveryOrder(int(canvas.given.sum()))
        rows = canvas.rows(torch.zeros(len(orders.rows), dtype=torch.int64))
        expected = sum(p for (chosen, _), p in law(template, ending).items() if chosen == lengths)
        if ending is Ending.FILL:
            expected /= sum(CORPUS.values())
        assert float(-system.evidence(rows, orders).mean()) == pytest.approx(math.log(expected), abs=2e-6)


@pytest.mark.parametrize("ending", [Ending.LENGTH, Ending.FILL], ids=["length", "fill"])
@pytest.mark.parametrize("template", ["a [1-3] c", "[1-3] b [1-3]"])
def test_lengths_and_fillings_follow_the_exact_posterior(monkeypatch, template, ending):
    monkeypatch.setattr("mezzotint.tasks.DRAWS", 4000)
    samples = run_of(exact(ending)).infill(template, n=1000, steps=1_000_000)
    expected = normal(law(template, ending))
    assert len(expected) >= 4 and len({lengths for lengths, _ in expected}) >= 3
    assert chi_square_p(Counter((s.gaps, s.text) for s in samples), expected) > 1e-3


def test_a_row_of_any_length_meets_the_same_draws():
    """The k-th given token is hidden in one as it is in the other, in every draw."""
    system, seen = network(canvas=7, lengths=None), []
    denoise = system.denoise

    def spy(noised, cond, previous=None, at=None):
        seen.append(noised.z)
        return denoise(noised, cond, previous, at)

    system.denoise = spy
    parsed, each = parse_template("a [1-2] b [1-2] c"), [(1, 1), (2, 1), (2, 2)]
    for lengths in each:
        log_evidence(system, template_canvas(parsed, TOKENIZER, [lengths], [0]), seed=3, draws=12)
    hidden = []
    for z, lengths in zip(seen, each, strict=True):
        _, known, _ = parsed.fill(TOKENIZER, lengths)
        assert bool((z[:, ~torch.tensor(known)] == TOKENIZER.size).all()), "a gap was seen"
        hidden.append(z[:, torch.tensor(known)] == TOKENIZER.size)
    assert torch.equal(hidden[0], hidden[1]) and torch.equal(hidden[0], hidden[2])
    assert {int(n) for n in hidden[0].sum(1)} == {1, 2, 3} and len({tuple(row) for row in hidden[0].tolist()}) > 4


# -- the choice -------------------------------------------------------------------------------------------------------


def chooser(weights: dict[tuple[int, ...], float], gaps: list[Gap], room: int = 99) -> tuple[GapLengthSampler, list]:
    asked = []
    return GapLengthSampler(gaps, room, lambda lengths: asked.append(lengths) or weights[lengths], calls=5), asked


def drawn(choose: GapLengthSampler, n: int, seed: int = 0, **how) -> list:
    return choose(Rng(seed, range(n)), **how)


SKEWED = {(a, b): math.sin(5 * a + 3 * b) + a * b / 3 for a in range(1, 4) for b in range(2, 6)}
SKEWED_GAPS = [Gap(1, 3), Gap(2, 5)]


def test_few_combinations_are_drawn_from_the_softmax_of_their_weights():
    choose, asked = chooser(SKEWED, SKEWED_GAPS)
    choices = drawn(choose, 4000)
    assert sorted(asked) == sorted(SKEWED), "each is weighed once"
    assert {choice.nfe for choice in choices} == {5 * len(SKEWED)}
    expected = normal({key: math.exp(weight) for key, weight in SKEWED.items()})
    assert chi_square_p(Counter(choice.lengths for choice in choices), expected) > 1e-3


@pytest.mark.parametrize("room", [99, 6])
def test_too_many_are_drawn_gap_by_gap_given_the_other_gaps(monkeypatch, room):
    monkeypatch.setattr(choosing, "MAX_COMBINATIONS", 4)
    choose, asked = chooser(SKEWED, SKEWED_GAPS, room)
    choices = drawn(choose, 1000)
    assert len(asked) == len(set(asked))
    # The first gap while the second has its middle length, then the second.
    p = {key: math.exp(weight) for key, weight in SKEWED.items() if sum(key) <= room}
    first = normal({a: p[a, 3] for a in range(1, 4)})
    then = {a: normal({b: p[a, b] for b in range(2, 6) if (a, b) in p}) for a in first}
    expected = {(a, b): first[a] * then[a][b] for a in first for b in then[a]}
    assert chi_square_p(Counter(choice.lengths for choice in choices), expected) > 1e-3
    # The first gap's lengths are weighed, then the second's; one of them is weighed for both.
    assert all(choice.nfe == 5 * (3 + len(then[choice.lengths[0]]) - 1) for choice in choices)


def test_more_than_64_combinations_are_not_weighed_together():
    for many, weighed in (([Gap(1, 8)] * 2, 64), ([Gap(1, 8)] * 3, 8 + 7 + 7), ([Gap(1, 65), Gap(1, 1)], 65)):
        choose = GapLengthSampler(many, 999, lambda lengths: -float(sum(lengths)), calls=1)
        assert [choice.nfe for choice in drawn(choose, 4)] == [weighed] * 4
    separable = GapLengthSampler([Gap(1, 8)] * 3, 999, lambda lengths: -0.5 * lengths[0] + 0.3 * lengths[2], calls=1)
    found = Counter(choice.lengths for choice in drawn(separable, 1200))
    expected = normal({c: math.exp(-0.5 * c[0] + 0.3 * c[2]) for c in combinations([Gap(1, 8)] * 3, 99)})
    assert chi_square_p(found, expected) > 1e-3


@pytest.mark.parametrize("most", [64, 5])
def test_temperature_zero_takes_the_best_and_a_row_is_itself_in_any_batch(monkeypatch, most):
    monkeypatch.setattr(choosing, "MAX_COMBINATIONS", most)
    best = max(SKEWED, key=lambda key: SKEWED[key])
    if most == 64:
        assert {choice.lengths for choice in drawn(chooser(SKEWED, SKEWED_GAPS)[0], 9, temperature=0)} == {best}
    together = drawn(chooser(SKEWED, SKEWED_GAPS)[0], 9)
    alone = [chooser(SKEWED, SKEWED_GAPS)[0](Rng(0, [i]))[0] for i in range(9)]
    assert together == alone and len({choice.lengths for choice in together}) > 2
    assert drawn(chooser(SKEWED, SKEWED_GAPS)[0], 9, seed=1) != together


def test_gaps_of_one_length_cost_nothing():
    choose, asked = chooser({}, [Gap(3, 3), Gap(1, 8)], room=4)
    assert [(c.lengths, c.nfe) for c in drawn(choose, 2)] == [((3, 1), 0)] * 2 and not asked


few_gaps = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)).map(lambda p: Gap(p[0], p[0] + p[1])), max_size=4)


@given(few_gaps, st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_combinations_are_those_that_fit(gaps: list[Gap], spare: int) -> None:
    room = sum(gap.low for gap in gaps) + spare
    every = product(*(range(gap.low, gap.high + 1) for gap in gaps))
    assert list(combinations(gaps, room)) == [lengths for lengths in every if sum(lengths) <= room]
    assert middle(gaps, room) in set(combinations(gaps, room))
    assert middle(gaps, 99) == tuple((gap.low + gap.high) // 2 for gap in gaps)


def test_the_benchmark_cuts_gaps_that_the_truth_fills():
    rng = np.random.default_rng(0)
    found = [cut(TOKENIZER, text, gaps, rng) for text in CORPUS for gaps in (1, 2) for _ in range(30)]
    found = [each for each in found if each is not None]
    assert len({len(each.lengths) for each in found}) == 2 and len({each.parts for each in found}) > 20
    for each in found:
        template = parse_template(each.template([f"[{n}]" for n in each.lengths]))
        ids, known, start = template.fill(TOKENIZER, each.lengths)
        truth = IDS[each.text]
        assert len(template.gaps) == len(each.lengths) and len(ids) == len(truth)
        assert all(i == j for i, j, k in zip(ids, truth, known, strict=True) if k)
        assert all(TOKENIZER.spaced[i] == (demand > 0) for i, demand in zip(truth, start, strict=True) if demand)


# -- from a template to a text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["a [ ] c [1-3]", "[1-9][1-9] b [1-9] c [1-9] a [1-9]"])
def test_a_sample_is_the_same_in_any_batch(template):
    run = run_of(network(lengths=None, canvas=40), lengths=None)
    together = run.infill(template, n=8, seed=2)
    alone = run.infill(template, n=1, seed=2)
    by_three = [s for draft in run.stream(8, template=template, seed=2, batch_size=3) for s in draft.samples]
    assert by_three == together and alone == together[:1]
    assert len({s.gaps for s in together}) > 2


def test_a_text_has_the_lengths_that_it_says_and_pays_for_their_choice():
    run = run_of(network())
    *_, last = run.stream(6, template="a [1-2] b [ ]", steps=4)
    for sample, row, nfe in zip(last.samples, last.rows, last.nfe, strict=True):
        before, after = sample.gaps
        words = sample.text.split()
        assert words[0] == "a" and words[before + 1] == "b" and len(words) == len(row) == 2 + before + after <= LONGEST
        # Lengths 1 + 1, 1 + 2 and 2 + 1 fit, and 1 + 1 to 4 tokens take 1 to 4 calls.
        assert 16 * 3 < sample.nfe == nfe <= 16 * 3 + before + after
    assert run.infill("a [2] b")[0].nfe <= 2 and run.infill("a [2] b")[0].gaps == (2,)
    assert run.generate(1)[0].gaps == ()


def test_a_range_ends_where_the_canvas_does():
    run = run_of(network())
    assert {s.gaps for s in run.infill("a [2-999999999] c", n=30)} == {(2,), (3,)}
    with pytest.raises(UsageError, match="the template is 6 tokens long; this run's texts have at most 5"):
        run.infill("a [4-9] c")


def test_without_a_law_of_lengths_and_without_given_tokens_all_lengths_are_alike():
    counts = Counter(s.gaps for s in run_of(network(lengths=None), lengths=None).infill("[2-4]", n=600, steps=1))
    assert chi_square_p(counts, {(n,): 1 / 3 for n in (2, 3, 4)}) > 1e-3
    drawn_lengths = Counter(s.gaps for s in run_of(network()).infill("[1-5]", n=600, steps=1))
    assert chi_square_p(drawn_lengths, {(n,): math.exp(LENGTHS.log_prob(n)) for n in range(1, 6)}) > 1e-3


def test_whole_canvases_are_weighed_by_as_many_tokens_whatever_the_lengths():
    """By the given words and the end token: the padding behind it says nothing more, and its amount varies."""
    system, known = network(Ending.FILL), []
    weigh = system.evidence
    system.evidence = lambda canvas, rng: known.append(set(canvas.given.sum(1).tolist())) or weigh(canvas, rng)
    run_of(system).infill("a [1-3]")
    assert known == [{2}] * 3


def test_a_system_that_cannot_weigh_lengths_says_so():
    system = network()
    names = ("card", "spec", "players", "initialise", "losses", "sample", "nll")
    run = run_of(SimpleNamespace(**{name: getattr(system, name) for name in names}))
    with pytest.raises(CapabilityError, match=r"mdlm cannot choose the lengths of gaps; write \[3\]"):
        run.infill("a [1-2] c")
    assert run.infill("a [1] c")[0].text.startswith("a ")


def test_closed_rows_end_where_they_are_long():
    canvas = template_canvas(parse_template("a [1-3] c"), TOKENIZER, [[1], [3]], [4, 7])
    a, c = IDS["a c"]
    assert canvas.real.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    for known in (True, False):
        whole = close_rows(canvas, 7, TOKENIZER.end, TOKENIZER.pad, known=known)
        assert whole.ids.tolist() == [[a, 1, c, 0, 1, 1, 1], [a, 1, 1, 1, c, 0, 1]] and bool(whole.real.all())
        assert whole.given.tolist() == [
            [True, False, True, True, known, known, known], [True, False, False, False, True, True, known],
        ]  # fmt: skip
        assert whole.start.tolist() == [[0, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]]
        assert whole.index.tolist() == [4, 7]
