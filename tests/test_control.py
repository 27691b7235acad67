"""Constraints: their probabilities by enumeration, their sums, what they refuse; guided samples against Bayes' rule."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch

from mezzotint.errors import CapabilityError, UsageError
from mezzotint.guidance.constraint import Classified, Constraint, Length, View, log
from mezzotint.guidance.control import Constraints, settled_request
from mezzotint.guidance.masked import Filled
from mezzotint.guidance.phrases import Absent, Contains
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.gaussian import Gaussian, SqrtVariance
from mezzotint.process.schedule import LogLinear
from mezzotint.rng import Rng
from mezzotint.sampler.drive import drive
from mezzotint.sampler.gaussian import GaussianStep, ancestral
from mezzotint.sampler.reveal import Reveal
from mezzotint.sampler.steered import Steered, steer
from mezzotint.settings import Settings
from mezzotint.spec.diffusion_lm import DiffusionLMSpec
from mezzotint.spec.mdlm import MDLMSpec
from mezzotint.spec.qe_cdlm import QECDLMSpec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems.diffusion_lm import DiffusionLM
from mezzotint.systems.mdlm import MDLM
from mezzotint.systems.qe_cdlm import QECDLM
from mezzotint.types import Canvas, Decoder, Ending, Noised, Prediction, Request, Steering, Update
from tests.oracle import TEXTS, WEIGHTS, GaussianOracle, blank, chi_square_p

V, L = 4, 3


def odds(rows: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, L, V, generator=torch.Generator().manual_seed(seed)).double().softmax(-1)


def view(p: torch.Tensor, canvas: Canvas | None = None) -> View:
    return View(Noised(torch.zeros(len(p), L), torch.ones(len(p))), canvas or blank(len(p), L), lambda: p)


def mass(p: torch.Tensor, holds) -> list[float]:
    """By enumeration: the probability of the texts that hold, positions being independent."""
    texts = list(itertools.product(range(V), repeat=L))
    each = [torch.stack([p[:, i, token] for i, token in enumerate(text)]).prod(0) for text in texts]
    chosen = [q for text, q in zip(texts, each, strict=True) if holds(text)]
    return torch.stack(chosen).sum(0).tolist()


@dataclass(frozen=True, kw_only=True)
class Pinned(Constraint):
    """Tokens at their positions, counted from 0: the simplest constraint on single positions."""

    words: Mapping[int, int]

    def settle(self, canvas: Canvas) -> Canvas:
        ids, given = canvas.ids.clone(), canvas.given.clone()
        for position, token in self.words.items():
            ids[:, position], given[:, position] = token, True
        return replace(canvas, ids=ids, given=given)

    @property
    def is_multilinear(self) -> bool:
        return True

    @property
    def is_enforced(self) -> bool:
        return True

    def log_chance(self, view: View) -> torch.Tensor:
        return torch.stack([log(view.odds[:, place, word]) for place, word in self.words.items()]).sum(0)

    def holds(self, ids: torch.Tensor, canvas: Canvas) -> torch.Tensor:
        return torch.stack([ids[:, place] == word for place, word in self.words.items()]).all(0)


@dataclass(frozen=True, kw_only=True)
class Forbidden(Constraint):
    """Ids that stand nowhere."""

    ids: tuple[int, ...]

    def banned(self, canvas: Canvas) -> tuple[torch.Tensor, tuple[int, ...]]:
        return canvas.real, self.ids

    @property
    def is_multilinear(self) -> bool:
        return True

    @property
    def is_enforced(self) -> bool:
        return True

    def log_chance(self, view: View) -> torch.Tensor:
        return (log(1 - view.odds[..., list(self.ids)].sum(-1)) * view.canvas.free).sum(1)

    def holds(self, ids: torch.Tensor, canvas: Canvas) -> torch.Tensor:
        return ~(torch.isin(ids, torch.tensor(self.ids, device=ids.device)) & canvas.real).any(1)


# ---- one constraint --------------------------------------------------------------------------------------------------

CASES = [
    (Pinned(words={0: 1, 2: 3}), lambda t: t[0] == 1 and t[2] == 3),
    (Forbidden(ids=(0, 2)), lambda t: not {0, 2} & set(t)),
    (Contains(phrases=((1,), (2,))), lambda t: bool({1, 2} & set(t))),
    (Length(tokens=2, end=0, pad=3), lambda t: t[2] == 0 and not {0, 3} & set(t[:2])),
    (Length(tokens=3, end=0, pad=3), lambda t: not {0, 3} & set(t)),
]


@pytest.mark.parametrize(("part", "holds"), CASES)
def test_the_probability_of_a_constraint_is_that_of_its_texts(part, holds):
    assert part.log_chance(view(odds())).exp().tolist() == pytest.approx(mass(odds(), holds))
    texts = torch.tensor(list(itertools.product(range(V), repeat=L)))
    found = part.holds(texts, blank(len(texts), L))
    assert found.tolist() == [holds(tuple(text)) for text in texts.tolist()]


def test_a_phrase_is_a_run_and_its_places_count_as_independent():
    p, phrase = odds(), Contains(phrases=((1, 2),))
    begins = [p[:, i, 1] * p[:, i + 1, 2] for i in (0, 1)]
    assert torch.allclose(phrase.log_chance(view(p)).exp(), 1 - (1 - begins[0]) * (1 - begins[1]))
    texts = torch.tensor([[0, 1, 2], [1, 2, 0], [1, 0, 2], [2, 1, 1]])
    assert phrase.holds(texts, blank(4, L)).tolist() == [True, True, False, False]
    padded = replace(blank(4, L), real=torch.tensor([[True, True, False]] * 4))
    assert phrase.holds(texts, padded).tolist() == [False, True, False, False]
    assert Contains(phrases=((0,) * 9,)).holds(texts, blank(4, L)).tolist() == [False] * 4


def test_certain_and_impossible_odds_have_finite_slopes():
    p = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2]]), V).double().requires_grad_()
    for part in (*(case[0] for case in CASES), Contains(phrases=((3,),)), Contains(phrases=((1, 2),))):
        (slope,) = torch.autograd.grad(part.log_chance(view(p)).sum(), p)
        assert bool(slope.isfinite().all())


def denoiser_of(p: torch.Tensor):
    """A denoiser of those odds, whatever the state, and a count of its calls."""

    def denoise(noised, cond, previous=None, at=None):
        denoise.calls += 1
        logits = p[: len(noised.z)].log() + 0 * noised.z.sum().double()
        return Prediction(logits if at is None else logits[at])

    denoise.calls = 0
    return denoise


def test_a_composition_is_the_weighted_sum_and_asks_the_denoiser_once():
    p, canvas = odds(), blank(2, L)
    parts = [Contains(phrases=((1,),), weight=2.0), Pinned(words={1: 0}, weight=0.5)]
    judge = Classified(log_p=lambda view: view.noised.z.flatten(1).sum(1).double(), weight=3.0)
    denoise, noised = denoiser_of(p), Noised(torch.ones(2, L, 1), torch.ones(2))
    total = Constraints([*parts, judge], hard=False).loss(denoise)(noised, canvas)
    expected = -2 * parts[0].log_chance(view(p)) - 0.5 * parts[1].log_chance(view(p)) - 3 * L
    assert torch.allclose(total, expected) and denoise.calls == 1
    Constraints([judge]).loss(denoise)(noised, canvas)
    assert denoise.calls == 1


def test_hard_means_leave_soft_ones_only_what_they_do_not_see_to():
    pinned, wanted = Pinned(words={1: 0}), Contains(phrases=((1,),))
    assert Constraints([pinned, Forbidden(ids=(1,)), Length(tokens=2)]).loss(denoiser_of(odds())) is None
    assert Constraints([pinned, wanted]).loss(denoiser_of(odds())) is not None
    assert Constraints([pinned, wanted], soft=False).loss(denoiser_of(odds())) is None
    canvas = Constraints([pinned], hard=False).canvas(blank(1, L), V)
    assert not bool(canvas.given.any())


# ---- settling and refusing -------------------------------------------------------------------------------------------


def test_what_can_be_settled_is():
    canvas = Constraints([Pinned(words={4: 3}), Length(tokens=5)]).canvas(blank(2, L), V)
    assert canvas.ids.shape == (2, 5) and bool(canvas.real.all())
    assert canvas.ids[:, 4].tolist() == [3, 3] and canvas.given.sum().item() == 2
    filled = Constraints([Length(tokens=1, end=2, pad=3)]).canvas(blank(1, 4), V)
    assert filled.ids.tolist() == [[0, 2, 3, 3]] and filled.given.tolist() == [[False, True, True, True]]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([Length(tokens=0)], "at least 1"),
        ([Length(tokens=2), Length(tokens=3)], "2 and 3 tokens"),
        ([Length(tokens=9, end=0, pad=3)], "does not fit"),
        ([Pinned(words={0: 1}), Forbidden(ids=(1,))], "forbidden"),
        ([Length(tokens=2, end=0, pad=3), Pinned(words={1: 0})], "forbidden"),
        ([Forbidden(ids=(0, 1, 2, 3))], "every token"),
        ([Contains(phrases=((1,),)), Forbidden(ids=(1,))], "contain"),
        ([Contains(phrases=((1, 2, 1, 2),))], "no room for 4"),
        ([Length(tokens=2), *(Contains(phrases=((i,),)) for i in range(3))], "no room for 3"),
        ([Pinned(words={0: 0, 1: 0}), Contains(phrases=((1,),)), Contains(phrases=((2,),))], "no room for 2"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_before_any_work(parts, sentence):
    for hard in (True, False):
        with pytest.raises(UsageError, match=sentence):
            Constraints(parts, hard=hard).canvas(blank(2, L), V)


def test_what_can_be_is_not_refused():
    shared = [Contains(phrases=((1,), (2,))), Contains(phrases=((2,), (3,)))]
    for parts, pinned, length in (
        ([Length(tokens=1), *shared], {}, 1),
        ([Pinned(words={0: 1, 1: 2, 2: 3}), *(Contains(phrases=((i,),)) for i in (1, 2, 3))], {0: 1, 1: 2, 2: 3}, L),
        ([Contains(phrases=((1,), (2,))), Forbidden(ids=(1,))], {}, L),
        ([Pinned(words={0: 1}), Contains(phrases=((1, 2),)), Length(tokens=2)], {0: 1}, 2),
    ):
        canvas = Constraints(parts).canvas(blank(1, L), V)
        assert canvas.ids.shape == (1, length) and bool(canvas.real.all())
        given = {place: int(canvas.ids[0, place]) for place in range(length) if canvas.given[0, place]}
        assert given == pinned


def test_blocks_and_walks_without_noise_are_refused():
    control = Constraints([Contains(phrases=((1,),))])
    with pytest.raises(CapabilityError, match="blocks"):
        settled_request(Request(blank(1, L), control=control, block=2), V)
    walk = GaussianStep(Gaussian(SqrtVariance()), ancestral, torch.zeros(1, L, 2))
    with pytest.raises(CapabilityError, match="ddim"):
        steer(walk, denoiser_of(odds()), Request(blank(1, L), control=control, decoder=Decoder.DDIM))
    assert steer(walk, denoiser_of(odds()), Request(blank(1, L))) is walk


# ---- updates of a state ----------------------------------------------------------------------------------------------


class Slope:
    """A cost with a known slope, the same everywhere."""

    def __init__(self, slope: torch.Tensor) -> None:
        self.slope, self.calls = slope, 0

    def __call__(self, noised, cond):
        self.calls += 1
        return (noised.z * self.slope).flatten(1).sum(1)


def moved_by(
    steering: Steering, s: float = 0.4, moves: int = 1, cost: Slope | None = None, canvas: Canvas | None = None
):
    """A state after some steps with updates less the same without, and the cost that was followed."""
    g = torch.Generator().manual_seed(0)
    estimate, slope = (torch.randn(2, L, 2, dtype=torch.float64, generator=g) for _ in range(2))
    cost, canvas = cost or Slope(slope), canvas or blank(2, L)
    walk = GaussianStep(Gaussian(SqrtVariance()), ancestral, torch.zeros(2, L, 2, dtype=torch.float64))
    ends = []
    for step in (Steered(walk, cost, steering), walk):
        _, state = step.begin(canvas, torch.tensor([1.0, s], dtype=torch.float64), Rng(0, [0, 1]))
        for move in range(moves):
            to = torch.full((2,), s * 0.9**move, dtype=torch.float64)
            denoise = lambda *read_ids: Prediction(torch.zeros(2, L, V), estimate)  # noqa: E731
            state = step(denoise, state, to, canvas, Rng(0, [0, 1], f"{move}"))
        ends.append(state.noised.z)
    return ends[0] - ends[1], cost


def test_sign_updates_move_every_number_by_exactly_the_rate():
    moved, cost = moved_by(Steering(updates=3, rate=0.125, fluency=0.0))
    assert torch.allclose(moved, -3 * 0.125 * cost.slope.sign(), atol=1e-12) and cost.calls == 3


def test_a_lasting_adagrad_takes_steps_that_shrink():
    moved, cost = moved_by(Steering(update=Update.ADAGRAD, updates=3, rate=0.1, fluency=0.0))
    assert torch.allclose(moved, -0.1 * (1 + 2**-0.5 + 3**-0.5) * cost.slope.sign(), atol=1e-8)


def test_fluency_pulls_back_to_the_mean_of_the_step():
    # With no slope but fluency's, one step of Bayes does nothing, and signs go to the mean.
    nothing = Slope(torch.zeros(2, L, 2, dtype=torch.float64))
    still, _ = moved_by(Steering(update=Update.BAYES), cost=nothing)
    assert not bool(still.any())
    back, _ = moved_by(
        Steering(updates=1, rate=0.01, fluency=1.0), cost=Slope(torch.zeros(2, L, 2, dtype=torch.float64))
    )
    assert torch.allclose(back.abs(), torch.full_like(back, 0.01))
    away, cost = moved_by(Steering(updates=1, rate=0.01, fluency=1e9))
    assert torch.allclose(away, back) and not torch.allclose(away, -0.01 * cost.slope.sign())


def test_bayes_moves_by_the_variance_times_the_slope():
    moved, cost = moved_by(Steering(update=Update.BAYES, updates=2))
    process, t, s = Gaussian(SqrtVariance()), *(torch.tensor([v], dtype=torch.float64) for v in (1.0, 0.4))
    _, deviation = process.posterior(Noised(torch.zeros(1, 1, 1), t), torch.zeros(1, 1, 1, dtype=torch.float64), s)
    assert torch.allclose(moved, -(float(deviation) ** 2) * cost.slope)


def test_the_last_steps_the_early_ones_and_what_is_given_are_left_alone():
    assert moved_by(Steering(t_min=0.5))[1].calls == 0 and moved_by(Steering(t_max=0.3))[1].calls == 0
    assert moved_by(Steering(t_min=0.0), s=0.0)[1].calls == 0
    canvas = blank(2, L)
    canvas.given[:, 1] = True
    moved, _ = moved_by(Steering(), canvas=canvas)
    assert not bool(moved[:, 1].any()) and bool(moved[:, 0].all())


# ---- Bayes' rule -----------------------------------------------------------------------------------------------------


class Smooth(GaussianOracle):
    """The exact denoiser, with a gradient where a token is impossible too."""

    def __call__(self, noised, cond, previous=None, at=None):
        onehot = torch.nn.functional.one_hot(self.texts, len(self.vectors)).double()
        p_BLV = torch.einsum("bn,nlv->blv", self.posterior(noised, cond.free), onehot)
        return Prediction(p_BLV.clamp(min=1e-30).log(), p_BLV @ self.vectors)


def law(holds) -> dict[tuple[int, ...], float]:
    kept = {tuple(t): w for t, w in zip(TEXTS, WEIGHTS, strict=True) if holds(t)}
    return {t: w / sum(kept.values()) for t, w in kept.items()}


@pytest.mark.parametrize("case", ["place", "text"])
def test_guided_walks_with_the_exact_classifier_follow_bayes_rule(case):
    process = Gaussian(SqrtVariance())
    g = torch.Generator().manual_seed(5)
    e = torch.randn(3, 4, dtype=torch.float64, generator=g)
    oracle = Smooth(TEXTS, WEIGHTS, 2 * e / e.norm(dim=-1, keepdim=True) * 2, process)
    if case == "place":  # the denoiser's own odds are the classifier
        part, holds = Pinned(words={1: 1}), lambda t: t[1] == 1
    else:
        has = torch.tensor([2 in t for t in TEXTS])
        read = lambda view: oracle.posterior(view.noised, view.canvas.free)[:, has].sum(1).log()  # noqa: E731
        part, holds = Classified(log_p=read), lambda t: 2 in t
    control = Constraints([part], Steering(update=Update.BAYES, updates=1, t_min=0.0), hard=False)
    canvas = blank(300, L)
    step = Steered(GaussianStep(process, ancestral, oracle.vectors[canvas.ids]), control.loss(oracle), control.steering)
    *_, last = drive(oracle, step, canvas, 80, Rng(0, range(300)), torch.zeros(300, dtype=torch.int64))
    found = Counter(map(tuple, last.ids.tolist()))
    off = sum(n for text, n in found.items() if not holds(text))
    assert off <= 6
    kept = {text: n for text, n in found.items() if holds(text)}
    assert chi_square_p(kept, law(holds)) > 1e-3
    # Unguided, the corpus itself: the test can tell the two apart.
    assert chi_square_p(kept, law(lambda t: True)) < 1e-6


def masked(parts, rows: int = 1500, steps: int = 500, p=None, **options) -> tuple[Counter, torch.Tensor, Constraints]:
    """Texts of independent positions, written under masks one token at a time."""
    p, control = (odds(1) if p is None else p).expand(rows, -1, -1), Constraints(parts, **options)
    canvas = control.canvas(blank(rows, L), V)
    denoise = control.guided(control.excluding(denoiser_of(p)), V)
    process = Absorbing(LogLinear(), V)
    *_, last = drive(denoise, Reveal(process), canvas, steps, Rng(0, range(rows)), torch.zeros(rows, dtype=torch.int64))
    return Counter(map(tuple, last.ids.tolist())), last.ids, control


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("case", range(4))
def test_masked_writing_follows_bayes_rule_where_positions_are_independent(case, hard):
    part, holds = CASES[case]
    found, ids, _ = masked([part], hard=hard)
    texts = {t: mass(odds(1), lambda u, t=t: u == t)[0] for t in itertools.product(range(V), repeat=L) if holds(t)}
    exact = {t: q / sum(texts.values()) for t, q in texts.items()}
    if steps_are_apart(part):
        assert bool(part.holds(ids, blank(len(ids), L)).all())
    kept = {t: n for t, n in found.items() if t in exact}
    assert sum(kept.values()) >= 0.99 * len(ids)
    assert chi_square_p(kept, exact) > 1e-3


def steps_are_apart(part) -> bool:
    """Whether it holds even if several tokens are drawn at once: it speaks of each position by itself."""
    return not isinstance(part, Contains)


@pytest.mark.parametrize(("sees", "strength"), [("ids", 1.0), ("ids", 3.0), ("odds", 1.0)])
def test_under_masks_a_classifier_is_asked_of_each_token(sees, strength):
    """That two tokens are equal, told exactly: from tokens only, which has no slope, or from odds."""
    texts = torch.tensor(list(itertools.product(range(V), repeat=L)))
    each = odds(1)[0][torch.arange(L), texts].prod(-1)
    wanted = torch.tensor([len(set(t)) != 3 for t in texts.tolist()])

    def read(view: View) -> torch.Tensor:
        z = view.noised.z[:, None]
        could = ((z == texts) | (z == V)).all(-1) * each
        if sees == "odds":
            could = view.odds[:, torch.arange(L), texts].prod(-1)
        return ((could * wanted).sum(1) / could.sum(1)).log()

    found, ids, _ = masked([Classified(log_p=read)], steering=Steering(strength=strength), rows=3000)
    held = sum(n for t, n in found.items() if len(set(t)) != 3)
    assert held == len(ids)
    exact = {tuple(t): float(q) for t, q, ok in zip(texts.tolist(), each, wanted, strict=True) if ok}
    p = chi_square_p(found, {t: q / sum(exact.values()) for t, q in exact.items()})
    assert p > 1e-3 if strength == 1 else p < 1e-3
    heavy, one = ([Classified(log_p=read, weight=weight)] for weight in (strength, 1.0))
    assert (
        masked(heavy, steering=Steering(strength=1.0), rows=60)[0]
        == masked(one, steering=Steering(strength=strength), rows=60)[0]
    )
    assert len(masked(one, steering=Steering(strength=1.0, top_k=1), rows=50)[0]) == 1


def test_the_slope_says_which_tokens_a_classifier_is_asked_of():
    """Of one token a place: the likeliest for the condition, not the likeliest of all; the rest bends as ever."""
    rare = int(odds(1)[0, 0].argmin())
    wanted = Classified(log_p=lambda view: view.odds[:, 0, rare].clamp(min=1e-12).log())
    found, _, _ = masked([wanted, Pinned(words={1: 3})], steering=Steering(top_k=1), rows=40, hard=False)
    assert {t[:2] for t in found} == {(rare, 3)} and rare != int(odds(1)[0, 0].argmax())
    found, _, _ = masked([Contains(phrases=((0, 3),))], steering=Steering(top_k=1), rows=400, hard=False)
    assert len(found) > 4, "what is told by no classifier leaves all tokens possible"
    beside = Classified(log_p=lambda view: torch.zeros(len(view.noised.z)).double())
    assert masked([Contains(phrases=((0, 3),)), beside], rows=400, hard=False)[0] == found


@pytest.mark.parametrize(("wanted", "written"), [(1, {1}), (2, {0, 1})])
def test_a_classifier_is_not_asked_of_tokens_that_are_next_to_impossible(wanted, written):
    """Of a place's tokens those more than nine nats behind the likeliest are neither asked of nor written."""
    p, read_ids = odds(1), set()
    p[0, 0] = torch.tensor([1.0, 1e-3, 1e-6, 1e-6]).double().log().softmax(-1)

    def read(view: View) -> torch.Tensor:
        read_ids.update(view.noised.z[:, 0].tolist())
        return torch.where(view.noised.z[:, 0] == wanted, 0.0, -40.0).double()

    found, _, _ = masked([Classified(log_p=read)], rows=60, p=p, steering=Steering(strength=1.0))
    assert read_ids == {0, 1, V} and {text[0] for text in found} <= written
    assert wanted != 1 or {text[0] for text in found} == {1}


