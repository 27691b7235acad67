"""The judge of parts of speech on real text: treebanks cut as we cut words, and a tagger that learns from them."""

from __future__ import annotations

import json
import lzma
import re
import sys

import pytest

from benchmarks import tagger as made
from benchmarks.data import ORIGINALS
from benchmarks.tagger import TREEBANKS, Tagged, accuracy, cut, sentence_of
from mezzotint.evaluate.words import words

needs_treebanks = pytest.mark.skipif(
    not all((ORIGINALS / name).exists() for name in TREEBANKS), reason="the treebanks are not beside the repository"
)

CONLLU = """# sent_id = 1
# text = I don't eat 10.50 pizzas-to-go, Ann.
1	I	I	PRON	_	_	0	_	_	_
2-3	don't	_	_	_	_	_	_	_	_
2	do	do	AUX	_	_	0	_	_	_
3	n't	not	PART	_	_	0	_	_	_
4	eat	eat	VERB	_	_	0	_	_	_
4.1	gone	go	VERB	_	_	0	_	_	_
5	10.50	10.50	NUM	_	_	0	_	_	_
6	pizzas	pizza	NOUN	_	_	0	_	_	SpaceAfter=No
7	-	-	PUNCT	_	_	0	_	_	SpaceAfter=No
8	to	to	ADP	_	_	0	_	_	SpaceAfter=No
9	-	-	PUNCT	_	_	0	_	_	SpaceAfter=No
10	go	go	VERB	_	_	0	_	_	SpaceAfter=No
11	,	,	PUNCT	_	_	0	_	_	_
12	Ann	Ann	PROPN	_	_	0	_	_	SpaceAfter=No
13	.	.	PUNCT	_	_	0	_	_	_"""


def test_a_word_of_ours_has_the_tag_of_the_treebanks_word_in_which_it_begins():
    one = sentence_of(CONLLU.splitlines())
    assert " ".join(one.words) == "I don ' t eat 10 . 50 pizzas - to - go , Ann ."
    assert " ".join(one.tags) == ("PRON AUX PART PART VERB NUM NUM NUM NOUN PUNCT ADP PUNCT VERB PUNCT PROPN PUNCT")
    assert cut("It isn't.", [(0, "PRON"), (3, "AUX"), (5, "PART"), (8, "PUNCT")]).tags[1] == "AUX"


@needs_treebanks
@pytest.mark.parametrize("name", TREEBANKS)
def test_the_words_of_a_treebank_are_those_of_its_texts(name):
    sentences = made.treebank(name, "test")
    with lzma.open(ORIGINALS / name / "test.conllu.xz", "rt", encoding="utf-8") as file:
        texts = re.findall(r"^# text = (.*)$", file.read(), re.MULTILINE)
    assert len(sentences) == len(texts)
    assert [list(one.words) for one in sentences] == [words(text) for text in texts]
    assert all(len(one.words) == len(one.tags) for one in sentences)
    assert {tag for one in sentences for tag in one.tags} <= UNIVERSAL


UNIVERSAL = {
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
}  # fmt: skip

SENTENCES = [
    Tagged(("The", noun, verb, "the", adjective, noun, "."), ("DET", "NOUN", "VERB", "DET", "ADJ", "NOUN", "PUNCT"))
    for noun in ("pub", "river", "coach", "menu", "chef")
    for verb in ("likes", "serves", "leaves")
    for adjective in ("old", "new", "cold")
]


def test_a_tagger_learns_its_treebank_and_is_read_as_it_was_left(tmp_path, monkeypatch, capsys):
    pytest.importorskip("spacy", reason="spaCy, which trains the tagger, is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(made, "treebank", lambda name, split: SENTENCES)
    monkeypatch.setattr(made, "published", lambda: SENTENCES[:1])
    monkeypatch.setattr(sys, "argv", ["tagger", "--epochs", "8"])
    made.main()
    made.tagger.cache_clear()
    one = made.tagger()
    assert accuracy(one, SENTENCES) == (1.0, 1.0)
    assert one.tags(["The", "new", "menu", "."]) == ("DET", "ADJ", "NOUN", "PUNCT")
    card = made.card()
    assert card["tested"]["both"] == {"words": 1.0, "texts": 1.0, "n": 2 * 7 * len(SENTENCES)}
    assert f"{one.name}, ud_ewt: 100.00% of {7 * len(SENTENCES)} words" in capsys.readouterr().out
    assert json.loads((made.FOLDER / made.CARD).read_text()) == card and made.has_tagger()
    made.tagger.cache_clear()


def test_the_share_told_right_is_over_words_and_over_whole_sentences():
    class Half:
        def each(self, texts):
            yield from (("DET", *["NOUN"] * (len(text) - 1)) for text in texts)

    some = [Tagged(("a", "b"), ("DET", "NOUN")), Tagged(("a", "b", "c"), ("DET", "VERB", "NOUN"))]
    assert accuracy(Half(), some) == (4 / 5, 1 / 2)


def test_without_a_tagger_the_command_that_makes_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.tagger.cache_clear()
    assert not made.has_tagger()
    with pytest.raises(SystemExit, match=r"`python -m benchmarks\.tagger` trains it"):
        made.tagger()
