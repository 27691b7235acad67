"""Guidance from left to right: with an exact classifier of prefixes it is Bayes' rule, and a trained one comes near."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import exp, inf
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mezzotint.data.annotated import Annotated
from mezzotint.data.canvas import free, pack, pad_canvas
from mezzotint.data.labelled import labelled, labels_of
from mezzotint.guidance.constraint import Classified, Length, View
from mezzotint.guidance.control import Constraints
from mezzotint.guidance.fudge import fudge, prefix_view
from mezzotint.guidance.phrases import Absent
from mezzotint.net.classifier import ClassifierNet
from mezzotint.process.truncated import UNWRITTEN, Truncated
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import write
from mezzotint.spec.classifier import ClassifierSpec
from mezzotint.spec.transformer import Positions, TransformerSpec
from mezzotint.training.classifier import ClassifierTask
from mezzotint.types import Canvas, Ending, LogitsProcessor, Steering
from tests.oracle import chi_square_p

END, PAD, V, L = 0, 1, 5, 4
TEXTS = [(2, 3), (2, 3, 4), (2, 4), (3,), (3, 2, 2), (4, 3), (4, 4)]
WEIGHTS = [4.0, 2.0, 3.0, 2.0, 3.0, 4.0, 2.0]
Text = tuple[int, ...]

SAYS: dict[str, Callable[[Text], bool]] = {
    "has 4": lambda text: 4 in text,
    "two words": lambda text: len(text) == 2,
    "ends like 3": lambda text: text[-1] == 3,
}


class Exact:
    """The laws of a corpus of texts, each closed by END: of what follows a prefix, and of what it will lead to."""

    def __init__(self) -> None:
        self.closed = torch.tensor([[*text, END, *[PAD] * (L - 1 - len(text))] for text in TEXTS])
        self.sizes = torch.tensor([len(text) for text in TEXTS])
        self.weights = torch.tensor(WEIGHTS).double()

    def agreeing(self, prefixes: Tensor) -> Tensor:
        """(N, texts): the weights of those that begin so."""
        m = prefixes.shape[1]
        return (prefixes[:, None] == self.closed[None, :, :m]).all(-1) * self.weights

    def logits(self, prefixes: Tensor) -> Tensor:
        """(N, V) log p(token | before)."""
        follows = torch.nn.functional.one_hot(self.closed[:, prefixes.shape[1]], V).double()
        total = self.agreeing(prefixes) @ follows
        return (total / total.sum(1, keepdim=True)).log()

    def chance(self, holds: Callable[[Text], bool]) -> Callable[[Tensor, Tensor], Tensor]:
        """log p(a text will be so | how it begins)."""
        so = torch.tensor([holds(text) for text in TEXTS]).double()

        def read(rows: Tensor, prefixes: Tensor) -> Tensor:
            mass = self.agreeing(prefixes)
            return ((mass @ so) / mass.sum(1).clamp(min=1e-300)).log()

        return read

    def law(self, holds: Callable[[Text], bool] = lambda text: True) -> dict[Text, float]:
        kept = {text: w for text, w in zip(TEXTS, WEIGHTS, strict=True) if holds(text)}
        return {text: w / sum(kept.values()) for text, w in kept.items()}


def sample(exact: Exact, processor: LogitsProcessor | None, rows: int, canvas: Canvas | None = None) -> Counter[Text]:
    """Texts by the loop that writes for users."""
    before = torch.empty(rows, 0, dtype=torch.int64)

    def next_logits(keep: Tensor, fresh: Tensor) -> Tensor:
        nonlocal before
        # The start symbol is no part of what was written.
        before = before if not before.shape[1] and fresh[0, 0] == END else torch.cat([before[keep], fresh], 1)
        return exact.logits(before).float()

    canvas = canvas or free([L] * rows, list(range(rows)), PAD)
    options = {"start": END, "end": END, "pad": PAD, "temperature": 1.0, "top_p": 1.0, "spaced": None}
    *_, last = write(next_logits, canvas, Rng(0, range(rows)), processor=processor, **options)
    return Counter(tuple(i for i in row if i not in (END, PAD)) for row in last.ids.tolist())


# ---- Bayes' rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", SAYS)
def test_with_an_exact_classifier_and_all_tokens_the_law_is_bayes_rule(what):
    """By enumeration: the product of the guided odds of a text's tokens is p(text | condition), to the last digit."""
    exact, expected = Exact(), Exact().law(SAYS[what])
    for text in TEXTS:
        total = 1.0
        for place, token in enumerate((*text, END)):
            before = torch.tensor([text[:place]], dtype=torch.int64)
            odds = fudge(exact.logits(before), before, exact.chance(SAYS[what]), V, 1.0).softmax(-1)
            total *= float(odds[0, token])
            if not total:
                break
        assert total == pytest.approx(expected.get(text, 0.0), abs=1e-12), text