@pytest.mark.parametrize(
    ("steering", "sentence"), [(Steering(strength=1e300), "strength"), (Steering(top_k=-1), "top_k")]
)
def test_strengths_that_are_none_are_refused(steering, sentence):
    with pytest.raises(UsageError, match=f"steering.{sentence} must"):
        Settings.checked({"steering": steering})


def test_a_token_put_into_a_state_changes_one_place_of_what_is_read():
    p, table = odds(2).float(), torch.randn(V, 5, generator=torch.Generator().manual_seed(2))
    z = torch.tensor([[V, 1, V], [V, V, V]])
    p[0, 1] = torch.tensor([0.0, 1, 0, 0])
    base = View(Noised(z, torch.tensor([0.6, 0.9])), blank(2, L), lambda: p)
    rows, places, ids = torch.tensor([1, 0, 1]), torch.tensor([2, 0, 0]), torch.tensor([3, 2, 0])
    filled = Filled(base, rows, places, ids)
    assert filled.noised.z.tolist() == [[V, V, 3], [2, 1, V], [0, V, V]] and filled.noised.t.tolist() == [
        pytest.approx(t) for t in (0.9, 0.6, 0.9)
    ]
    assert torch.allclose(filled.weighted(table), filled.odds @ table)
    changed = (filled.odds != p[rows]).any(-1).nonzero().tolist()
    assert changed == [[0, 2], [1, 0], [2, 0]] and filled.odds[torch.arange(3), places, ids].tolist() == [1, 1, 1]
    assert torch.allclose(base.weighted(table), p @ table), "what is kept of the state was written over"


