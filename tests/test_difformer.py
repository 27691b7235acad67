"""Difformer: its noise, its losses by hand, its lengths, and that writing depends on nothing but the row."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mezzotint.net.transformer import position_vectors
from mezzotint.objective.chain import chain_bound
from mezzotint.objective.offset import LengthHead, candidate_lengths, length_nll
from mezzotint.process.gaussian import Gaussian, RescaledVariance, SqrtVariance
from mezzotint.rng import Rng
from mezzotint.spec.difformer import DifformerSpec, EmbedNorm, LengthBeam, Louder, Names
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec, NormPlace
from mezzotint.spec.transformer import Positions
from mezzotint.systems.difformer import Difformer
from mezzotint.types import Canvas, Decoder, Ending, Noised, Prediction, Request
from tests.test_seq2seq import pairs_of, rows_of

NET = EncoderDecoderSpec(dim=16, depth=2, heads=2, hidden=24, neighbours=3, positions=Positions.EDGES)
SPEC = DifformerSpec(vocab=9, canvas=12, source_canvas=12, ending=Ending.LENGTH, net=NET, width=6)
STEPS = 2000


def system(**more: object) -> Difformer:
    made = Difformer(replace(SPEC, **more))
    made.initialise(3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in made.net.parameters():
            p.normal_(0, 0.4, generator=generator)
    made.net.double().eval()
    return made


def at(*index: int) -> torch.Tensor:
    """The times of the published chain's indices."""
    return (torch.tensor(index, dtype=torch.float64) + 1) / STEPS


# ------------------------------------------------------------ noise


def test_the_schedule_is_the_published_one() -> None:
    alpha, _ = Gaussian(SqrtVariance()).alpha_sigma(at(0, 499, 999, 1499, 1998))
    assert (alpha**2).tolist() == pytest.approx([0.985359, 0.504950, 0.295780, 0.135270, 2.0204e-4], rel=1e-4)


@pytest.mark.parametrize(
    ("here", "there", "share", "mean_of_estimate", "mean_of_state", "deviation"),
    [
        (526, 421, 0.49149, 0.1451, 0.8471, 0.2985),
        (1052, 947, 0.2771, 0.0925, 0.8898, 0.3362),
        (1578, 1473, 0.1125, 0.0905, 0.8571, 0.4530),
        (1894, 1789, 0.0268, 0.1217, 0.6819, 0.7021),
        (1999, 1894, 2.02e-7, 0.1638, 0.0027, 0.9865),
    ],
)
def test_a_strided_step_is_the_published_one(here, there, share, mean_of_estimate, mean_of_state, deviation) -> None:
    process, one, zero = Gaussian(SqrtVariance()), torch.ones(1, 1, 1).double(), torch.zeros(1, 1, 1).double()
    assert float(process.alpha_sigma(at(here))[0] ** 2) == pytest.approx(share, abs=1e-4)
    mean, spread = process.posterior(Noised(zero, at(here)), one, at(there))
    assert float(mean) == pytest.approx(mean_of_estimate, abs=1e-4)
    assert float(spread) == pytest.approx(deviation, abs=1e-4)
    assert float(process.posterior(Noised(one, at(here)), zero, at(there))[0]) == pytest.approx(mean_of_state, abs=1e-4)
    # Louder noise is as much more noise, and no other mean.
    mean, louder = Gaussian(SqrtVariance(), 3.0).posterior(Noised(one, at(here)), one, at(there))
    assert float(louder) == pytest.approx(3 * deviation, abs=3e-4)
    assert float(mean) == pytest.approx(mean_of_estimate + mean_of_state, abs=2e-4)


