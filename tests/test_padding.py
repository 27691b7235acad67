"""Padding among the tokens of a text: where it goes, what it costs, and that no text shows it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

import mezzotint
from mezzotint.data.canvas import pack
from mezzotint.data.padding import scattered
from mezzotint.data.tokenizer import train_tokenizer
from mezzotint.errors import UsageError
from mezzotint.rng import Rng
from mezzotint.run import Run
from mezzotint.spec.sed import SEDSpec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems import sed
from mezzotint.systems.sed import SED
from mezzotint.types import Canvas, Ending, Frame
from tests.oracle import chi_square_p

END, PAD = 0, 1
L = 9


def canvases(*rows: list[int], first: int = 0) -> Canvas:
    index = range(first, first + len(rows))
    return pack([torch.tensor(row).numpy() for row in rows], index, Ending.FILL, L, END, PAD)


def spread(batch: Canvas, share: float, seed: int = 0) -> tuple[Canvas, torch.Tensor]:
    return scattered(batch, share, END, PAD, Rng(seed, batch.index.tolist()))


def words(ids: list[int]) -> list[int]:
    return [i for i in ids[: ids.index(END)] if i != PAD]


def test_every_order_of_tokens_and_padding_is_as_likely_and_log_q_says_how_likely():
    text = [5, 6, 7, 8]
    moved, log_q = spread(canvases(*[text] * 3000), 1 / 3)
    found = Counter(tuple(row) for row in moved.ids.tolist())
    law = {}
    for places in combinations(range(6), 2):
        rest = iter(text)
        row = [PAD if i in places else next(rest) for i in range(6)]
        law[*row, END, PAD, PAD] = 1 / 15
    assert chi_square_p(found, law) > 1e-3
    assert torch.allclose(log_q.exp(), torch.full((3000,), 1 / 15, dtype=torch.float64))


def test_so_much_is_left_empty_as_was_asked_for_where_there_is_room():
    rows = [[5] * 6, [5] * 2, [5] * 7, [5] * 8, [5]]
    moved, log_q = spread(canvases(*rows), 0.25)
    before_end = [row[: row.index(END)] for row in moved.ids.tolist()]
    assert [row.count(PAD) for row in before_end] == [2, 1, 1, 0, 0]
    orders = [math.comb(8, 2), 3, 8, 1, 1]
    assert torch.allclose(log_q, -torch.tensor(orders, dtype=torch.float64).log())


def test_texts_canvases_and_streams_are_kept():
    rows = [list(range(2, 2 + n)) for n in (8, 5, 3, 6, 1)]
    batch = canvases(*rows)
    moved, log_q = spread(batch, 0.4)
    assert [words(row) for row in moved.ids.tolist()] == rows and moved.ids.shape == batch.ids.shape
    assert torch.equal(moved.real, batch.real) and int((moved.ids == END).sum()) == 5
    part, log_part = spread(canvases(*rows[2:4], first=2), 0.4)
    assert torch.equal(part.ids, moved.ids[2:4]) and torch.equal(log_part, log_q[2:4])
    assert not torch.equal(spread(batch, 0.4, seed=1)[0].ids, moved.ids)


def test_nothing_moves_where_nothing_is_asked_for_or_something_is_given():
    batch = canvases([5, 6, 7], [5, 6, 7])
    assert spread(batch, 0.0)[0] is batch
    batch.given[1, 1] = True
    moved, log_q = spread(batch, 0.5)
    assert torch.equal(moved.ids[1], batch.ids[1]) and float(log_q[1]) == 0 > float(log_q[0])


# -- in sed ------------------------------------------------------------------------------------------------------------


def system(**settings) -> SED:
    net = TransformerSpec(dim=16, depth=1, heads=2)
    made = SED(SEDSpec(vocab=11, canvas=L, ending=Ending.FILL, net=net, width=4, **settings), None)
    made.initialise(0)
    made.net.double()
    return made


@torch.no_grad()
def test_the_bound_is_one_on_the_text(monkeypatch):
    """Under a model that knows the law of canvases exactly it is tight: -log p(text), whatever was drawn."""
    rows, made = [[5, 6, 7, 8, 9], [3, 3]], system(padding=0.4)
    p_text = torch.tensor([0.7, 0.3], dtype=torch.float64)

    def exact(denoise, process, vectors, batch, steps, rng):
        padding = torch.tensor([row[: row.index(END)].count(PAD) for row in batch.ids.tolist()])
        orders = [math.comb(len(row) + k, k) for row, k in zip(rows, padding.tolist(), strict=True)]
        assert [words(row) for row in batch.ids.tolist()] == rows and padding.tolist() == [3, 1]
        return -(p_text / torch.tensor(orders)).log()

    monkeypatch.setattr(sed, "chain_bound", exact)
    for seed in range(3):
        assert torch.allclose(made.nll(canvases(*rows), Rng(seed, [0, 1])), -p_text.log())


def test_training_sees_padding_inside_and_only_there_where_it_is_asked_for(monkeypatch):
    seen = []
    either = sed.given_either
    monkeypatch.setattr(sed, "given_either", lambda real, most, singly, rng: either(real, 1, singly, rng))
    for padding in (0.0, 0.4):
        made, batch = system(padding=padding), canvases(*[[5, 6, 7, 8]] * 8)
        encode = made.net.space.encode
        monkeypatch.setattr(made.net.space, "encode", lambda ids, *how, e=encode: seen.append(ids) or e(ids, *how))
        (loss,) = made.losses(batch, Rng(0, range(8), "train/0", 8))
        assert loss.count == 8 * L
    plain, padded = seen
    assert torch.equal(plain, batch.ids)
    assert [words(row) for row in padded.tolist()] == [[5, 6, 7, 8]] * 8
    assert {row[: row.index(END)].count(PAD) for row in padded.tolist()} == {3}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ending": Ending.LENGTH}, "set ending=fill"),
        ({"end": 1}, "this tokenizer pads with its end"),
        ({"padding": 1.0}, "padding at least 0 and below 1"),
    ],
)
def test_padding_that_cannot_be_is_refused(settings, sentence):
    how = {"vocab": 11, "canvas": L, "ending": Ending.FILL, "net": TransformerSpec(), "padding": 0.1}
    with pytest.raises(UsageError, match=sentence):
        SEDSpec(**how | settings)


# -- in runs -----------------------------------------------------------------------------------------------------------

TOKENIZER = train_tokenizer("word", ["a b c d e"] * 2, [])


def written(padding: float, text: str, **asked) -> tuple[str, list[int], str]:
    """(text, ids, pieces of the last draft) of a run whose sampler writes the words of `text`."""
    net = TransformerSpec(dim=16, depth=1, heads=2)
    spec = SEDSpec(vocab=TOKENIZER.size, canvas=L, ending=Ending.FILL, net=net, width=4, padding=padding)
    made = SED(spec, None)
    names = {"<end>": END, "<pad>": PAD}
    ids = [names.get(word) or TOKENIZER.encode(word)[0] if word != "<end>" else END for word in text.split()]

    def sample(request):
        canvas, row = request.canvas, torch.tensor([[*ids, *[PAD] * L][:L]])
        assert not canvas.given.any() or torch.equal(row[canvas.given], canvas.ids[canvas.given])
        known = torch.ones_like(canvas.real)
        yield Frame(1, 1, torch.zeros(1), row, known, torch.ones(1, L), torch.ones(1, dtype=torch.int64), True)

    made.sample = sample
    run = Run(SimpleNamespace(name="nowhere"), {"data": {}}, made, torch.device("cpu"), TOKENIZER, None)
    (draft,) = run.stream(1, **asked)
    (sample,) = draft.samples
    return sample.text, sample.ids, "".join(piece.text for piece in draft.rows[0])


def test_no_text_shows_padding_wherever_it_was_written():
    a, b, c = (TOKENIZER.encode(word)[0] for word in "abc")
    assert written(0.1, "<pad> a <pad> <pad> b <pad> c <pad> <end>") == ("a b c", [a, b, c], " a b c")
    assert written(0.1, "<pad> a <end> b <pad> c") == ("a", [a], " a")
    assert written(0.1, "a b <pad> c <pad> <end>", prefix="a b") == ("a b c", [a, b, c], " a b c")
    assert written(0.1, "a <pad> b c", prefix="a ") == ("a b c", [a, b, c], " a b c")


def test_elsewhere_padding_ends_a_text():
    a, b = (TOKENIZER.encode(word)[0] for word in "ab")
    assert written(0.0, "a b <pad> c <end>") == ("a b", [a, b], " a b")


def test_gaps_are_filled_with_tokens_and_what_is_given_comes_back(tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    letters = "abcdefgh"
    lines = [" ".join(letters[(i * k + k) % 8] for k in range(1, 3 + i % 6)) for i in range(60)]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n")
    settings = {"dim": "16", "depth": "1", "heads": "2", "batch": "8", "validations": "1"}
    settings |= {"ending": "fill", "padding": "0.3"}
    list(mezzotint.train("sed", [tmp_path / "texts.txt"], out=tmp_path / "run", max_steps=20, settings=settings))
    run = mezzotint.load(tmp_path / "run")
    drafts = list(run.stream(20, steps=4))
    assert any(run.tokenizer.pad in row[: row.index(END)] for row in ids_of(run, 20) if END in row), "it learned some"
    for row, sample in zip(drafts[-1].rows, drafts[-1].samples, strict=True):
        assert "".join(p.text for p in row).removeprefix(" ") == sample.text and "<" not in sample.text
        assert PAD not in sample.ids and run.tokenizer.decode(sample.ids) == sample.text
    for sample in run.infill("a [2] c", n=4):
        assert sample.text.startswith("a ") and sample.text.endswith(" c") and len(sample.text.split()) == 4
    assert all(sample.text.startswith("a b") for sample in run.generate(4, prefix="a b"))


def ids_of(run: Run, n: int) -> list[list[int]]:
    """What the sampler wrote, before any of it is taken away."""
    (task,) = run.task_builder.tasks(n, None, None, n, {"steps": 4})
    *_, last = run.system.sample(task.request)
    return last.ids.tolist()