def test_composed_constraints_hold_together_under_masks():
    parts = [Pinned(words={0: 0}), Contains(phrases=((1,),)), Forbidden(ids=(3,))]
    _, ids, control = masked(parts, rows=200)
    pinned, wanted, banned = (part.holds(ids, blank(200, L)).float().mean() for part in control.parts)
    assert pinned == banned == 1.0 and float(wanted) > 0.98


# ---- the systems -----------------------------------------------------------------------------------------------------

SYSTEMS = {"mdlm": (MDLM, MDLMSpec), "diffusion-lm": (DiffusionLM, DiffusionLMSpec), "qe-cdlm": (QECDLM, QECDLMSpec)}


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_keep_to_lengths_pins_and_bans_whatever_they_learned(name):
    kind, spec_of = SYSTEMS[name]
    system = kind(spec_of(vocab=9, canvas=8, ending=Ending.FILL, net=TransformerSpec(dim=16, depth=1, heads=2)), None)
    system.initialise(0)
    parts = [Length(tokens=5, end=0, pad=1), Pinned(words={1: 4}), Forbidden(ids=(3, 6)), Contains(phrases=((8,),))]
    control, canvas = Constraints(parts), blank(12, 8)
    *_, last = system.sample(Request(canvas, steps=20, forbidden=(2,), control=control))
    length, pinned, banned, wanted = (part.holds(last.ids, canvas) for part in parts)
    assert bool(length.all()) and bool(pinned.all()) and bool(banned.all())
    assert not bool((last.ids == 2).any())
    *_, plain = system.sample(Request(canvas, steps=20, forbidden=(2,), control=Constraints(parts, soft=False)))
    before = parts[3].holds(plain.ids, canvas)
    if name == "mdlm":  # where a word stands is drawn first, by one evaluation
        assert bool(wanted.all()) and bool(before.all()) and bool((last.nfe <= 6).all())
    else:  # untrained, it says the same of any state: there is nothing to follow
        # Three updates in each of 19 steps that end at 0.05 or above, each with an evaluation of its own.
        assert last.nfe.tolist() == [20 + 3 * 19] * 12 and plain.nfe.tolist() == [20] * 12
    *_, alone = system.sample(Request(canvas.rows(slice(3, 4)), steps=20, forbidden=(2,), control=control))
    assert torch.equal(alone.ids[0], last.ids[3])