@pytest.mark.parametrize("what", SAYS)
def test_the_samples_of_the_loop_follow_it(what):
    exact, rows = Exact(), 2000
    read = exact.chance(SAYS[what])

    def log_p(view: View) -> Tensor:
        m = int((view.noised.z[0] != UNWRITTEN).sum())
        return read(torch.arange(len(view.noised.z)), view.noised.z[:, :m])

    canvas = free([L] * rows, list(range(rows)), PAD)
    processor = Constraints([Classified(log_p=log_p)], Steering(strength=1.0), hard=False).logits_processor(
        canvas, END, V
    )
    found = sample(exact, processor, rows)
    assert chi_square_p(found, exact.law(SAYS[what])) > 1e-3
    # Unguided, the corpus itself: the test can tell the two apart.
    assert chi_square_p(found, exact.law()) < 1e-6
    assert chi_square_p(sample(exact, None, rows), exact.law()) > 1e-3


@pytest.mark.parametrize("hard", [True, False])
def test_a_length_that_is_followed_is_bayes_rule_where_its_ends_are_told_exactly(hard):
    """Cut off besides or not."""
    exact, rows = Exact(), 2000

    def ends(view: View) -> Tensor:
        z = view.noised.z
        mass = exact.agreeing(z[:, : int((z[0] != UNWRITTEN).sum())])
        places = torch.arange(z.shape[1])[:, None]
        here, beyond = mass @ (exact.sizes == places).double().T, mass @ (exact.sizes > places).double().T
        reached = (here + beyond).clamp(min=1e-300)
        return torch.stack([(beyond / reached).log(), (here / reached).log()], -1)

    control = Constraints([Length(tokens=2, end=END, ends=ends)], Steering(strength=1.0), hard=hard)
    canvas = control.canvas(free([L] * rows, list(range(rows)), PAD), V, (PAD,))
    assert canvas.ids.shape[1] == (2 if hard else L)
    found = sample(exact, control.logits_processor(canvas, END, V), rows, canvas)
    assert chi_square_p(found, exact.law(lambda text: len(text) == 2)) > 1e-3


def test_the_strength_is_a_power_and_what_is_not_weighed_is_never_written():
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    before, chances = torch.zeros(1, 2, dtype=torch.int64), torch.tensor([0.1, 0.5, 0.9, 1.0]).double().log()

    def chance(rows: Tensor, prefixes: Tensor) -> Tensor:
        assert prefixes.shape[1] == 3
        return chances[prefixes[:, -1]]

    for strength in (0.0, 1.0, 2.0):
        expected = logits.exp() * chances.exp() ** strength
        odds = fudge(logits, before, chance, 4, strength).softmax(-1)
        assert torch.allclose(odds, (expected / expected.sum()).float())
    assert fudge(logits, before, chance, 2, 1.0).softmax(-1)[0].tolist() == pytest.approx([4 / 19, 15 / 19, 0, 0])
    # The end is one of them.
    told = fudge(logits, before, chance, 2, 1.0, end=3).softmax(-1)[0].tolist()
    assert told == pytest.approx([4 / 14, 0, 0, 10 / 14])
    # Where all candidates make it impossible, nothing is told.
    never = lambda rows, prefixes: torch.full((len(rows),), -inf).double()  # noqa: E731
    assert torch.equal(fudge(logits, before, never, 2, 1.0), logits)


def test_hard_means_bar_the_end_before_a_length_and_the_last_word_of_a_phrase():
    exact, rows = Exact(), 400
    control = Constraints([Length(tokens=2, end=END), Absent(phrases=((2, 3), (4, 4)))], soft=False)
    canvas = control.canvas(free([L] * rows, list(range(rows)), PAD), V, (PAD,))
    assert canvas.ids.shape == (rows, 2)
    found = sample(exact, control.logits_processor(canvas, END, V), rows, canvas)
    assert set(found) == {(2, 4), (3, 2), (4, 3)}


def test_what_is_begun_is_real_up_to_its_end_or_as_far_as_it_may_go():
    prefixes, lengths = torch.tensor([[2, 3], [2, END]]), torch.tensor([4, 4])
    view = prefix_view(prefixes, lengths, 4, END, V)
    assert view.noised.z.tolist() == [[2, 3, UNWRITTEN, UNWRITTEN], [2, END, UNWRITTEN, UNWRITTEN]]
    assert view.canvas.real.tolist() == [[True] * 4, [True, True, False, False]]
    assert view.odds.sum(-1).tolist() == [[1, 1, 0, 0]] * 2
    short = prefix_view(prefixes, torch.tensor([3, 4]), 4, None, V)
    assert short.canvas.real.sum(1).tolist() == [3, 4]


