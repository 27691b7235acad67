"""Canvases hold exactly the texts they are made from, and templates come back byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mezzotint.data.canvas import canvas_length, free, pack, prefix_canvas, room, template_canvas
from mezzotint.data.template import Gap, Given, Template, parse_template
from mezzotint.data.tokenizer import Tokenizer, train_tokenizer
from mezzotint.errors import UsageError
from mezzotint.types import Canvas, Ending

few = settings(max_examples=30, deadline=None)

TEXTS = ["The cat sat, and the cat ran.", "a cat: the end!", "the\tend\n of  the end", "\n a cat sat"] * 3
TOKENIZERS = [train_tokenizer("word", TEXTS, TEXTS), train_tokenizer("bpe", TEXTS, TEXTS)]
END, PAD = 0, 1
ALLOWED = {
    (t.kind, start): st.sampled_from([i for i in range(3, t.size) if start == 0 or t.spaced[i] == (start > 0)])
    for t in TOKENIZERS
    for start in (-1, 0, 1)
}

some_rows = st.lists(st.lists(st.integers(2, 50), min_size=1, max_size=22), min_size=1, max_size=5)


def packed(rows: list[list[int]], ending: Ending, length: int) -> Canvas:
    return pack([np.array(row) for row in rows], range(len(rows)), ending, length, END, PAD)


@given(some_rows, st.sampled_from(Ending))
@few
def test_a_packed_canvas_holds_its_texts_and_nothing_else_is_real(rows: list[list[int]], ending: Ending) -> None:
    canvas = packed(rows, ending, 23)
    tail = {Ending.LENGTH: 0, Ending.SYMBOL: 1}
    for i, row in enumerate(rows):
        line = canvas.ids[i].tolist()
        assert line[: len(row)] == row and set(line[len(row) + 1 :]) <= {PAD}
        assert line[len(row) : len(row) + 1] in ([], [PAD] if ending is Ending.LENGTH else [END])
        known = len(line) if ending is Ending.FILL else len(row) + tail[ending]
        assert canvas.real[i].tolist() == [j < known for j in range(len(line))]
    assert not canvas.given.any() and canvas.index.tolist() == list(range(len(rows)))


@pytest.mark.parametrize(
    ("ending", "longest", "width"),
    [
        (Ending.LENGTH, 16, 16), (Ending.LENGTH, 17, 20), (Ending.LENGTH, 3, 8),
        (Ending.SYMBOL, 15, 16), (Ending.SYMBOL, 16, 20), (Ending.FILL, 3, 20),
    ],
)  # fmt: skip
def test_width_is_the_longest_row_rounded_up_to_eights_within_the_canvas(ending, longest: int, width: int) -> None:
    assert packed([[5], [5] * longest], ending, 20).ids.shape == (2, width)


@pytest.mark.parametrize("ending", Ending)
def test_a_row_may_take_all_the_room_and_no_more(ending: Ending) -> None:
    most = room(16, ending)
    assert packed([[5] * most], ending, 16).ids[0].tolist() == ([5] * most + [END])[:16]
    with pytest.raises(AssertionError, match="does not fit"):
        packed([[5] * (most + 1)], ending, 16)


@given(st.lists(st.integers(1, 300) | st.sampled_from([8, 16]), min_size=1, max_size=300), st.sampled_from(Ending))
@example([8] * 99 + [30], Ending.LENGTH)
@example([8] * 98 + [30] * 2, Ending.LENGTH)
@example([8] * 59 + [30], Ending.LENGTH)
@example([7] * 99 + [30], Ending.SYMBOL)
@few
def test_canvas_length_is_the_least_that_holds_99_in_100(lengths: list[int], ending: Ending) -> None:
    def fits(length: int) -> bool:
        return 100 * sum(n <= room(length, ending) for n in lengths) >= 99 * len(lengths)

    length = canvas_length(lengths, ending, 10_000)
    assert length % 8 == 0 and fits(length) and not fits(length - 8)
    assert canvas_length(lengths, ending, 64) == min(length, 64)


def test_a_free_canvas_has_as_many_positions_as_asked() -> None:
    canvas = free([3, 9], [7, 4], PAD)
    assert canvas.free.sum(1).tolist() == [3, 9] and canvas.ids.shape == (2, 9)
    assert canvas.real[0].tolist() == [True] * 3 + [False] * 6
    assert canvas.index.tolist() == [7, 4] and not canvas.given.any()
    assert free([3, 9], [7, 4], PAD, width=11).ids.shape == (2, 11)


def test_a_prefixed_canvas_gives_the_prefix_and_frees_the_rest() -> None:
    canvas = prefix_canvas([5, 6], [3, 9], [7, 4], PAD, start=1)
    assert canvas.ids[:, :2].tolist() == [[5, 6]] * 2
    assert canvas.given.sum(1).tolist() == [2, 2] and canvas.given[:, :2].all()
    assert canvas.free.sum(1).tolist() == [1, 7] and canvas.real.sum(1).tolist() == [3, 9]
    assert canvas.start is not None and canvas.start.nonzero().tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The [3] pub", [Given("The "), Gap(3, 3), Given(" pub")]),
        ("[2-5]", [Gap(2, 5)]),
        ("[ ]a[]", [Gap(1, 8), Given("a"), Gap(1, 8)]),
        ("[1][2-3][]", [Gap(4, 12)]),
        ("[1] [2]", [Gap(1, 1), Given(" "), Gap(2, 2)]),
        (r"\[1] [1]", [Given("[1] "), Gap(1, 1)]),
        (r"\\[1]", [Given("\\"), Gap(1, 1)]),
        (r"\\\[1][1]", [Given("\\[1]"), Gap(1, 1)]),
        (r"a\b\\c[1]\n", [Given(r"a\b\\c"), Gap(1, 1), Given(r"\n")]),
        (r"\\[x][1]", [Given(r"\[x]"), Gap(1, 1)]),
        ("[a] [1-] [-1] [1.5] [  ] [[1] [", [Given("[a] [1-] [-1] [1.5] [  ] ["), Gap(1, 1), Given(" [")]),
    ],
)
def test_templates_are_read_as_written(text: str, pieces: list[Given | Gap]) -> None:
    assert parse_template(text) == Template(tuple(pieces))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a [0] b", r"the gap \[0\] cannot be filled: it has a token at least; write \[3\]"),
        (r"\\[5-2]", r"the gap \[5-2\] cannot be filled: it ends before it begins"),
        ("[0-3]", r"the gap \[0-3\] cannot be filled"),
        ("no gap", r"there is no gap in 'no gap'; write \[3\] for three tokens"),
        (r"\[3]", r"there is no gap in"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_template(text)


escaped = st.text(st.sampled_from("[]\\ ab1-\n"), max_size=12)


@given(st.lists(escaped, min_size=2, max_size=4))
@few
def test_any_text_can_stand_in_a_template(texts: list[str]) -> None:
    def quoted(text: str, before_gap: bool) -> str:
        plain = text.rstrip("\\")
        tail = len(text) - len(plain)
        runs = plain.split("[")
        for i, run in enumerate(runs[:-1]):
            runs[i] = run + "\\" * (len(run) - len(run.rstrip("\\"))) + "\\["
        return "".join(runs) + "\\" * tail * (2 if before_gap else 1)

    template = parse_template("[2]".join(quoted(text, i < len(texts) - 1) for i, text in enumerate(texts)))
    merged: list[str] = [texts[0]]
    for text in texts[1:-1]:
        merged += [text] if text else []
    assert [p.text for p in template.pieces if isinstance(p, Given)] == [t for t in [*merged, texts[-1]] if t]


def gapped(draw: st.DrawFn, tokenizer: Tokenizer) -> tuple[Template, list[int], list[int]]:
    """A template, the lengths of its gaps, and a row in which the gaps are filled as they demand."""
    text = st.lists(st.sampled_from(["cat", " ", "the", ".", "\n", "é", " end", "<end>"]), max_size=5).map("".join)
    pieces: list[Given | Gap] = []
    for _ in range(draw(st.integers(1, 3))):
        between = draw(text if not pieces else text.filter(bool))
        pieces += [*([Given(between)] if between else []), Gap(1, 4)]
    after = draw(text)
    template = Template((*pieces, Given(after)) if after else tuple(pieces))
    lengths = [draw(st.integers(1, 4)) for _ in template.gaps]
    ids, given_, start = template.fill(tokenizer, lengths)
    for place, known in enumerate(given_):
        if not known:
            ids[place] = draw(ALLOWED[tokenizer.kind, start[place]])
    return template, lengths, ids


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["word", "bpe"])
@given(st.data())
@few
def test_given_pieces_come_back_byte_for_byte_around_the_gaps(tokenizer: Tokenizer, data: st.DataObject) -> None:
    template, lengths, ids = data.draw(st.composite(gapped)(tokenizer))
    text = template.text(tokenizer, ids, lengths)
    assert text.startswith(template.pieces[0].text if isinstance(template.pieces[0], Given) else "")
    _, given_, start = template.fill(tokenizer, lengths)
    rest, place = text, 0
    for piece in template.pieces:
        if isinstance(piece, Given):
            assert rest.startswith(piece.text)
            rest = rest[len(piece.text) :]
            continue
        place = given_.index(False, place)
        stop = next((i for i in range(place, len(ids)) if given_[i] or (i > place and start[i])), len(ids))
        filling = tokenizer.decode(ids[place:stop], virtual_space=start[place] == 1)
        assert rest.startswith(filling)
        rest, place = rest[len(filling) :], stop
    assert rest == ""


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["word", "bpe"])
@given(st.data())
@few
def test_a_row_without_unknown_words_decodes_to_the_same_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    template, lengths, ids = data.draw(st.composite(gapped)(tokenizer))
    if tokenizer.unk not in ids:
        whole, text = tokenizer.decode(ids), template.text(tokenizer, ids, lengths)
        assert whole == text or "\ufffd" in whole + text


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["word", "bpe"])
@pytest.mark.parametrize(
    ("text", "given_text", "start"),
    [
        ("[3] end", ("", " end"), 1),
        (" [3]", (" ", ""), 1),
        ("The [3] end", (" The", " end"), 1),
        ("The  [3]", (" The ", ""), 1),
        ("the[3]d", (" the", "d"), -1),
        ("the\n[3]", (" the\n", ""), -1),
    ],
)
def test_one_space_before_a_gap_is_asked_of_its_first_token(
    tokenizer: Tokenizer, text: str, given_text: tuple[str, str], start: int
) -> None:
    ids, given_, starts = parse_template(text).fill(tokenizer, [3])
    left, right = (tokenizer.encode(part, virtual_space=False) for part in given_text)
    assert ids == [*left, PAD, PAD, PAD, *right]
    assert given_ == [True] * len(left) + [False] * 3 + [True] * len(right)
    assert starts == [0] * len(left) + [start, 0, 0] + [0] * len(right)


def test_a_space_that_was_not_written_does_not_change_what_is_given() -> None:
    word = TOKENIZERS[0]
    ids = [*word.encode("The"), *word.encode("end", virtual_space=False), *word.encode("cat")]
    assert parse_template("The [1] cat").text(word, ids) == "The end cat"


def test_template_rows_are_equal_and_have_their_own_streams() -> None:
    template = parse_template("The [2] cat[1-3]")
    canvas = template_canvas(template, TOKENIZERS[0], [[2, 3]] * 4, range(6, 10))
    row = template.fill(TOKENIZERS[0], [2, 3])
    assert canvas.start is not None and canvas.start.dtype == torch.int8 and canvas.real.all()
    for i in range(4):
        assert (canvas.ids[i].tolist(), canvas.given[i].tolist(), canvas.start[i].tolist()) == row
    assert canvas.index.tolist() == [6, 7, 8, 9]


def test_lengths_may_be_left_out_where_no_gap_is_open() -> None:
    word = TOKENIZERS[0]
    ids = [*word.encode("The cat"), *word.encode("ran.")]
    assert parse_template("[1] cat [1].").text(word, ids) == "The cat ran."
    with pytest.raises(AssertionError, match="open gaps"):
        parse_template("[1-2] cat").text(word, ids)


def test_a_demand_that_no_possible_id_meets_is_dropped() -> None:
    inf = float("inf")
    spaced = torch.tensor([True, True, False])
    start = torch.tensor([[1, -1, 0]], dtype=torch.int8)
    canvas = Canvas(
        torch.zeros(1, 3).long(), torch.zeros(1, 3).bool(), torch.ones(1, 3).bool(), torch.tensor([0]), start
    )
    logits = torch.tensor([1.0, 2.0, 3.0]).expand(1, 3, 3)
    assert canvas.respect_spacing(logits, spaced).tolist() == [[[1, 2, -inf], [-inf, -inf, 3], [1, 2, 3]]]
    without = logits.clone()
    without[..., 2] = -inf  # forbidden: then nothing that may be drawn begins without a space
    assert canvas.respect_spacing(without, spaced).tolist() == [[[1, 2, -inf]] * 3]
    at = (torch.tensor([0, 0]), torch.tensor([1, 0]))
    assert canvas.respect_spacing(without[at], spaced, at).tolist() == [[1, 2, -inf]] * 2