def test_a_demand_for_a_space_that_bans_leave_no_token_for_is_dropped():
    made = MDLM(MDLMSpec(vocab=9, canvas=8, ending=Ending.LENGTH, net=TransformerSpec(dim=16, depth=1, heads=2)), None)
    made.initialise(0)
    canvas = blank(4, 3)
    canvas = replace(canvas, start=torch.tensor([[1, 0, 0]] * 4, dtype=torch.int8))
    spaced = torch.arange(9) < 2
    how = {"steps": 4, "spaced": spaced}
    *_, last = made.sample(Request(canvas, **how, control=Constraints([Forbidden(ids=(0,))])))
    assert last.ids[:, 0].tolist() == [1] * 4
    *_, last = made.sample(Request(canvas, **how, control=Constraints([Forbidden(ids=(0, 1))])))
    assert bool((last.ids > 1).all())


def test_a_system_refuses_what_cannot_be_before_any_work():
    system = MDLM(
        MDLMSpec(vocab=9, canvas=8, ending=Ending.LENGTH, net=TransformerSpec(dim=16, depth=1, heads=2)), None
    )
    parts = [Length(tokens=3), *(Contains(phrases=((i,),)) for i in range(7))]
    with pytest.raises(UsageError, match="3 free tokens has no room for 7"):
        system.sample(Request(blank(1, 5), control=Constraints(parts)))


