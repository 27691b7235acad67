"""The page in a real browser: Debian's chromium, driven by Playwright; axe looks at what everybody can reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mezzotint
from mezzotint import Run

for library in ("fastapi", "uvicorn", "playwright"):
    pytest.importorskip(library, reason=f'the page is tested with {library}: pip install "mezzotint[serve,dev]"')

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from tests.browser import PHONE, WAIT, choose, chromium, scrub, shown, written  # noqa: E402
from tests.served import Tape, answering  # noqa: E402

NASTY = "<script>document.title='hacked'</script> <img src=x onerror=document.title='hacked'> &amp; end"


@pytest.fixture(scope="module")
def address(served_runs: dict[str, Run]) -> Iterator[str]:
    tape = Tape("nasty", NASTY, frames=8)
    tape.gate.set()
    with answering([*served_runs.values(), tape]) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        if found is None:
            pytest.skip("no browser is installed to open the page with: apt install chromium")
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, opened; afterwards it has asked nobody but the server for anything, and nothing went wrong in it."""
    context = browser.new_context(base_url=address, permissions=["clipboard-read", "clipboard-write"])
    asked: list[str] = []
    wrong: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    found = context.new_page()
    found.set_default_timeout(WAIT)
    found.on("pageerror", lambda error: wrong.append(str(error)))
    # A refusal is an answer like others, though the browser says so; what its policies forbade is none.
    refused = "Failed to load resource: the server responded with a status of 400"
    found.on(
        "console",
        lambda said: wrong.append(said.text) if said.type == "error" and not said.text.startswith(refused) else None,
    )
    found.goto("/")
    expect(found.locator("#model option")).not_to_have_count(0)
    yield found
    context.close()
    assert not wrong
    assert len(asked) > 3 and all(url.startswith((f"{address}/", "data:,", "about:")) for url in asked), asked


def test_text_emerges_and_can_be_scrubbed(page: Page, served_runs: dict[str, Run]) -> None:
    choose(page, "mdlm", n=2, steps=6, seed=3)
    texts = written(page)
    assert texts == [sample.text for sample in served_runs["mdlm"].generate(2, steps=6, seed=3)]
    assert page.locator("#panels .hidden").count() == 0
    last = int(page.get_attribute("#frame", "max") or 0)
    hidden = []
    for place in range(last + 1):
        scrub(page, place)
        hidden.append(page.locator("#panels .hidden").count())
    assert last >= 3 and hidden == sorted(hidden, reverse=True) and hidden[0] > hidden[1] and hidden[-1] == 0
    scrub(page, 0)
    assert page.inner_text("#where") == f"draft 1 of {last + 1}" and page.get_attribute("#frame", "aria-valuetext")
    page.locator("#frame").press("ArrowRight")
    assert page.locator("#panels .hidden").count() == hidden[1]
    page.click("#play")
    expect(page.locator("#frame")).to_have_value(str(last), timeout=WAIT)
    expect(page.locator("#play")).to_have_attribute("aria-pressed", "false")