def test_both_forms_of_the_factor_have_one_signal_to_noise_ratio() -> None:
    plain, t = Gaussian(SqrtVariance()), torch.linspace(0.01, 0.99, 30).double()
    louder, rescaled = Gaussian(SqrtVariance(), 4.0), Gaussian(RescaledVariance(SqrtVariance(), 4.0))
    expected = plain.signal_to_noise(t) / 16
    torch.testing.assert_close(louder.signal_to_noise(t), expected)
    torch.testing.assert_close(rescaled.signal_to_noise(t), expected)
    alpha, sigma = rescaled.alpha_sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_both_forms_have_one_bound_where_the_network_is_told_the_scale(factor: float) -> None:
    louder, rescaled = Gaussian(SqrtVariance(), factor), Gaussian(RescaledVariance(SqrtVariance(), factor))
    table = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).double()
    batch = rows_of([4, 6, 2], 1, closed=False)

    def said(z: torch.Tensor) -> Prediction:
        return Prediction(z @ table.mT, torch.tanh(z))

    def of_louder(noised: Noised, cond: Canvas, previous: object = None, at: object = None) -> Prediction:
        alpha, sigma = louder.wide(noised.t, noised.z)
        return said(noised.z / (alpha**2 + sigma**2).sqrt())

    def of_rescaled(noised: Noised, cond: Canvas, previous: object = None, at: object = None) -> Prediction:
        return said(noised.z)

    bounds = [
        chain_bound(denoise, process, table, batch, 50, Rng(0, range(3)))
        for denoise, process in ((of_louder, louder), (of_rescaled, rescaled))
    ]
    torch.testing.assert_close(*bounds, rtol=1e-6, atol=1e-6)


def test_the_prior_is_as_loud_as_the_noise() -> None:
    canvas, z0 = rows_of([60] * 40, 1), torch.zeros(40, 60, 6)
    for factor in (1.0, 3.0):
        z = Gaussian(SqrtVariance(), factor).prior(canvas, z0, Rng(0, range(40))).z
        assert float(z.std()) == pytest.approx(factor, rel=0.03)


# ------------------------------------------------------------ losses


@pytest.mark.parametrize("norm", list(EmbedNorm))
@pytest.mark.parametrize("names", list(Names))
def test_the_loss_is_the_sum_it_says_and_reaches_all_that_it_hangs_on(norm: EmbedNorm, names: Names) -> None:
    made = system(embed_norm=norm, names=names, self_condition=False)
    batch, rng = pairs_of([3, 6, 1], [5, 2, 8], width=9), Rng(7, range(3), "train/0", 3)
    (loss,) = made.losses(batch, rng)
    table, space = math.sqrt(6) * made.net.space.table, made.net.space
    if norm is EmbedNorm.TABLE:
        table = F.layer_norm(table, (6,), space.norm.weight, space.norm.bias)
    z0, t = table[batch.ids], 1 - rng.at("time").stratified()
    alpha, sigma = Gaussian(SqrtVariance()).alpha_sigma(t)
    noise = rng.at("noise").normal(*z0.shape[1:])
    zt = torch.where(batch.real[..., None], alpha[:, None, None] * z0 + 4 * sigma[:, None, None] * noise, z0)
    memory = made.net.decoder.recall(made.net.encode(batch.source), batch.source.real)
    said = made.net(zt, torch.zeros_like(zt), t, batch.real, memory)
    expected = {name: torch.zeros(()).double() for name in ("error", names.value, "length")}
    for b, n in enumerate([3, 6, 1]):
        source = batch.source.rows(slice(b, b + 1))
        mean = made.net.encode(source)[0, : int(source.real.sum())].mean(0)
        classes = made.net.length.classes.weight @ mean
        possible = torch.stack([classes[k - int(source.real.sum()) + 12] for k in range(1, 13)]).log_softmax(0)
        expected["length"] -= n * possible[n - 1]
        for i in range(n):
            expected["error"] += ((said[b, i] - z0[b, i]) ** 2).mean()
            named = said[b, i] if names is Names.ANCHOR else z0[b, i]
            log_p = (named @ table.mT / math.sqrt(6)).log_softmax(0)
            expected[names.value] += -0.9 * log_p[batch.ids[b, i]] - 0.1 * log_p.mean()
    near = {"rtol": 1e-4, "atol": 1e-4, "check_dtype": False}  # tokens are named in float32
    torch.testing.assert_close(loss.parts, {name: part.detach() for name, part in expected.items()}, **near)
    total = expected["error"] + expected[names.value] + 0.1 * expected["length"]
    torch.testing.assert_close(loss.total, total, **near)
    assert loss.count == 10
    # The table learns as what is noised, as what is meant and as what names; the network by all three losses.
    weights = [made.net.space.table, *(p for p in made.net.parameters() if p is not made.net.space.table)]
    asked, given = (torch.autograd.grad(each, weights, allow_unused=True) for each in (total, loss.total))
    torch.testing.assert_close(given, asked, **near)
    assert given[0].abs().sum() > 0.1