# ---- phrases ---------------------------------------------------------------------------------------------------------


def test_places_of_what_is_contained_are_drawn_by_the_odds_and_always_kept():
    """Texts of independent positions: each as often as it is drawn times how often it has the word."""
    part, rows = Contains(phrases=((1,), (2, 3))), 3000
    p, control = odds(1).expand(rows, -1, -1), Constraints([part])
    mask, process = V, Absorbing(LogLinear(), V)
    canvas = control.place_words(blank(rows, L), denoiser_of(p), mask, Rng(0, range(rows)))
    denoise = control.guided(control.excluding(denoiser_of(p)), mask)
    *_, last = drive(denoise, Reveal(process), canvas, 1, Rng(1, range(rows)), torch.zeros(rows, dtype=torch.int64))
    assert bool(part.holds(last.ids, blank(rows, L)).all())
    times = {
        t: t.count(1) + sum(t[i : i + 2] == (2, 3) for i in range(2)) for t in itertools.product(range(V), repeat=L)
    }
    weight = {t: n * mass(odds(1), lambda u, t=t: u == t)[0] for t, n in times.items() if n}
    assert (
        chi_square_p(Counter(map(tuple, last.ids.tolist())), {t: w / sum(weight.values()) for t, w in weight.items()})
        > 1e-3
    )


