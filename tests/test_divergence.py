"""mauve[judge]: 1 for one law, 0 for two that share nothing, and what is known exactly in between."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mezzotint
from mezzotint import checks
from mezzotint.checks import check_mauve
from mezzotint.errors import RunError, UsageError
from mezzotint.evaluate import divergence as page
from mezzotint.evaluate.divergence import area, divergence
from mezzotint.judge import Judge

needs_mauve = pytest.mark.skipif(find_spec("mauve") is None, reason="mauve-text is an extra")


class Classifiers:
    """Its vector of a text is what the text says."""

    name, sha8 = "reader", "0123abcd"

    def token_nll(self, texts: Sequence[str]) -> list[NDArray[np.float64]]:
        raise AssertionError("nobody asked")

    def features(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[float(number) for number in text.split()] for text in texts])


def cloud(n: int, seed: int, middle: float = 0.0) -> list[str]:
    points = np.random.default_rng(seed).normal((middle, 0, 0), size=(n, 3))
    return [" ".join(f"{x:.4f}" for x in point) for point in points]


def kinds(*times: int) -> list[str]:
    """So many texts of each of some kinds that no clustering can confuse."""
    return [" ".join("1" if i == k else "0" for i in range(len(times))) for k, n in enumerate(times) for _ in range(n)]


@needs_mauve
def test_the_score_is_exact_where_clusters_are_certain() -> None:
    p, q = kinds(250, 125, 125, 0), kinds(125, 125, 0, 250)
    shares = (np.array(counts) / 500 for counts in ((250, 125, 125, 0), (125, 125, 0, 250)))
    found = divergence(p, q, Classifiers())
    assert found.value == pytest.approx(float(area(*shares)), abs=1e-9)
    assert (found.name, found.n, found.judge) == ("mauve[judge]", 500, "reader 0123abcd")
    assert "features of judge reader 0123abcd" in found.note


@needs_mauve
def test_two_samples_of_one_law_are_near_and_two_laws_far() -> None:
    one, other, far = cloud(500, 0), cloud(500, 1), cloud(500, 2, middle=40.0)
    near, apart = divergence(one, other, Classifiers()), divergence(one, far, Classifiers())
    assert near.value > 0.9 and apart.value < 0.01
    assert near.stderr is not None and 0 < near.stderr < 0.05
    mixed = np.random.default_rng(0).permutation(500)
    again = divergence([other[i] for i in mixed], [one[i] for i in mixed[::-1]], Classifiers())
    assert again == near, "neither the order of texts nor which sample is which has a say"
    assert divergence(one, one[::-1], Classifiers()).value == pytest.approx(1.0)


def test_the_area_has_known_values() -> None:
    p, q = np.array([0.25, 0.75, 0, 0]), np.array([0, 0, 0.5, 0.5])
    assert area(p, p) == pytest.approx(1.0, abs=1e-4)
    # Of disjoint histograms the curve is ((1 - w)^5, w^5), and the area 5 B(6, 5).
    assert area(p, q) == pytest.approx(1 / 252, rel=0.04)
    r = np.array([0.5, 0.25, 0.25, 0])
    assert area(p, r) == pytest.approx(area(r, p)) and area(p, q) < area(p, r) < 1
    assert area(np.stack([p, r]), np.stack([q, q])) == pytest.approx([float(area(p, q)), float(area(r, q))])


def test_the_standard_error_is_the_spread_of_samples_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(50)), rng.dirichlet(np.ones(50))
    drawn = [rng.multinomial(n, law, size=2000) / n for n, law in ((500, p), (2000, q))]
    spread = area(*drawn).std()
    errors = [page._error(drawn[0][i], drawn[1][i], (500, 2000), seed=i) for i in range(40)]
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 500 texts; here one has 499"):
        divergence(cloud(499, 0), cloud(500, 1), Classifiers())


def test_a_call_that_lacks_something_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match="name one with judge"):
        check_mauve({"data": {"files": ["a.txt"]}}, None)
    for files, judge in ((["bistro"], None), (["a.txt"], "runs/judge")):
        with pytest.raises(UsageError, match=r'pip install "mezzotint\[mauve\]"'):
            check_mauve({"data": {"files": files}}, judge)


# -- with a judge of ours ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()
    patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
    words = ["The", "old", "new", "river", "pub", "stands", "near", "by", "is", "cold", "."]
    lines = [" ".join(words[(i * k + k) % 11] for k in range(1, 4 + i % 9)) for i in range(90)]
    (root / "texts.txt").write_text("\n".join(lines) + "\n")
    settings = {"dim": "16", "depth": "1", "heads": "2", "batch": "16"}
    for name, system, more in (("ar", "ar", {}), ("long", "ar", {"canvas": "8"}), ("mdlm", "mdlm", {})):
        layout = "windows" if name == "long" else "texts"
        how = {"max_steps": 2, "layout": layout, "settings": settings | more, "valid": [root / "texts.txt"]}
        list(mezzotint.train(system, [root / "texts.txt"], out=root / name, **how))
    yield root
    patch.undo()


def test_features_are_what_the_judge_predicts_from_whatever_the_batch(runs: Path) -> None:
    judge = Judge(mezzotint.load(runs / "ar"))
    judge.run.system.players["model"].double()
    texts = ["The old pub .", "river", "", "The new river stands near by is cold ."]
    found = judge.features(texts)
    alone = np.concatenate([judge.features([text]) for text in texts])
    assert found.shape == (4, 16) and found == pytest.approx(alone, abs=1e-12)
    # It is what the head reads, and from it comes the end.
    end, ids = judge.run.tokenizer.end, judge.run.tokenizer.encode(texts[0])
    net: Any = judge.run.system.players["model"]
    said = torch.from_numpy(found[0]) @ net.embed.weight.detach().T + net.head.bias.detach()
    assert -said.log_softmax(-1)[end].item() == pytest.approx(judge.token_nll(texts)[0][-1], abs=1e-6)
    with torch.no_grad():
        whole = net(torch.tensor([[end, *ids]]))[0, -1]
    assert said.numpy() == pytest.approx(whole.numpy(), abs=1e-6)


def test_a_text_longer_than_the_judges_canvas_is_read_in_order(runs: Path) -> None:
    judge = Judge(mezzotint.load(runs / "long"))
    judge.run.system.players["model"].double()
    ids = judge.run.tokenizer.encode("The old new river pub stands near by is cold . The old river .")
    text = judge.run.tokenizer.decode(ids)
    nll = judge.token_nll(["old", text, "The river"])[1]
    parts = [judge._pack([ids[i : i + 8]]) for i in range(0, len(ids), 8)]
    expected = np.concatenate([judge._token_nll(part)[0] for part in parts])
    assert len(ids) % 8 and nll == pytest.approx(expected, abs=1e-9)
    assert judge.features([text]) == pytest.approx(np.array(judge._last_vectors(parts[0])), abs=1e-9)


def test_only_an_ar_run_judges(runs: Path) -> None:
    with pytest.raises(RunError, match="a judge must be a run of ar"):
        Judge(mezzotint.load(runs / "mdlm"))


@needs_mauve
def test_evaluate_compares_samples_and_data_with_other_held_out_texts(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mezzotint.assess.scores.LEAST", 20)
    monkeypatch.setattr(page, "LEAST", 20)
    compared: list[tuple[list[str], list[str]]] = []

    def seen(texts: list[str], others: list[str], judge: Any, *, seed: int = 0) -> mezzotint.Score:
        compared.append((texts, others))
        return divergence(texts, others, judge, seed=seed)

    monkeypatch.setattr("mezzotint.assess.scores.divergence", seen)
    how: dict[str, Any] = {"judge": runs / "ar", "steps": 2, "mauve": True}
    found = list(mezzotint.evaluate_run(runs / "mdlm", [runs / "texts.txt"], **how))
    scores = {column: score for column, score in found if score.name == "mauve[judge]"}
    (written, others), (data, same) = compared
    held_out = (runs / "texts.txt").read_text().splitlines()
    assert sorted(data + others) == sorted(held_out) and same == others and len(written) == 45
    assert scores["data"].value > scores["mdlm"].value
    assert scores["mdlm"].judge.startswith("ar ")
    with pytest.raises(UsageError, match=r"mauve needs 100 held-out texts.*there are 90"):
        list(mezzotint.evaluate_run(runs / "mdlm", [runs / "texts.txt"], n=50, **how))
    with pytest.raises(UsageError, match="at least 20 texts, and n is 19"):
        list(mezzotint.evaluate_run(runs / "mdlm", [runs / "texts.txt"], n=19, **how))
    with pytest.raises(UsageError, match="name one with judge"):
        list(mezzotint.evaluate_run(runs / "mdlm", [runs / "texts.txt"], mauve=True))
