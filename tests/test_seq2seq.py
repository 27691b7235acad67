"""Encoder and decoder: padding and batches change nothing, what is kept equals what is computed anew, the beam finds
what enumeration finds, and a run learns from pairs and goes on where it stood."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mezzotint
from mezzotint.checks import check_sides
from mezzotint.errors import UsageError
from mezzotint.net.encoder_decoder import EncoderDecoder
from mezzotint.rng import Rng
from mezzotint.sampler.beam import beam_search
from mezzotint.spec.ar_seq2seq import ARSeq2SeqSpec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec, NormPlace
from mezzotint.spec.transformer import Positions
from mezzotint.systems.ar_seq2seq import ARSeq2Seq
from mezzotint.types import Canvas, Decoder, Ending, Request

NET = EncoderDecoderSpec(dim=16, depth=2, heads=2, hidden=24, neighbours=3, positions=Positions.START)
SPEC = ARSeq2SeqSpec(vocab=9, canvas=8, source_canvas=8, ending=Ending.SYMBOL, net=NET)
pytestmark = pytest.mark.usefixtures("cache")


def rows_of(lengths: list[int], seed: int, width: int | None = None, closed: bool = True) -> Canvas:
    """Random rows of some lengths, the end symbol last."""
    width = width or max(lengths)
    real = torch.arange(width) < torch.tensor(lengths)[:, None]
    draw = Rng(seed, range(len(lengths))).uniform(width)
    ids = (2 + draw * 7).long().masked_fill(~real, 1)
    if closed:
        ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 0
    return Canvas(ids, torch.zeros_like(real), real, torch.arange(len(lengths)))


def pairs_of(lengths: list[int], source_lengths: list[int], width: int | None = None) -> Canvas:
    source = rows_of(source_lengths, 2, width)
    return replace(rows_of(lengths, 1, width), source=replace(source, given=source.real))


def system(**more: object) -> ARSeq2Seq:
    made = ARSeq2Seq(replace(SPEC, net=replace(NET, **more)))
    made.initialise(3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():  # far from the tie of in and out, which at first makes every text a repetition
        for p in made.net.parameters():
            p.normal_(0, 0.4, generator=generator)
    made.net.double().eval()
    return made


@pytest.mark.parametrize("norms", list(NormPlace))
@pytest.mark.parametrize("causal", [True, False])
def test_padding_and_company_change_nothing(norms: NormPlace, causal: bool) -> None:
    positions = Positions.START if causal else Positions.EDGES
    spec = replace(NET, norms=norms, positions=positions)
    net = EncoderDecoder(spec, 9, 9, (16, 16), causal=causal)
    net.initialise(torch.Generator().manual_seed(0))
    net.double().eval()
    batch = pairs_of([3, 6, 1], [5, 2, 8], width=12)
    together = net(batch.ids, net.read(batch.source.ids, batch.source.real), batch.real)
    for row, (n, m) in enumerate([(3, 5), (6, 2), (1, 8)]):
        source = batch.source.ids[row : row + 1, :m]
        alone = net(batch.ids[row : row + 1, :n], net.read(source, torch.ones_like(source, dtype=torch.bool)))
        torch.testing.assert_close(together[row, :n], alone[0], atol=1e-10, rtol=0)
    # And what the source says does change something, as does what stands to the right of a position, or does not.
    other = batch.source.ids.clone()
    other[:, 0] = 8
    assert (net(batch.ids, net.read(other, batch.source.real), batch.real) - together).abs().max() > 1e-3
    later = batch.ids.clone()
    later[1, 5] = 8
    changed = (net(later, net.read(batch.source.ids, batch.source.real), batch.real) - together)[1, :5].abs().max()
    assert changed < 1e-10 if causal else changed > 1e-4


@pytest.mark.parametrize("norms", list(NormPlace))
def test_likelihoods_of_all_texts_sum_to_one(norms: NormPlace) -> None:
    made = system(norms=norms)
    texts = [[*t, 0] for n in range(3) for t in itertools.product(range(1, 9), repeat=n)]
    texts += [list(t) for t in itertools.product(range(1, 9), repeat=3)]  # those that never end
    width = 3
    ids = torch.tensor([t + [1] * (width - len(t)) for t in texts])
    real = torch.arange(width) < torch.tensor([len(t) for t in texts])[:, None]
    source = rows_of([4], 2).rows(torch.zeros(len(texts), dtype=torch.int64))
    batch = Canvas(ids, torch.zeros_like(real), real, torch.arange(len(texts)), source=source)
    with torch.no_grad():
        assert float((-made.nll(batch, Rng(0, []))).exp().sum()) == pytest.approx(1, rel=1e-6)


def greedy(made: ARSeq2Seq, source: Canvas, temperature: float = 0.0, **more: object) -> list[list[int]]:
    canvas = made.sketch(source, 1, 1).canvas
    *_, frame = made.sample(Request(canvas, temperature=temperature, seed=4, **more))
    return [row[known].tolist() for row, known in zip(frame.ids, frame.known, strict=True)]


def test_kept_is_computed_anew() -> None:
    made = system()
    source = rows_of([5, 2, 8, 3], 2)
    for row, ids in enumerate(greedy(made, source)):
        written: list[int] = []
        while len(written) < SPEC.canvas and written[-1:] != [0]:
            blank = torch.tensor([[*written, 0]])
            every = torch.ones_like(blank, dtype=torch.bool)
            batch = Canvas(blank, ~every, every, torch.arange(1), source=source.rows(slice(row, row + 1)))
            written.append(int(made.logits(batch)[0, -1].argmax()))
        assert ids == written


@pytest.mark.parametrize("options", [{"temperature": 1.0}, {"temperature": 0.0}])
def test_a_row_is_the_same_in_any_company(options: dict[str, float]) -> None:
    made = system()
    source = rows_of([5, 2, 8, 3, 3, 7], 2)
    together = greedy(made, source, **options)
    assert together == [ids for r in range(6) for ids in greedy(made, source.rows(slice(r, r + 1)), **options)]
    assert len({tuple(ids) for ids in together}) > 2


def beams(made: ARSeq2Seq, source: Canvas, width: int) -> tuple[list[list[int]], list[float]]:
    *_, frame = made.sample(Request(made.sketch(source, 1, width).canvas, decoder=Decoder.BEAM))
    ids = [row[known].tolist() for row, known in zip(frame.ids, frame.known, strict=True)]
    return ids, [float(c[k].log().sum()) for c, k in zip(frame.confidence, frame.known, strict=True)]


def test_the_beam_is_the_same_in_any_company_and_knows_its_likelihoods() -> None:
    made = system()
    source = rows_of([5, 2, 8], 2)
    ids, log_p = beams(made, source, 4)
    alone = [beams(made, source.rows(slice(r, r + 1)), 4) for r in range(3)]
    assert ids == [i for each, _ in alone for i in each]
    assert log_p == pytest.approx([p for _, each in alone for p in each], rel=1e-5)
    for place, (text, total) in enumerate(zip(ids, log_p, strict=True)):
        row = torch.tensor([text])
        every = torch.ones_like(row, dtype=torch.bool)
        batch = Canvas(row, ~every, every, torch.arange(1), source=source.rows(slice(place // 4, place // 4 + 1)))
        assert made.nll(batch, Rng(0, [0])).item() == pytest.approx(-total, rel=1e-4)
    scores = [total / len(text) for text, total in zip(ids, log_p, strict=True)]
    assert all(scores[4 * r : 4 * r + 4] == sorted(scores[4 * r : 4 * r + 4], reverse=True) for r in range(3))


def test_a_beam_of_one_is_greedy() -> None:
    made = system()
    source = rows_of([5, 2, 8, 3], 2)
    assert beams(made, source, 1)[0] == greedy(made, source)


@pytest.mark.parametrize("decoder", [Decoder.EXACT, Decoder.BEAM])
def test_what_is_forbidden_is_never_written(decoder: Decoder) -> None:
    made = system()
    canvas = made.sketch(rows_of([5, 2, 8, 3], 2), 1, 3).canvas
    asked = Request(canvas, decoder=decoder, seed=4)
    free, bound = ([*made.sample(replace(asked, forbidden=ids))][-1] for ids in ((), (2, 5, 7)))
    assert {2, 5, 7} & set(free.ids[free.known].tolist())
    assert not {2, 5, 7} & set(bound.ids[bound.known].tolist()) and bool(bound.known.any(1).all())


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_the_tree_finds_what_enumeration_finds(penalty: float) -> None:
    vocab, room, rows = 3, 4, 2
    tables = torch.randn(rows, vocab**room, vocab, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    width = vocab**room

    def number(prefix: list[int]) -> int:
        return sum((token + 1) * (vocab + 1) ** k for k, token in enumerate(prefix)) % vocab**room

    prefixes: list[list[int]] = []

    def next_logits(keep: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        nonlocal prefixes
        prefixes = [[*prefixes[k], int(f)] for k, f in zip(keep.tolist(), fresh[:, -1].tolist(), strict=True)]
        return torch.stack([tables[i // width, number(p[1:])] for i, p in enumerate(prefixes)])

    prefixes = [[] for _ in range(rows * width)]
    found, calls = beam_search(next_logits, rows, room, start=9, end=0, width=width, penalty=penalty)
    for row in range(rows):
        expected = {}
        texts = [(*t, 0) for n in range(room) for t in itertools.product(range(1, vocab), repeat=n)]
        for text in [*texts, *itertools.product(range(1, vocab), repeat=room)]:
            steps = [float(tables[row, number(list(text[:i]))].log_softmax(-1)[t]) for i, t in enumerate(text)]
            expected[text] = sum(steps) / len(text) ** penalty
        best = sorted(expected, key=expected.__getitem__, reverse=True)
        assert [tuple(h.ids) for h in found[row]] == best and calls[row] == room
        assert [h.score(penalty) for h in found[row]] == pytest.approx([expected[t] for t in best])


def test_a_narrow_beam_keeps_the_likeliest_prefixes() -> None:
    """By hand: greedy goes to a (0.6), whose ends are unlikely; two beams find b and its sure end."""
    after = {(): [0.0, 0.6, 0.4], (1,): [0.3, 0.35, 0.35], (2,): [0.9, 0.05, 0.05]}
    held: list[tuple[int, ...]] = []

    def next_logits(keep: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        nonlocal held
        held = [(*held[k], f) if f != 9 else () for k, f in zip(keep.tolist(), fresh[:, 0].tolist(), strict=True)]
        return torch.tensor([after.get(prefix, [0.9, 0.05, 0.05]) for prefix in held], dtype=torch.float64).log()

    for width, best in ((1, [1, 1, 0]), (2, [2, 0])):
        held = [()] * width
        found, _ = beam_search(next_logits, 1, 5, start=9, end=0, width=width, penalty=0.0)
        assert found[0][0].ids == best


def test_a_source_is_read_once_whatever_is_written_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, read = system(), []
    encode = made.net.encode
    monkeypatch.setattr(made.net, "encode", lambda ids, real: read.append(ids.shape) or encode(ids, real))
    canvas = made.sketch(rows_of([5, 2], 2), 3, 2).canvas
    list(made.sample(Request(canvas)))
    assert read == [(2, 5)] and len(canvas.ids) == 12
    assert len(canvas.index.unique()) == 12 and canvas.index[::6].tolist() == [0, 1]


# ------------------------------------------------------------ from files to a run

TINY = {"dim": "16", "depth": "1", "heads": "2", "hidden": "16", "batch": "8", "validations": "2"}
WORDS = ["rot", "blau", "alt", "neu", "haus", "fluss", "am", "steht"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    lines = [[WORDS[(i * k + k) % 8] for k in range(1, 3 + i % 5)] for i in range(90)]
    text = "".join(json.dumps({"de": " ".join(w), "en": " ".join(w[::-1]).upper()}) + "\n" for w in lines)
    path.write_text(text)
    return path


def train(data: Path, out: Path, name: str, steps: int = 8, **more: object):
    settings = TINY | more.pop("settings", {})
    return mezzotint.train(
        name, [data], out=out, source="de", target="en", max_steps=steps, save_every=2, settings=settings, **more
    )


@pytest.mark.parametrize("name", ["ar-seq2seq", "cmlm", "difformer"])
def test_a_run_left_off_and_resumed_ends_as_an_uninterrupted_one(data: Path, tmp_path: Path, name: str) -> None:
    list(train(data, tmp_path / "whole", name, settings={"dropout": "0.1"}))
    for progress in train(data, tmp_path / "cut", name, settings={"dropout": "0.1"}):
        if progress.step >= 4:
            break  # as a kill would
    *_, last = mezzotint.resume(tmp_path / "cut")
    assert last.fraction == 1
    for file in ("weights", "ema", "optimiser"):
        one, other = (load_file(tmp_path / run / f"checkpoints/8/{file}.safetensors") for run in ("whole", "cut"))
        assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    config = json.loads((tmp_path / "cut/config.json").read_text())
    assert config["data"]["pair"] == {"source": "de", "target": "en"} and config["can"] == ["translate"]


@pytest.mark.parametrize(
    ("system", "data", "more", "sentence"),
    [
        ("mdlm", "a.jsonl", {"source": "de"}, "leave --source and --target out"),
        ("ar-seq2seq", "a.jsonl", {"target": "en"}, "name --source"),
        ("ar-seq2seq", "a.jsonl", {"source": "de"}, "name --target"),
        ("ar-seq2seq", "a.jsonl", {"source": "de", "target": "de"}, "not written from itself"),
        ("ar-seq2seq", "a.jsonl", {"source": "de", "target": "en", "field": "x"}, "name both fields"),
        ("ar-seq2seq", "a.jsonl", {"source": "de", "target": "en", "layout": "windows"}, "leave --layout windows out"),
        ("ar-seq2seq", "a.txt", {"source": "de", "target": "en"}, "has no fields"),
        ("ar-seq2seq", "a.txt", {}, "two files with as many lines"),
        ("ar-seq2seq", "bistro", {"source": "fields"}, "leave --source and --target out"),
    ],
)
def test_what_does_not_say_which_side_is_which_is_refused(system, data, more, sentence) -> None:
    asked = {"field": None, "layout": "texts", "source": None, "target": None} | more
    with pytest.raises(UsageError, match=sentence):
        check_sides(system, [data], **asked)