def test_what_is_there_already_gets_no_second_place():
    canvas = Constraints([Pinned(words={1: 2})]).canvas(blank(4, L), V)
    control = Constraints([Contains(phrases=((2,), (3,)))])
    assert torch.equal(control.place_words(canvas, denoiser_of(odds(4)), V, Rng(0, range(4))).given, canvas.given)
    assert not bool(
        Constraints(control.parts, hard=False)
        .place_words(blank(4, L), denoiser_of(odds(4)), V, Rng(0, range(4)))
        .given.any()
    )


@pytest.mark.parametrize("steps", [1, 2, 400])
def test_a_forbidden_phrase_never_stands_however_many_tokens_are_written_at_once(steps):
    part = Absent(phrases=((0, 1), (2, 2, 2), (3,)))
    _, ids, _ = masked([part], rows=1200, steps=steps)
    assert bool(part.holds(ids, blank(len(ids), L)).all())
    absent = Absent(phrases=((2, 1), (3, 2)))
    _, ids, _ = masked([Pinned(words={1: 2}), absent], rows=600, steps=steps)
    assert bool(absent.holds(ids, blank(len(ids), L)).all())
    texts = torch.tensor(list(itertools.product(range(V), repeat=L)))
    truth = [
        not any(t[i : i + len(p)] == p for p in part.phrases for i in range(L)) for t in map(tuple, texts.tolist())
    ]
    assert part.holds(texts, blank(len(texts), L)).tolist() == truth
    one = Absent(phrases=((1,), (2,)))
    assert one.is_enforced and not part.is_enforced
    assert one.log_chance(view(odds())).exp().tolist() == pytest.approx(mass(odds(), lambda t: not {1, 2} & set(t)))