def test_gaps_are_marked_by_mouse_and_by_keyboard(page: Page) -> None:
    choose(page, "mdlm", "gaps", n=2, steps=4)
    page.fill("#text", "The old pub near [the river is warm .")
    words = page.locator("#words button")
    words.nth(0).focus()
    for key in ("ArrowRight", "Space", "ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert page.inner_text("#template") == r"The [2] near \[the river is warm ."
    words.nth(5).hover()
    page.mouse.down()
    words.nth(7).hover()
    page.mouse.up()
    assert page.inner_text("#template") == r"The [2] near \[the [3] ."
    texts = written(page)
    for text in texts:
        assert text.startswith("The ") and " near [the " in text and text.endswith(" .") and len(text.split()) == 9
    words.nth(0).focus()
    for key in ("End", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert page.inner_text("#template") == r"The [2] near \[the [4]" and words.nth(7).evaluate("w => w.tabIndex") == 0
    words.nth(8).click()
    page.check("#open")
    assert page.inner_text("#template") == r"The [1-7] near \[the [1-10] ."
    page.fill("#text", "The old pub is warm .")
    words.nth(1).press("Space")
    written(page)
    assert page.locator("#panels li").first.locator(".given").all_inner_texts() == ["The", " pub", " is", " warm", " ."]


def test_a_text_with_markup_is_shown_as_text(page: Page) -> None:
    before = page.locator("script, img").count()
    choose(page, "nasty", n=1)
    (text,) = written(page)
    assert text == NASTY
    assert page.locator("script, img").count() == before and page.title() == "Mezzotint"


def test_the_controls_are_what_the_model_can(page: Page) -> None:
    choose(page, "mdlm")
    assert page.is_visible("input[value=gaps]") and page.is_visible("#decoder")
    assert not page.is_visible("#guidance") and not page.is_visible("#length")
    choose(page, "ar")
    assert not page.is_visible("input[value=gaps]") and not page.is_visible("#decoder")
    choose(page, "ar", "prefix")
    page.fill("#prefix", "The old ")
    assert all(text.startswith("The old ") for text in written(page))


def test_what_is_wanted_is_asked_for(page: Page, served_runs: dict[str, Run]) -> None:
    choose(page, "vae")
    assert not page.is_visible("#without")
    choose(page, "ar")
    assert not page.is_visible("#has") and page.is_visible("#without")
    choose(page, "mdlm", n=3, steps=4, tokens=7)
    page.fill("#has", "river; cold")
    page.fill("#without", "pub")
    texts = written(page)
    wanted = mezzotint.Wanted(length=7, has=("river", "cold"), without=("pub",))
    assert texts == [sample.text for sample in served_runs["mdlm"].generate(3, steps=4, wanted=wanted)]
    assert all("river" in text.lower() and "cold" in text.lower() and "pub" not in text.lower() for text in texts)
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#said")).to_contain_text("press Write")
    assert written(page) == texts
    page.fill("#has", "zzz")
    page.click("#write")
    expect(page.get_by_role("alert")).to_contain_text("unknown word 'zzz'")
    page.click("input[value=gaps]")
    assert page.is_visible("#has") and not page.is_visible("#tokens")


def test_two_systems_write_side_by_side(page: Page, served_runs: dict[str, Run]) -> None:
    choose(page, "mdlm", n=2, steps=4)
    page.select_option("#beside", "ar")
    written(page)
    panels = page.locator("#panels article")
    assert panels.locator("h2").all_inner_texts() == ["mdlm", "ar"]
    for place, name in enumerate(("mdlm", "ar")):
        samples = served_runs[name].generate(2, steps=4)
        spent = sum(sample.nfe for sample in samples)
        assert panels.nth(place).locator("li").all_inner_texts() == [sample.text for sample in samples]
        cost = panels.nth(place).locator(".cost").inner_text()
        assert re.fullmatch(rf"2 texts, {spent} network evaluations, \d+ ms", cost), cost
    scrub(page, 1)
    assert all(panels.nth(place).locator(".hidden").count() for place in (0, 1))
    page.click("input[value=gaps]")  # which ar cannot fill
    assert page.locator("#beside option").all_inner_texts() == ["nothing", "nasty"]


def test_a_latent_line_is_walked(page: Page, served_runs: dict[str, Run]) -> None:
    choose(page, "vae", "walk", points=4)
    page.fill("#from", "The old river")
    page.fill("#to", "A cold pub")
    assert not page.is_visible("#steps") and not page.is_visible("#beside")
    samples = served_runs["vae"].latent.walk("The old river", "A cold pub", 4)
    page.click("#write")
    expect(page.locator("#said")).to_have_text("Written.", timeout=WAIT)
    assert shown(page) == [sample.text for sample in samples]
    assert "4 texts, " in page.inner_text(".cost")
    here = page.locator("#panels li[aria-current=true]")
    for place in (2, 3, 0):
        scrub(page, place)
        expect(here).to_have_count(1)
        assert page.inner_text("#where") == f"point {place + 1} of 4"
        assert page.locator("#panels li").nth(place).get_attribute("aria-current") == "true"


def test_a_text_is_written_from_a_source(page: Page, served_runs: dict[str, Run]) -> None:
    choose(page, "de-en", steps=4)
    assert not page.is_visible("#task") and not page.is_visible("#n") and not page.is_visible("#prefix")
    page.fill("#source", "old river zzz")
    candidates = written(page)
    (found,) = mezzotint.translate(served_runs["de-en"], ["old river zzz"], steps=4)
    assert candidates == list(found.candidates)
    chosen = page.locator("#panels li[aria-current=true]")
    assert chosen.all_inner_texts() == [found.text] and found.note is not None
    assert found.note in page.inner_text(".cost") and f", {found.nfe} network" in page.inner_text(".cost")
    page.click("#copy")
    assert page.evaluate("navigator.clipboard.readText()") == found.text
    choose(page, "mdlm")
    assert page.is_visible("#n") and not page.is_visible("#source")


def test_a_link_and_a_copy_take_it_along(page: Page, address: str) -> None:
    choose(page, "mdlm", "gaps", n=2, steps=4, seed=11)
    page.fill("#text", "The old pub & river is warm .")
    page.locator("#words button").nth(1).press("Shift+ArrowRight")
    texts = written(page)
    page.click("#copy")
    expect(page.locator("#said")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(texts)
    page.click("#link")
    expect(page.locator("#said")).to_contain_text("The link is copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{address}/#") and "key" not in link
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#said")).to_contain_text("press Write")
    assert not shown(page) and page.inner_text("#template") == "The [2] & river is warm ."
    assert written(page) == texts
    page.goto("about:blank")
    page.goto("/#model=nobody&marks=1&task=gaps")
    expect(page.locator("#model")).to_have_value("mdlm")
    page.goto("about:blank")
    page.goto("/#model=ar&task=gaps&marks=1 x 99 -1&n=3&beside=ar&decoder=none")
    expect(page.locator("#model")).to_have_value("ar")
    assert len(written(page)) == 3


def test_what_is_refused_is_said(page: Page) -> None:
    choose(page, "mdlm", steps=5000)
    page.click("#write")
    expect(page.get_by_role("alert")).to_contain_text("steps is limited to 1024")


def test_a_film_plays_from_its_file_alone(browser: Browser, tmp_path: Path) -> None:
    film = mezzotint.Film("mezzotint sample run")
    tape = Tape("nasty", NASTY, frames=8)
    tape.gate.set()
    list(film.of(draft for (draft,) in tape.together([tape.task(1)])))
    film.save(tmp_path / "film.html")
    with browser.new_context(offline=True, reduced_motion="reduce") as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("console", lambda said: wrong.append(said.text))
        page.goto((tmp_path / "film.html").as_uri())
        assert page.locator("#texts li").all_inner_texts() == [NASTY] and page.title() == "mezzotint sample run"
        page.locator("#frame").press("Home")
        assert page.locator("#texts .hidden").count() == len(NASTY.split()) and not wrong
        page.click("#play")
        expect(page.locator("#texts .hidden")).to_have_count(0, timeout=WAIT)
        expect(page.locator("#play")).to_have_text("Play", timeout=WAIT)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [None, PHONE], ids=["desk", "phone"])
def test_everybody_can_reach_it(browser: Browser, address: str, scheme: Any, size: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="accessibility is checked with axe-playwright-python")
    (script,) = Path(axe.__file__).parent.rglob("axe.min.js")
    context = browser.new_context(base_url=address, color_scheme=scheme, **({"viewport": size} if size else {}))
    context.add_init_script(path=script)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto("/")
    expect(page.locator("#model option")).not_to_have_count(0)
    choose(page, "mdlm", "gaps", n=2, steps=4)
    page.locator("#words button").nth(1).press("Space")
    written(page)
    found = page.evaluate("axe.run()")
    serious = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]
               if one["impact"] in ("serious", "critical")]  # fmt: skip
    assert not serious and len(found["passes"]) > 15
    if size:
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    context.close()