def test_the_table_learns_from_the_target_too() -> None:
    """The true vector is not cut off: the error alone moves it, also where the estimate does not hang on it."""
    made = system(length_weight=0.0)
    with torch.no_grad():
        made.net.write_out.weight.zero_()
    (loss,) = made.losses(pairs_of([3, 6], [5, 2]), Rng(7, range(2), "train/0", 2))
    loss.total.backward()
    assert made.net.space.table.grad.abs().sum() > 0.1


def test_self_conditioning_is_half_of_the_batches_and_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    made, passes, said = system(), [], []
    forward = made.net.forward

    def heard(*args):
        passes.append((torch.is_grad_enabled(), bool(args[1].any())))
        if args[1].any():
            assert torch.equal(args[1], said[-1]), "what it is told is what it said"
        said.append(forward(*args).detach())
        return forward(*args)

    monkeypatch.setattr(made.net, "forward", heard)
    kinds = []
    for step in range(40):
        passes.clear()
        list(made.losses(pairs_of([3], [5]), Rng(0, [0], f"train/{step}", 1)))
        kinds.append(tuple(passes))
    twice, once = ((False, False), (True, True)), ((True, False),)
    assert set(kinds) == {once, twice} and 10 < kinds.count(twice) < 30


def test_the_bound_takes_the_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    made, earlier, batch = system(), [], pairs_of([3, 6], [5, 2])
    forward = made.net.forward
    monkeypatch.setattr(made.net, "forward", lambda *args: earlier.append(bool(args[1].any())) or forward(*args))
    with torch.no_grad():
        twice = made.nll(batch, Rng(0, range(2)))
        assert earlier == [False, True, False, True]
        once = Difformer(replace(SPEC, self_condition=False))
        once.net = made.net
        alone, length = once.nll(batch, Rng(0, range(2))), made.net.length(*made._encode(batch)[::2])
        assert (alone - twice).abs().min() > 1e-3
        chain = chain_bound(
            made.denoiser(made._encode(batch)[1]), made.process, made.net.space.vectors, batch, 2000, Rng(0, range(2))
        )
    torch.testing.assert_close(alone, chain + length_nll(length, batch.real).double())


# ------------------------------------------------------------ the network


def test_the_network_is_told_the_time_as_the_code_counts_it() -> None:
    made, told, heard = system(), [], []
    made.net.time[0].register_forward_hook(lambda module, args, out: told.append(args[0]))
    made.net.decoder.register_forward_hook(lambda module, args, out: heard.append(args[0]))
    _, memory, _ = made._encode(pairs_of([3], [5]))
    z, real = torch.zeros(1, 3, 6).double(), torch.ones(1, 3, dtype=torch.bool)
    for t in (at(0), at(1999)):
        made.net(z, z, t, real, memory)
    for index, features in zip((0, 1999), told, strict=True):
        angles = [(index + 1) / 2 * 10000 ** (-k / 8) for k in range(8)]
        expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
        assert features[0].tolist() == pytest.approx(expected, abs=1e-4)
    # The same at every position, beside what is there.
    apart = heard[0] - heard[1]
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart))
    assert apart.abs().max() > 0.1


@pytest.mark.parametrize("norm", list(EmbedNorm))
def test_the_norm_stands_where_it_is_said_to(norm: EmbedNorm) -> None:
    made, entered = system(embed_norm=norm, net=replace(NET, norms=NormPlace.POST)), []
    made.net.decoder.layers[0].register_forward_hook(lambda module, args, out: entered.append(args[0]))
    _, memory, _ = made._encode(pairs_of([3], [5]))
    z = 30 * torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0)).double()
    real = torch.ones(1, 3, dtype=torch.bool)
    made.net(z, z, at(500), real, memory)
    weight = made.net.decoder.norm_in.weight if norm is EmbedNorm.INPUT else torch.ones(16)
    # Places are added behind the norm, where nothing that is loud can drown them.
    rows = (entered[0] - position_vectors(made.net.decoder.positions, entered[0], real, 0)) / weight
    assert torch.allclose(rows.square().mean(-1), torch.ones(1, 3).double(), atol=1e-3) == (norm is EmbedNorm.INPUT)
    table = made.net.space.vectors
    if norm is EmbedNorm.TABLE:
        table = (table - made.net.space.norm.bias) / made.net.space.norm.weight
    assert torch.allclose(table.square().mean(-1), torch.ones(9).double(), atol=1e-2) == (norm is EmbedNorm.TABLE)