def test_phrases_leave_each_other_room_and_make_up_nothing_that_is_forbidden():
    """Two pairs in a text of four tokens stand side by side, and never so that a third pair comes to stand."""
    pairs, rows = [Contains(phrases=((1, 2),)), Contains(phrases=((3, 0),))], 400
    control, even = Constraints([*pairs, Absent(phrases=((2, 3),))]), torch.full((rows, 4, V), 1 / V).double()
    canvas = control.place_words(blank(rows, 4), denoiser_of(even), V, Rng(0, range(rows)))
    assert set(map(tuple, canvas.ids.tolist())) == {(3, 0, 1, 2)} and bool(canvas.given.all())
    without = Constraints(pairs).place_words(blank(rows, 4), denoiser_of(even), V, Rng(0, range(rows)))
    assert set(map(tuple, without.ids.tolist())) == {(3, 0, 1, 2), (1, 2, 3, 0)}
    two = Constraints([Pinned(words={0: 2})]).canvas(blank(rows, 4), V)
    behind = Constraints([pairs[1], Absent(phrases=((2, 3),))]).place_words(
        two, denoiser_of(even), V, Rng(0, range(rows))
    )
    assert [i for i, given in enumerate(behind.given[0].tolist()) if given] == [0, 2, 3]


def test_a_given_phrase_that_is_forbidden_is_refused_like_a_given_token():
    canvas = Constraints([Pinned(words={0: 1, 1: 2})]).canvas(blank(2, L), V)
    with pytest.raises(UsageError, match="'one two' is forbidden and stands in what is given"):
        Constraints([Absent(phrases=((1, 2),), name="'one two'")]).canvas(canvas, V)