def test_a_row_is_read_as_far_as_it_may_go_and_what_ends_short_is_not_so():
    seen: list[View] = []

    def log_p(view: View) -> Tensor:
        seen.append(view)
        return torch.zeros_like(view.noised.t)

    control = Constraints([Classified(log_p=log_p, words=2)], Steering(strength=1.0), hard=False)
    processor = control.logits_processor(free([L], [0], PAD), END, V)
    moved, view = processor(torch.zeros(1, V), torch.tensor([0]), torch.tensor([[2]])), seen.pop()
    assert moved[0, END] == -inf and bool(moved[0, PAD:].isfinite().all())
    ended = view.noised.z[:, 1] == END
    assert view.noised.z.shape == (V, 3) and view.canvas.real.sum(1).tolist() == [2 if e else 3 for e in ended]
    # Behind the words that are told of, a text may end.
    assert bool(processor(torch.zeros(1, V), torch.tensor([0]), torch.tensor([[2, 3]])).isfinite().all())
    # Where lengths are drawn first, no row goes beyond its own.
    rows = free([L, 1, L], [0, 1, 2], PAD)
    control.logits_processor(rows, None, V)(
        torch.zeros(2, V), torch.tensor([1, 2]), torch.empty(2, 0, dtype=torch.int64)
    )
    assert seen.pop().canvas.real.sum(1).tolist() == [1] * V + [2] * V


# ---- what is learned -------------------------------------------------------------------------------------------------


def test_every_length_of_a_beginning_is_as_likely():
    rows, t = 4000, (torch.arange(4000).double() + 0.5) / 4000
    real = (torch.arange(5) < 4).expand(rows, -1)
    z = Truncated().corrupt(torch.full((rows, 5), 7), t, real).z
    count = (z != UNWRITTEN).sum(1)
    assert torch.bincount(count).tolist() == [800] * 5
    assert bool(Truncated().corrupt(torch.full((1, 5), 7), torch.zeros(1).double(), real[:1]).z.eq(7).sum() == 4)
    assert bool((z[:, 4] == UNWRITTEN).all())


def test_a_trained_classifier_says_of_prefixes_what_bayes_rule_says():
    """p(field | prefix) and p(length | prefix) against the corpus, at every prefix that there is."""
    exact = Exact()
    texts = [text for text, weight in zip(TEXTS, WEIGHTS, strict=True) for _ in range(int(weight) * 4)]
    notes = [Annotated("", {"x": "yes" if SAYS["ends like 3"](text) else "no"}) for text in texts]
    labels, n = labels_of(notes), len(texts)
    net_spec = TransformerSpec(dim=64, depth=1, heads=2, positions=Positions.START, neighbours=5)
    net = ClassifierNet(ClassifierSpec(width=8, canvas=L, vocab=V, net=net_spec, words=V, prefixes=True), labels)
    net.initialise(torch.Generator().manual_seed(0))
    system = SimpleNamespace(process=Truncated(), spec=SimpleNamespace(ending=Ending.SYMBOL))
    lesson = ClassifierTask(system, net)
    rows = [torch.tensor(text).numpy() for text in texts]
    canvas = pad_canvas(pack(rows, range(n), Ending.SYMBOL, L, END, PAD), L, PAD)
    batch = labelled(canvas, notes, [len(text) for text in texts], labels)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / 300)
        (loss,) = lesson.losses(batch, Rng(0, range(n), f"{step}", n))
        optimiser.zero_grad()
        (loss.total / loss.count).backward()
        optimiser.step()
    reader = lesson.reader(labels)
    says, off = reader.says("x", "yes"), []
    beginnings = {(*text, END)[:m] for text in TEXTS for m in range(L) if m <= len(text) + 1}
    for beginning in sorted(beginnings):
        prefix = torch.tensor([beginning], dtype=torch.int64)
        with torch.no_grad():
            alone = prefix_view(prefix, torch.tensor([L]), len(beginning) or 1, END, V)
            far = prefix_view(prefix, torch.tensor([L]), L, END, V)
            said = float(says.log_p(alone).exp())
            long = float(Length(tokens=2, end=END, ends=reader.ends).log_chance(far).exp())
        for told, holds in ((said, SAYS["ends like 3"]), (long, SAYS["two words"])):
            off.append(abs(told - exp(float(exact.chance(holds)(torch.zeros(1).long(), prefix)))))
    assert len(off) > 30 and sum(off) / len(off) < 0.05 and max(off) < 0.25