# ------------------------------------------------------------ lengths


def test_lengths_are_a_distribution_of_differences() -> None:
    head = LengthHead(4, 10, 7)
    states = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(1))
    real = torch.arange(10) < torch.tensor([[3], [10], [1]])
    log_p = head(states, real)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(3))
    # The class is the difference: another row, as much longer on both sides, reads the same one.
    with torch.no_grad():
        head.classes.weight.zero_()[2 + 10] = 5.0  # two more than the source
    likeliest = head(torch.ones(3, 10, 4), real).argmax(1) + 1
    assert likeliest.tolist()[0] == 5 and likeliest.tolist()[2] == 3
    text = torch.arange(8) < torch.tensor([[5], [1], [7]])
    torch.testing.assert_close(length_nll(log_p, text), -log_p[[0, 1, 2], [4, 0, 6]])


def test_candidate_lengths_are_a_window_or_the_likeliest() -> None:
    log_p = torch.tensor([[0.0, 3, 1, 2, 0, 0, 0], [9, 0, 0, 0, 0, 0, 8]])
    assert candidate_lengths(log_p, 5, window=True) == [[2, 1, 3, 1, 4], [1, 1, 2, 1, 3]]
    assert candidate_lengths(log_p, 1, window=True) == [[2], [1]]
    assert candidate_lengths(log_p, 3, window=False) == [[2, 4, 3], [1, 7, candidate_lengths(log_p, 3, False)[1][2]]]
    assert len(candidate_lengths(log_p, 9, window=False)[0]) == 9
    # An even window has one more below than above, as published: 3, 4, 5, 6 around 5.
    likeliest_5 = torch.tensor([[0.0, 1, 2, 3, 9, 4, 3, 2]])
    assert candidate_lengths(likeliest_5, 4, window=True) == [[5, 4, 6, 3]]


# ------------------------------------------------------------ writing


def written(made: Difformer, source: Canvas, lengths: int = 1, each: int = 1, **options: object) -> list[list[int]]:
    canvas = made.sketch(source, lengths, each).canvas
    *_, frame = made.sample(Request(canvas, steps=8, seed=4, **options))
    assert torch.equal(frame.known, canvas.real)
    return [row[known].tolist() for row, known in zip(frame.ids, frame.known, strict=True)]


@pytest.mark.parametrize("decoder", [Decoder.EXACT, Decoder.DDIM, Decoder.MULTISTEP])
@pytest.mark.parametrize("more", [{}, {"louder": Louder.SCHEDULE, "net": replace(NET, norms=NormPlace.POST)}])
def test_a_row_is_the_same_in_any_company(decoder: Decoder, more: dict) -> None:
    made, source = system(**more), rows_of([5, 2, 8, 3], 2)
    together = written(made, source, decoder=decoder)
    assert together == [ids for r in range(4) for ids in written(made, source.rows(slice(r, r + 1)), decoder=decoder)]
    assert len({tuple(ids) for ids in together}) > 2
    sketch, log_p = made.sketch(source, 3, 2), made.net.length(made.net.encode(source), source.real)
    lengths = sketch.canvas.real.sum(1)
    torch.testing.assert_close(sketch.log_p, log_p.repeat_interleave(6, 0)[range(24), lengths - 1].detach())
    many = written(made, source, 3, 2, decoder=decoder)
    assert many[::6] == together and len({len(ids) for ids in many[:6]}) > 1


@pytest.mark.parametrize("beam", list(LengthBeam))
def test_the_source_is_read_once_and_the_end_of_the_walk_left_out(monkeypatch, beam: LengthBeam) -> None:
    made, read = system(length_beam=beam), []
    canvas = made.sketch(rows_of([5, 2], 2), 3, 2).canvas
    encode, recall = made.net.encode, made.net.decoder.recall
    monkeypatch.setattr(made.net, "encode", lambda source: read.append(len(source.ids)) or encode(source))
    monkeypatch.setattr(made.net.decoder, "recall", lambda s, real: read.append(len(s)) or recall(s, real))
    frames = list(made.sample(Request(canvas, steps=20)))
    assert read == [2, 2] and len(canvas.ids) == 12
    read.clear()
    source = rows_of([5, 2], 2)
    sketch = made.sketch(replace(source, index=torch.tensor([7, 3])), 3, 2)  # in no order, as lines sorted by length
    *_, known = made.sample(Request(sketch.canvas, steps=20, read=sketch.read))
    assert read == [2, 2]
    *_, again = made.sample(Request(sketch.canvas, steps=20))
    assert torch.equal(known.ids, again.ids) and len(known.ids.unique(dim=0)) > 2
    assert [f.done for f in frames] == [False] * 15 + [True] and frames[-1].nfe.tolist() == [15] * 12
    assert float(frames[-1].t[0]) == pytest.approx(0.25)


