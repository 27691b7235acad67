"""What of the documentation is made from the source is up to date, whole, and says what the source says."""

from __future__ import annotations

import json
import re

import pytest

import mezzotint
from benchmarks.rows import RESULTS, ROOT, read
from mezzotint.cli.main import COMMANDS
from mezzotint.spec.sed import SEDSpec
from mezzotint.systems import CATALOGUE
from pages.__main__ import made
from pages.blocks import DOCS, blocks, fill
from pages.departures import MARK, departures, departures_page, reached
from pages.licences import HEAD as LICENCES
from pages.licences import direct
from pages.source import SOURCE, attribute_docs
from pages.systems import NAMES, SHOWN, honest, settings

MADE = made()


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_every_page_that_is_made_is_up_to_date(path) -> None:
    assert path.exists() and path.read_text(encoding="utf-8") == MADE[path], f"{path.name} is old: run `make pages`"


def test_no_page_has_a_block_that_is_not_made() -> None:
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        assert not blocks(path.read_text(encoding="utf-8")) or path in MADE, path


def test_filling_leaves_what_is_written_by_hand_and_is_idempotent() -> None:
    page = "a\n<!-- made: x -->\nold\n<!-- end -->\nb\n<!-- made: y -->\n<!-- end -->\nc\n"
    once = fill(page, {"x": "new", "y": "|"})
    assert once == "a\n<!-- made: x -->\nnew\n<!-- end -->\nb\n<!-- made: y -->\n|\n<!-- end -->\nc\n"
    assert fill(once, {"x": "new", "y": "|"}) == once
    with pytest.raises(KeyError):
        fill(page, {"x": "new"})


def test_every_mark_of_the_source_is_a_line_of_the_page() -> None:
    marks = sum(path.read_text(encoding="utf-8").count(MARK) for path in (SOURCE / "mezzotint").rglob("*.py"))
    assert len(re.findall(r"^- ", departures_page(), re.MULTILINE)) == marks > 50


def test_a_systems_departures_are_its_own_and_those_of_its_parts() -> None:
    own, parts = departures("mezzotint.systems.mdlm", "mdlm").split("In the parts")
    assert own.count("\n- ") == 3 and "systems/mdlm.py" in own
    assert "process/absorbing.py" in parts and "process/gaussian.py" not in parts
    assert "mezzotint.process.gaussian" in reached("mezzotint.systems.sed")


def test_the_sentence_below_a_field_is_its_meaning() -> None:
    docs = attribute_docs(SEDSpec)
    assert docs["noise_factor"].startswith("How much larger the noise is")
    assert "vocab" not in docs
    assert "| `noise_factor` | `3` | How much larger" in settings("sed")
    for hidden in ("vocab", "canvas", "end", "pad"):
        assert f"| `{hidden}` |" not in settings("sed")


def test_every_command_and_every_export_has_its_entry() -> None:
    commands = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^## mezzotint (.+)$", commands, re.MULTILINE) == list(COMMANDS)
    named = re.findall(r"^::: mezzotint\.(.+)$", (DOCS / "library.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(path.rpartition(".")[2] for path in named) == sorted(mezzotint.__all__)


def test_the_readme_says_what_the_cards_say() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, entry in CATALOGUE.items():
        (row,) = re.findall(rf"^\| \[`{name}`\]\(docs/systems/{name}\.md\) \| .* \| (.*) \|$", text, re.MULTILINE)
        can = {ability.value for ability in entry.load(entry.card).can}
        assert ("gaps" in row) == ("infill" in can)
        assert ("from a source" in row) == ("translate" in can)
        assert ("continuation" in row) == ("continue" in can)
        assert ("control" in row) == ("control" in can)


def test_the_readmes_figures_are_those_of_the_results() -> None:
    """Read from the JSON once more, without the code that makes tables."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in honest().splitlines()[2:]]
    assert len(rows) >= 9
    stems = {short: stem for stem, short in SHOWN.items()}
    for corpus, system, *_, judged, entropy, distinct, _ in rows:
        found = json.loads((RESULTS / f"{stems[corpus]}.json").read_text())
        for shown, metric in zip((judged, entropy, distinct), list(NAMES)[1:4], strict=True):
            if not shown:  # of another number of texts than the data's
                assert metric == "distinct_2"
                continue
            value, error = map(float, shown.split(" ± "))
            assert any(
                row["system"] == system.strip("`")
                and row["metric"] == metric
                and row["steps"] in (None, 64)
                and "temperature" not in row["variant"]
                and abs(row["value"] - value) < 0.51 * 10 ** -len(shown.split(" ")[0].partition(".")[2])
                and abs(row["stderr"] - error) < 0.05 * error + 1e-9
                for row in found
            ), (corpus, system, metric, shown)


def test_what_was_not_measured_is_said_to_be_so() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    measured = {row.system for path in RESULTS.glob("*.json") if path.stem != "profile" for row in read(path)}
    for name in CATALOGUE:
        (row,) = re.findall(rf"^\| \[`{name}`\].*$", text, re.MULTILINE)
        assert ("not measured yet" in row) == (name not in measured)


def test_every_package_that_is_asked_for_has_its_licence() -> None:
    text = (DOCS / "licences.md").read_text(encoding="utf-8")
    assert text.startswith(LICENCES)
    for name in direct():
        assert f"| {name} |" in text, f"{name} is missing: run `python -m pages licences`"


def test_links_between_pages_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        if path.name == "log.md" or path.parent.name == "decisions":
            continue
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", text):
            assert (path.parent / link).exists(), f"{path.name} links to {link}, which is not there"
