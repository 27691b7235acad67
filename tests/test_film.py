"""Films: a page complete in itself in which text is text, and a moving picture."""

from __future__ import annotations

import io
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

import mezzotint
from mezzotint import Draft, Piece, Sample, UsageError
from mezzotint.film.page import page
from mezzotint.film.picture import MARGIN, WIDTH, picture

NASTY = "</script><script>document.title='hacked'</script> <!-- <b>bold</b> & \u2028 end"
WORDS = NASTY.split(" ")


def drafts(long: int = 1) -> Iterator[Draft]:
    """A text of which one more word is known in each draft, the second given."""
    for step in range(len(WORDS) + 1):
        row = [Piece(f" {w}", p < step or p == 1, p == 1, (p % 10) / 10) for p, w in enumerate(WORDS * long)]
        done = step == len(WORDS)
        samples = [Sample(NASTY, [1], step, 9, 0, 0)] if done else []
        yield Draft(step, 9, [1 - step / len(WORDS)], [row], [step], done, samples)


def kept(long: int = 1) -> mezzotint.Film:
    film = mezzotint.Film("mezzotint sample <runs>")
    assert len(list(film.of(drafts(long)))) == len(WORDS) + 1
    return film


class Classifiers(HTMLParser):
    """The elements of a page and what stands in them, as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}, ""))  # what follows is not in it

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attrs, before = self.found[-1]
            self.found[-1] = tag, attrs, before + data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, text) for name, attrs, text in self.found if name == tag]


def test_the_page_holds_every_draft_as_text() -> None:
    text = page(kept())
    read = Classifiers(text)
    (data, frames), (_, script) = read.of("script")
    assert data["type"] == "application/json"
    stills = json.loads(frames)
    assert len(stills) == len(WORDS) + 1 and stills[0]["caption"] == "step 0 of 9 · evaluations 0 · t 1.00"
    assert [cell[1] for cell in stills[0]["rows"][0]].count("hidden") == len(WORDS) - 1
    last = stills[-1]["rows"][0]
    assert "".join(text for text, _ in last).strip() == NASTY and last[1][1] == "given"
    sure = dict(enumerate(kind for _, kind in last))
    assert [sure[0], sure[3], sure[5]] == ["c0", "c1", "c2"]
    assert [text.strip() for _, text in read.of("li")] == [NASTY]
    assert [text.strip() for _, text in read.of("title")] == ["mezzotint sample <runs>"]
    assert not read.of("b") and not read.of("img")
    (said,) = (str(attrs["content"]) for attrs, _ in read.of("meta") if "http-equiv" in attrs)
    for content in (script, read.of("style")[0][1]):
        assert f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in said
    assert said.startswith("default-src 'none'") and "unsafe" not in said
    assert not re.search(r"https?:|//\w+\.|innerHTML", script) and "src=" not in text.replace("-src", "")


def test_the_picture_moves_and_keeps_its_margins() -> None:
    moving = Image.open(io.BytesIO(picture(kept(long=9))))
    frames = [frame.copy() for frame in ImageSequence.Iterator(moving)]
    assert len(frames) == len(WORDS) + 1 and frames[-1].info["duration"] > frames[0].info["duration"]
    pixels = [np.asarray(frame.convert("L")).astype(int) for frame in frames]
    assert len({p.shape for p in pixels}) == 1 and pixels[0].shape[1] == WIDTH
    assert all((a != b).any() for a, b in pairwise(pixels))
    paper = pixels[0][0, 0]
    for p in pixels:
        ink = (abs(p - paper) > 20).any(0)
        assert ink.any() and not ink[: MARGIN - 2].any() and not ink[WIDTH - MARGIN + 2 :].any()
        assert not (abs(p[-MARGIN // 2 :] - paper) > 20).any()


def test_a_long_film_is_thinned_out_evenly() -> None:
    film = kept()
    first, last = film.stills[0], film.stills[-1]
    film.stills = [first] * 500 + [last] + [first] * 500 + [last]
    assert 120 < len(film.shown) < 250 and [still.texts for still in film.shown if still.texts] == [[NASTY]] * 2
    assert film.shown[0] is first and film.shown[-1] is last


def test_a_film_is_written_whole_or_refused_with_a_sentence(tmp_path: Path) -> None:
    for name in ("film.html", "film.GIF"):
        kept().save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.GIF", "film.html"]
    for name, sentence in (
        ("film.mp4", "an .html, which plays in any browser, or a .gif; not film.mp4"),
        ("film", "not film"),
        ("nowhere/film.html", "is no folder that can be written to"),
    ):
        with pytest.raises(UsageError, match=sentence):
            mezzotint.check_film(tmp_path / name)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        mezzotint.check_film(tmp_path / "folder.html")
