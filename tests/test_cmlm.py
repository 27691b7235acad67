"""CMLM: its loss by hand, its bound by enumeration, and that writing depends on nothing but the row."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from mezzotint.rng import Rng
from mezzotint.spec.cmlm import CMLMSpec
from mezzotint.spec.encoder_decoder import LengthBeam, NormPlace
from mezzotint.systems.cmlm import CMLM
from mezzotint.types import Canvas, Decoder, Ending, Request
from tests.test_difformer import NET
from tests.test_seq2seq import pairs_of, rows_of

SPEC = CMLMSpec(vocab=9, canvas=12, source_canvas=12, ending=Ending.LENGTH, net=NET)
MASK = 9


def system(**more: object) -> CMLM:
    made = CMLM(replace(SPEC, **more))
    made.initialise(3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in made.net.parameters():
            p.normal_(0, 0.4, generator=generator)
    made.net.double().eval()
    return made


def logits_of(made: CMLM, ids: torch.Tensor, source: Canvas) -> torch.Tensor:
    """Logits (B, L, V) of whole rows without padding, each with its own source."""
    memory = made.net.text.read(source.ids, source.real)
    return made.net.text(ids, memory, torch.ones_like(ids, dtype=torch.bool))


def length_log_p(made: CMLM, source: Canvas, length: int) -> float:
    n = int(source.real.sum())
    classes = made.net.length.classes.weight @ made.net.text.encode(source.ids, source.real)[0, :n].mean(0)
    possible = torch.stack([classes[k - n + 12] for k in range(1, 13)])
    return float(possible.detach().log_softmax(0)[length - 1])


def test_the_loss_is_the_sum_it_says() -> None:
    made, lengths = system(), [3, 6, 1]
    batch, rng = pairs_of(lengths, [5, 2, 8], width=9), Rng(7, range(3), "train/0", 3)
    (loss,) = made.losses(batch, rng)
    share = rng.at("time").stratified()
    masked = total = length = torch.zeros(())
    for b, n in enumerate(lengths):
        source = batch.source.rows(slice(b, b + 1))
        source = replace(source, ids=source.ids[:, : int(source.real.sum())], real=source.real[source.real][None])
        count = int(share[b] * n) + 1
        noised = made.process.corrupt_count(batch.ids, torch.tensor([count] * 3), batch.free, rng.at("mask")).z[b, :n]
        hidden = (noised == MASK).nonzero()[:, 0].tolist()
        assert len(hidden) == count
        log_p = logits_of(made, noised[None], source)[0].log_softmax(-1)
        for i in hidden:
            masked = masked - 0.9 * log_p[i, batch.ids[b, i]].detach() - 0.1 * log_p[i].mean().detach()
        length = length - count * length_log_p(made, source, n)
        total = total + count
    expected = {"masked": float(masked), "length": float(length)}
    assert {k: float(v) for k, v in loss.parts.items()} == pytest.approx(expected, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(float(masked + 0.1 * length), rel=1e-5) and loss.count == total
    loss.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.net.parameters())


@pytest.mark.parametrize("norms", list(NormPlace))
def test_the_bound_is_the_mean_over_all_orders(norms: NormPlace) -> None:
    made, n = system(net=replace(NET, norms=norms)), 3
    pair = pairs_of([n], [5])
    expected = -length_log_p(made, pair.source, n)
    for order in itertools.permutations(range(n)):
        ids = torch.full((1, n), MASK)
        for place in order:
            log_p = logits_of(made, ids, pair.source)[0, place].detach().log_softmax(-1)
            expected -= float(log_p[pair.ids[0, place]]) / 6
            ids[0, place] = pair.ids[0, place]
    rows = replace(pair.rows(torch.zeros(6000, dtype=torch.int64)), index=torch.arange(6000))
    with torch.no_grad():
        draws = made.nll(rows, Rng(0, range(6000)))
    assert draws.dtype == torch.float64
    assert float(draws.mean()) == pytest.approx(expected, abs=4 * float(draws.std()) / 6000**0.5)


def test_padding_and_company_do_not_reach_the_loss() -> None:
    made, rng = system(smoothing=0.0), Rng(0, range(2))
    narrow, wide = pairs_of([3, 6], [5, 2], width=6), pairs_of([3, 6], [5, 2], width=11)
    wide = replace(
        narrow,
        **{k: torch.nn.functional.pad(getattr(narrow, k), (0, 3)) for k in ("ids", "given", "real")},
        source=replace(
            narrow.source,
            **{k: torch.nn.functional.pad(getattr(narrow.source, k), (0, 4)) for k in ("ids", "given", "real")},
        ),
    )
    with torch.no_grad():
        torch.testing.assert_close(made.nll(wide, rng), made.nll(narrow, rng))


def written(made: CMLM, source: Canvas, lengths: int = 1, each: int = 1, **options: object) -> list[list[int]]:
    canvas = made.sketch(source, lengths, each).canvas
    *_, frame = made.sample(Request(canvas, **{"steps": 4, "seed": 4, **options}))
    assert torch.equal(frame.known, canvas.real)
    return [row[known].tolist() for row, known in zip(frame.ids, frame.known, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {"decoder": Decoder.MASK_PREDICT},
        {"decoder": Decoder.MASK_PREDICT, "temperature": 0.0, "steps": 9},
        {"decoder": Decoder.EXACT, "steps": 20},
        {"decoder": Decoder.CONFIDENCE, "steps": 7},
    ],
)
def test_a_row_is_the_same_in_any_company(options: dict) -> None:
    made, source = system(), rows_of([5, 2, 8, 3], 2)
    together = written(made, source, **options)
    assert together == [ids for r in range(4) for ids in written(made, source.rows(slice(r, r + 1)), **options)]
    assert len({tuple(ids) for ids in together}) > 2
    many = written(made, source, 3, 2, **options)
    assert many[::6] == together and len({len(ids) for ids in many[:6]}) > 1
    # Likeliest tokens leave nothing to be drawn: candidates of one length are one text.
    assert (many[0] == many[1]) == ("temperature" in options)


def test_what_is_written_is_what_the_source_says() -> None:
    """One step, no draws: every token is the likeliest one under masks alone, given this row's own source."""
    made, source = system(), rows_of([5, 2, 8, 3], 2)
    for row, ids in enumerate(written(made, source, decoder=Decoder.MASK_PREDICT, temperature=0.0, steps=1)):
        masks = torch.full((1, len(ids)), MASK)
        own = source.rows(slice(row, row + 1))
        assert ids == logits_of(made, masks, own)[0].argmax(-1).tolist()


def test_a_source_is_read_once_whatever_is_written_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, read = system(length_beam=LengthBeam.TOP), []
    canvas = made.sketch(rows_of([5, 2], 2), 3, 2).canvas
    encode, recall = made.net.text.encode, made.net.text.decoder.recall
    monkeypatch.setattr(made.net.text, "encode", lambda ids, real: read.append(len(ids)) or encode(ids, real))
    monkeypatch.setattr(made.net.text.decoder, "recall", lambda s, real: read.append(len(s)) or recall(s, real))
    *_, frame = made.sample(Request(canvas, steps=5, decoder=Decoder.MASK_PREDICT))
    assert read == [2, 2] and len(canvas.ids) == 12 and int(frame.nfe.max()) <= 5
    read.clear()
    sketch = made.sketch(replace(rows_of([5, 2], 2), index=torch.tensor([7, 3])), 3, 2)
    options = {"steps": 5, "decoder": Decoder.MASK_PREDICT}
    *_, known = made.sample(Request(sketch.canvas, read=sketch.read, **options))
    assert read == [2, 2]
    *_, again = made.sample(Request(sketch.canvas, **options))
    assert torch.equal(known.ids, again.ids) and len(known.ids.unique(dim=0)) > 2
