"""The report shows what the folder says, all of it and nothing else, whatever state the folder is in."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mezzotint.errors import RunError
from mezzotint.training.charts import Chart, Line, svg
from mezzotint.training.evidence import POINTS, gather, loss_charts, quality_charts
from mezzotint.training.report import TEXTS, report
from mezzotint.training.strips import FRAMES

NASTY = "<script>alert('a')</script> & \"b\" $\\frac$"
WORDS = ["The", " Swan", " is", " a", " pub", " near", " the", " river", " and", " cheap", " too", "."]
CONFIG = {
    "format": 1,
    "system": "mdlm",
    "spec": {"width": 128, "dropout": 0.0, "tied": True},
    "data": {"sources": [{"path": "data/reviews.txt", "sha256": "5e" * 32, "texts": 37854}], "field": None},
    "seed": 77,
    "versions": {"torch": "2.13.0"},
    "hardware": "two cores of something",
}
LOG = [
    {"step": 10 * i, "elapsed": 3.5 * i, "loss": 9 / i + 1, "lr": 1e-3, "tokens_per_second": 21347.25}
    | ({"valid": 2.0625 - i / 100} if i % 10 == 0 else {})
    for i in range(1, 41)
]
RESULTS = [
    {
        "column": "samples",
        "name": "judge_nll",
        "value": 2.8912345,
        "stderr": 0.0213,
        "n": 1013,
        "note": "judge a 12ab34cd",
    },
    {
        "column": "data",
        "name": "judge_nll",
        "value": 1.4881234,
        "stderr": 0.0121,
        "n": 1013,
        "note": "judge a 12ab34cd",
    },
    {"column": "samples", "name": "valid_share", "value": 0.5537, "stderr": None, "n": 997, "note": ""},
    {"column": "samples", "name": "judge_nll_matched", "value": None, "stderr": None, "n": 5, "note": "not reached"},
]
SAMPLES = {
    "samples": [
        {"steps": 4, "nfe": 3.906, "texts": ["The Swan is", ""]},
        {"steps": 16, "nfe": 9.5, "texts": ["A\nb"] * 30},
    ],
    "curve": [
        {"steps": 16, "nfe": 9.53125, "judge_nll": 2.89125, "entropy_words": 3.0625, "self_bleu": 61.5},
        {"steps": 4, "nfe": 3.90625, "judge_nll": 4.14375, "entropy_words": 2.884},
    ],
}
FILM = [
    [{"text": word, "known": i < shown, "confidence": 0.25} for i, word in enumerate(WORDS)]
    for shown in [0, *range(len(WORDS) + 1)]
]
PIECES = {"config.json": CONFIG, "results.json": RESULTS, "samples.json": SAMPLES, "film.json": FILM}


def fill(folder: Path, log: list[Any] = LOG, **changed: Any) -> Path:
    """A run folder with these pieces; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (PIECES | {f"{name}.json": value for name, value in changed.items()}).items():
        if value is not None:
            (folder / name).write_text(json.dumps(value))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(fill(tmp_path_factory.mktemp("runs") / "reviews-1")).read_text(encoding="utf-8")


