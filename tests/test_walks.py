"""Walks between texts: how even they are, what the report shows of them; the law of texts that have an attribute."""

from __future__ import annotations

import json
import math
from itertools import product

import torch

from mezzotint.evaluate.walks import edits, pairs, pieces, smoothness, with_distances
from mezzotint.evaluate.words import words
from mezzotint.rng import Rng
from mezzotint.space.latent import draw, moments
from mezzotint.training.evidence import gather, walk_chart
from mezzotint.training.report import report
from mezzotint.types import Posterior

A, B = "the food was cold .", "the staff was great ."


def test_edits_are_a_distance_and_the_least_number_of_changes():
    texts = [list(letters) for n in range(4) for letters in product("ab", repeat=n)]
    reached = {0: {("a", "b", "a")}}
    for n in (1, 2, 3):  # everything that one more change makes of what there was
        found = set()
        for text in reached[n - 1]:
            for i in range(len(text) + 1):
                found |= {(*text[:i], c, *text[i:]) for c in "ab"} | {(*text[:i], *text[i + 1 :])}
                found |= {(*text[:i], c, *text[i + 1 :]) for c in "ab"}
        reached[n] = found
    for text in texts:
        least = min(n for n in reached if tuple(text) in reached[n])
        assert edits(["a", "b", "a"], text) == least == edits(text, ["a", "b", "a"])
    for a, b, c in product(texts[:8], repeat=3):
        assert edits(a, c) <= edits(a, b) + edits(b, c)


def test_a_straight_walk_a_detour_and_a_jump():
    straight = [A, "the staff was cold .", B]
    detour = [A, "we left .", B]
    jump = [A, A, B]
    for walks, smooth, step in (([straight], 1.0, 0.5), ([jump], 1.0, 1.0), ([straight, jump], 1.0, 0.75)):
        found = {score.name: score for score in smoothness(walks)}
        assert found["interpolation_smoothness"].value == smooth and found["longest_step"].value == step
    (score, _) = smoothness([detour])
    assert score.value == 2 / (edits(words(A), words(detour[1])) + edits(words(detour[1]), words(B)))
    far = ["one", "one two", "one two three four"]
    assert [score.value for score in smoothness([far])] == [1.0, 2 / 3]
    (score, _) = smoothness([straight, [A, B, A]])
    assert score.n == 1 and "1 of 2 walks end where they began" in score.note
    assert math.isnan(next(iter(smoothness([[A, A]]))).value) and math.isnan(next(iter(smoothness([]))).value)


def test_what_is_drawn_of_a_walk_is_its_texts():
    texts = [A, "the  food, was\nbad", "", B]
    found = with_distances(texts)
    assert ["".join(piece["text"] for piece in point["pieces"]) for point in found] == texts
    assert [(p["text"], p["first"], p["last"]) for p in found[1]["pieces"]][:3] == [
        ("the", True, True), ("  food", True, False), (",", False, False),
    ]  # fmt: skip
    assert [found[0]["from_first"], found[0]["from_last"], found[-1]["from_first"], found[-1]["from_last"]] == [
        0, 2, 2, 0,
    ]  # fmt: skip
    assert pieces("  a b. ") == ["  a", " b", ". "] and pieces("") == []
    chosen = pairs(9, 64)
    assert len(chosen) == 4 and len({i for pair in chosen for i in pair}) == 8 and pairs(9, 2) == chosen[:2]


def test_the_report_shows_walks_where_there_can_be_some(tmp_path):
    def shown(config: dict[str, object], walks: object = None) -> str:
        (tmp_path / "config.json").write_text(json.dumps({"format": 1, "system": "x", **config}))
        (tmp_path / "walks.json").write_text(json.dumps(walks))
        return report(tmp_path).read_text()

    assert "From one text to another" not in shown({"can": ["infill"]})
    assert "No walk between two texts has been kept" in shown({"can": ["interpolate"]})
    page = shown({"can": ["interpolate"]}, [with_distances([A, "a <b> of it", B])])
    assert '<span class="known first">food</span>' in page and '<span class="known last">great</span>' in page
    assert page.count('class="known ') == 4 + 2, "two words of either end, and the key"
    assert page.count(" of 3</span>") == 3 and "&lt;" in page and "<svg" in page
    assert "No walk" in shown({"can": ["interpolate"]}, [[{"pieces": 3}], [], 7])
    damaged = shown({}, [[{"pieces": [3, {"text": None}], "from_first": "far"}]])
    assert "From one text to another" in damaged and "<svg" not in damaged
    (walk,) = gather(tmp_path).walks
    assert walk_chart(walk) is None


def test_the_law_of_examples_has_the_moments_of_draws_of_their_posteriors():
    g = torch.Generator().manual_seed(0)
    mean, logvar = (torch.randn(4, 3, generator=g, dtype=torch.float64) for _ in range(2))
    many = draw(Posterior(mean.repeat(10_000, 1), logvar.repeat(10_000, 1)), Rng(0, range(40_000)))
    law = moments(Posterior(mean, logvar))
    points = law.points(Rng(1, range(40_000)))
    assert torch.allclose(law.factor @ law.factor.T, many.T.cov(), atol=0.05)
    assert torch.allclose(points.T.cov(), many.T.cov(), atol=0.1)
    assert torch.allclose(points.mean(0), law.mean, atol=0.03)
    assert float((many.T.cov() - torch.diag(many.T.cov().diag())).abs().max()) > 0.3, "more than a diagonal is needed"
    assert torch.allclose(law.points(Rng(1, range(2))), points[:2])