def test_the_text_is_that_of_the_last_estimate() -> None:
    made = system(early_stop=0.0)
    source = rows_of([5], 2)
    canvas = made.sketch(source, 1, 1).canvas
    *_, frame = made.sample(Request(canvas, steps=1, seed=4, forbidden=(0, 1)))
    _, memory, _ = made._encode(canvas)
    blank = torch.zeros(1, canvas.ids.shape[1], 6)
    prior = made.decoding.prior(canvas, blank, Rng(4, canvas.index.tolist()).at("prior"))
    logits = made.denoiser(memory)(prior, canvas).logits[..., 2:]
    assert torch.equal(frame.ids, logits.argmax(-1) + 2)
    expected = F.pad(logits, (2, 0), value=-math.inf).softmax(-1).amax(-1)
    torch.testing.assert_close(frame.confidence.double(), expected.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoder", [Decoder.EXACT, Decoder.MULTISTEP])
def test_what_nobody_looks_at_is_not_read_and_the_end_is_the_same(monkeypatch, decoder: Decoder) -> None:
    made, read = system(), []
    canvas, logits = made.sketch(rows_of([5, 2], 2), 2, 2).canvas, made.net.space.logits
    monkeypatch.setattr(made.net.space, "logits", lambda x: read.append(x.numel()) or logits(x))
    asked = Request(canvas, steps=8, seed=4, decoder=decoder, forbidden=(0, 1))
    shown, hidden = (list(made.sample(replace(asked, drafts=drafts))) for drafts in (True, False))
    assert read[:6] == [read[0]] * 6 and read[6:] == [0] * 5 + [read[0]]
    assert torch.equal(shown[-1].ids, hidden[-1].ids) and torch.equal(shown[-1].known, hidden[-1].known)
    assert torch.equal(shown[-1].confidence, hidden[-1].confidence)
    assert all(bool(a.known.any()) and not b.known.any() for a, b in zip(shown[1:-1], hidden[1:-1], strict=True))


def test_each_step_is_told_what_the_last_one_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made, calls = system(), []
    canvas, forward = made.sketch(rows_of([5, 2], 2), 1, 1).canvas, made.net.forward

    def watched(z, earlier, t, *rest):
        calls.append((earlier, t, forward(z, earlier, t, *rest)))
        return calls[-1][2]

    monkeypatch.setattr(made.net, "forward", watched)
    list(made.sample(Request(canvas, steps=4)))
    assert not calls[0][0].any() and len(calls) == 3
    assert all(torch.equal(later[0], call[2]) for call, later in itertools.pairwise(calls))
    assert [float(t[0]) for _, t, _ in calls] == [1, 0.75, 0.5]


def test_padding_does_not_reach_the_bound() -> None:
    made = system()
    wide, narrow = pairs_of([3, 6], [5, 2], width=11), pairs_of([3, 6], [5, 2], width=6)
    wide = replace(
        narrow, **{k: F.pad(getattr(narrow, k), (0, 3)) for k in ("ids", "given", "real")}, source=narrow.source
    )
    rng = Rng(0, range(2))
    with torch.no_grad():
        torch.testing.assert_close(made.nll(wide, rng), made.nll(narrow, rng), rtol=1e-4, atol=1e-3)


def test_noise_is_louder_in_training_alone() -> None:
    batch, rng = pairs_of([6] * 30, [5] * 30), Rng(0, range(30))
    for louder in Louder:
        made = system(louder=louder)
        zeros = torch.zeros(30, 6, 6).double()
        first = made.decoding.prior(batch, zeros, rng).z
        assert float(first.std()) == pytest.approx(1, rel=0.05)
        ratio = made.decoding.signal_to_noise(at(999)) / made.process.signal_to_noise(at(999))
        assert float(ratio) == pytest.approx(16)
    assert system(decode_factor=2.0).decoding.factor == 2