class Classifiers(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def values(self, name: str) -> Iterator[str]:
        return (attributes[name] or "" for _, attributes in self.tags if name in attributes)


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_every_number_given_is_there(whole: str) -> None:
    page = Classifiers(whole)
    said = " ".join([*page.pieces, *page.values("title")]).replace(",", "")
    found = {float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", said)}
    validations = [{k: line[k] for k in ("step", "elapsed", "loss", "valid")} for line in LOG if "valid" in line]
    assert set(numbers([CONFIG, RESULTS, SAMPLES, validations, LOG[-1]["tokens_per_second"]])) - found == set()


def test_every_fact_and_note_is_there(whole: str) -> None:
    text = Classifiers(whole).text
    for said in ("data/reviews.txt", "5e" * 32, "2.13.0", "two cores of something", "judge a 12ab34cd", "not reached"):
        assert said in text


def test_the_page_is_well_formed_and_its_identifiers_are_unique(whole: str) -> None:
    page = Classifiers(whole)
    assert page.open == []
    assert [name for name, times in Counter(page.values("id")).items() if times > 1] == []
    assert {ref.removeprefix("#") for ref in page.values("href")} <= set(page.values("id"))
    assert set(re.findall(r"url\(#([^)]*)\)", whole)) <= set(page.values("id"))


def test_the_page_loads_nothing(whole: str) -> None:
    page = Classifiers(whole)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "image", "base"}
    assert list(page.values("src")) == []
    assert all(ref.startswith("#") for ref in page.values("href"))
    assert "http://" not in whole and "https://" not in whole
    assert "@import" not in whole and not re.search(r"url\((?!#)", whole)
    assert "default-src 'none'" in " ".join(page.values("content"))


def test_charts_take_the_colours_of_the_page(whole: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", whole, flags=re.S))
    assert drawn.count("<svg") == 4
    assert "var(--first)" in drawn and "var(--second)" in drawn
    assert not re.search(r"(stroke|fill): ?#", drawn)


def test_the_data_s_own_value_is_a_level_of_the_chart(tmp_path: Path) -> None:
    judge, entropy = quality_charts(gather(fill(tmp_path)))  # self-BLEU, which moves with n, only stands in the table
    assert (judge.level, entropy.level) == (("the data's own", 1.4881234), None)
    assert (list(judge.lines[0].x), list(judge.lines[0].y)) == ([3.90625, 9.53125], [4.14375, 2.89125])


def test_everything_from_a_file_is_escaped(tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "<b>",
        config={"system": NASTY, NASTY: NASTY, "data": [{NASTY: [NASTY]}]},
        results=[{"name": NASTY, "value": 1, "note": NASTY, "column": NASTY}],
        samples={"samples": [{"steps": 1, "texts": [NASTY]}], "curve": [{"nfe": 1, NASTY: 2}, {"nfe": 2, NASTY: 2}]},
        film=[[{"text": NASTY, "known": True, "confidence": 1}]],
    )
    page = Classifiers(report(folder).read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(NASTY) >= 9
    assert f"{NASTY} against evaluations" in page.values("aria-label")
    assert all(attributes == {} for tag, attributes in page.tags if tag == "b"), "the only bold text is our own"


@pytest.mark.parametrize("name", [*PIECES, "log.jsonl"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_piece_that_is_missing_or_damaged_is_left_out_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    monkeypatch.setattr("mezzotint.training.report.svg", lambda chart, name: f"<svg>{name}</svg>")
    folder = fill(tmp_path)
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_text((folder / name).read_text()[:3])
    page = Classifiers(report(folder).read_text(encoding="utf-8"))
    sentences = [attributes for _, attributes in page.tags if attributes.get("class") == "missing"]
    assert len(sentences) == (2 if name == "samples.json" else 1)


JUNK: list[Any] = [
    *(None, 3, "x", [], {}),
    [None, 3, "x", [], {}],
    [[{}, 3], [[]]],
    {"samples": [{"texts": 3}, {}], "curve": {"nfe": 1}},
    {"curve": [{"nfe": 0, "x": 1}, {"nfe": None, "x": {}}]},
    [{"name": 3}, {"name": "x", "value": "y", "stderr": True, "n": [], "column": 5, "steps": "z"}],
    [{"texts": [None, 3, {}], "steps": "x", "nfe": float("nan")}],
]


@pytest.mark.parametrize("junk", JUNK)
def test_no_content_of_a_file_is_an_error(tmp_path: Path, junk: Any) -> None:
    folder = fill(tmp_path, config=junk, results=junk, samples=junk, film=junk)
    (folder / "log.jsonl").write_bytes(
        json.dumps(junk).encode() + b'\n{"step": "x"}\n{"step": 4, "loss": null}\n\xff\n{"st'
    )
    assert Classifiers(report(folder).read_text(encoding="utf-8")).open == []


def test_an_empty_folder_has_a_report_and_no_folder_has_none(tmp_path: Path) -> None:
    assert report(tmp_path).read_text(encoding="utf-8").count('class="missing"') == 6
    with pytest.raises(RunError, match="no run folder at"):
        report(tmp_path / "nowhere")


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = report(tmp_path).read_bytes()
    fill(tmp_path, log=[])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    monkeypatch.setattr("mezzotint.training.report.svg", lambda chart, name: "")
    with pytest.raises(RunError, match=r"report\.html cannot be written: No space left on device"):
        report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == old


def test_the_same_numbers_give_the_same_drawing() -> None:
    chart = Chart("t", "x", "y", [Line("a", [1, 2], [3.0, 4.0])])
    assert svg(chart, "a") == svg(chart, "a")


def test_a_film_keeps_its_ends_and_marks_each_word_once(whole: str) -> None:
    film = re.findall(r'<ol class="film">(.*?)</ol>', whole, flags=re.S)[0]
    counts = re.findall(r'class="count">(\d+) of 12<', film)
    assert len(counts) == FRAMES < len(FILM)
    assert (counts[0], counts[-1]) == ("0", "12")
    assert film.count('class="known new"') == len(WORDS)
    assert film.count('class="blank"') == sum(12 - int(count) for count in counts)
    last = film.rsplit("<li>", 1)[1]
    assert "".join(WORDS) in re.sub("<[^>]*>", "", last)


def test_few_texts_of_a_large_sample_are_shown(whole: str) -> None:
    assert whole.count("<li>A\nb</li>") == TEXTS
    assert f"and {30 - TEXTS} more" in whole
    assert "<i>empty</i>" in whole


def test_commands_quote_the_folder_and_offer_only_what_the_run_can(tmp_path: Path) -> None:
    able = report(fill(tmp_path / "my run", log=[], samples=None)).read_text(encoding="utf-8")
    unable = report(fill(tmp_path / "b", log=[], samples=None, config=CONFIG | {"can": ["continue"]}))
    assert f"mezzotint resume '{tmp_path / 'my run'}'" in able.replace("&#x27;", "'")
    assert "mezzotint infill" in able and "mezzotint infill" not in unable.read_text(encoding="utf-8")


def test_a_step_logged_twice_counts_as_it_was_last(tmp_path: Path) -> None:
    lines = [{"step": s, "elapsed": s, "loss": loss} for s, loss in ((1, 5.0), (2, 4.0), (3, 9.0), (2, 4.5), (3, 3.5))]
    steps, _ = loss_charts(gather(fill(tmp_path, log=lines)).log)
    assert (list(steps.lines[0].x), list(steps.lines[0].y)) == ([1, 2, 3], [5.0, 4.5, 3.5])


def test_a_long_log_is_averaged_not_thinned(tmp_path: Path) -> None:
    lines = [{"step": s, "elapsed": 7.2 * s, "loss": float((s + 1) % 3)} for s in range(1, 3 * POINTS + 1)]
    steps, hours = loss_charts(gather(fill(tmp_path, log=lines)).log)
    assert list(steps.lines[0].y) == [1.0] * POINTS
    assert steps.lines[0].x[0] == 2
    assert (hours.x, hours.lines[0].x[-1]) == ("hours", pytest.approx(7.2 * (3 * POINTS - 1) / 3600))


def test_the_frame_leaves_out_nothing_but_the_first_fall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mezzotint.training.report.svg", lambda chart, name: "")
    lines = [{"step": s, "elapsed": s, "loss": 100.0 if s == 1 else 6.0 if s == 80 else 2.0} for s in range(1, 101)]
    steps, _ = loss_charts(gather(fill(tmp_path, log=lines)).log)
    assert steps.top is not None and 6 < steps.top < 7
    assert 'begins above the frame, at <span title="100.0">100' in report(tmp_path).read_text(encoding="utf-8")


def points_of(drawn: str, colour: str) -> list[tuple[float, float]]:
    """The corners of the first line of a colour, in the drawing's own coordinates."""
    path = next(p for p in re.findall(r"<path[^>]*>", drawn) if f"stroke: {colour}" in p and "d=" in p)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]


def test_a_line_goes_where_its_numbers_are() -> None:
    chart = Chart("t", "x", "y", [Line("a", [0, 1, 3], [0.0, 2.0, 1.0])], level=("own", 1.0))
    line = points_of(svg(chart, "a"), "var(--first)")
    level = points_of(svg(chart, "a"), "var(--ink)")
    (x0, y0), (x1, y1), (x3, y3) = line
    assert (x3 - x0) / (x1 - x0) == pytest.approx(3, rel=1e-3)
    assert (y0 - y3) / (y0 - y1) == pytest.approx(0.5, rel=1e-3)
    assert [y for _, y in level] == [pytest.approx(y3, abs=1e-3)] * 2


def test_labels_of_near_points_do_not_meet() -> None:
    x = [3.9, 11.3, 20.5, 23.4]
    drawn = svg(Chart("t", "x", "y", [Line("a", x, x)], doubling=True), "a")
    assert [label for label in re.findall(r">([\d.]+)</text>", drawn) if label in map(str, x)] == [
        "3.9",
        "11.3",
        "23.4",
    ]
