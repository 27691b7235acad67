"""Results as pages: every row of benchmarks/results stands in one cell, and says where it comes from."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from benchmarks.rows import RESULTS, Row, read
from benchmarks.tabulate import PAGE, across, is_plain, page, select_lines
from benchmarks.wide import cell, lines, parts, section

ROW = Row(
    benchmark="b", system="mdlm", metric="judge_nll", value=2.345, stderr=0.012, n=100, steps=64, batch=8, seed=3,
    judge="j 1", hardware="one core", command="python -m benchmarks.b", commit="abc", dirty=False, date="2026-01-02",
)  # fmt: skip


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every Markdown table of a text, as records by heading."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *body = ([c.strip() for c in line.strip("|\n ").split(" | ")] for line in _padded(block))
        found.append([dict(zip(head, row, strict=True)) for row in body])
    return found


def _padded(block: str) -> list[str]:
    """Lines whose empty cells keep their place when they are split."""
    return [re.sub(r"(?<=\|)  (?=\|)", "   ", line).removeprefix("| ") for line in block.splitlines()]


def test_the_page_is_that_of_the_committed_rows() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/results.md is not up to date: run `make pages`"


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("*.json")))
def test_every_row_stands_in_exactly_one_cell(name: str) -> None:
    rows = [row for row in read(RESULTS / f"{name}.json") if "curve=" not in row.variant]
    shown = sorted(
        (record["system"].strip("`"), column.strip("`"), value)
        for table in tables(section(rows))
        for record in table
        for column, value in record.items()
        if column.startswith("`") and value
    )
    assert shown == sorted((row.system, row.metric, cell(row)) for row in rows)


def test_a_source_says_date_commit_hardware_seed_number_judge_and_command() -> None:
    text = section([ROW, replace(ROW, metric="self_bleu", value=40.0, stderr=1.0, n=50, judge=None)])
    assert "| `mdlm` | 2.345 ± 0.012 | 40.0 ± 1.0 | 1.1 |" in text
    assert (
        "- 1.1: 2026-01-02; commit `abc`; one core; seed 3; n 100 (50 for self_bleu); judge j 1; "
        "`python -m benchmarks.b`" in text
    )
    assert "with changes not committed" in section([replace(ROW, dirty=True)])
    assert "not ours, from a paper" in section([replace(ROW, source="a paper")])


def test_what_differs_between_lines_is_a_column_and_what_does_not_is_said_once() -> None:
    text = section([ROW, replace(ROW, steps=16, value=3.0)])
    assert [record["steps"] for record in tables(text)[0]] == ["64", "16"]
    assert "Where it applies: batch 8, seed 3, on one core." in text
    assert "variant" not in tables(text)[0][0]


def test_lines_that_share_no_metric_are_tables_of_their_own() -> None:
    bound = replace(ROW, metric="bound_nats_per_token", variant="bound=exact", steps=None)
    joined = replace(ROW, system="ar", metric="bound_nats_per_token")
    assert [len(group) for group in parts(lines([ROW, bound]))] == [1, 1]
    assert [len(group) for group in parts(lines([ROW, bound, joined, replace(joined, metric="judge_nll")]))] == [3]


def test_two_judges_of_one_text_are_two_lines() -> None:
    text = section([ROW, replace(ROW, judge="another", value=9.0)])
    assert [record["`judge_nll`"] for record in tables(text)[0]] == ["2.345 ± 0.012", "9.000 ± 0.012"]


def test_more_columns_than_fit_are_folded_and_none_is_lost() -> None:
    names = [
        "judge_nll",
        "copied",
        "duplicates",
        "rep_4",
        "perplexity",
        "unseen_trigrams",
        "words_median",
        "distinct_2",
    ]
    text = section([replace(ROW, metric=name) for name in names])
    first, folded = tables(text)
    assert [c for c in first[0] if c.startswith("`")] == ["`judge_nll`", "`distinct_2`"]
    assert len([c for c in folded[0] if c.startswith("`")]) == 6
    assert "6 more columns" in text


@pytest.mark.parametrize(
    ("value", "stderr", "shown"),
    [
        (2.28444, 0.0271, "2.284 ± 0.027"),
        (9012.3, 120.4, "9012 ± 120"),
        (1.0, 0.0, "1 ± 0"),
        (1.7e-6, None, "1.7e-06"),
        (None, None, "not reached"),
    ],
)
def test_values_have_the_digits_of_their_error(value: float | None, stderr: float | None, shown: str) -> None:
    assert cell(replace(ROW, value=value, stderr=stderr)) == shown


def test_across_systems_the_nearest_steps_are_shown_and_a_bound_stands_with_its_run() -> None:
    rows = [
        replace(ROW, steps=4, value=9.0),
        ROW,
        replace(ROW, variant="temperature=0.5", value=2.0),
        replace(ROW, metric="bound_nats_per_token", variant="bound=any-order", steps=None, value=1.9, stderr=0.01),
        replace(ROW, metric="bound_nats_per_token", variant="curve=training", steps=None, value=7.7),
        replace(ROW, system="ar", value=1.8),
        replace(ROW, system="data", value=1.7),
    ]
    (table,) = tables(across("Texts", rows, "b"))
    assert [(r["system"], r["variant"], r["`judge_nll`"], r["`bound_nats_per_token`"]) for r in table] == [
        ("`data`", "", "1.700 ± 0.012", ""),
        ("`ar`", "", "1.800 ± 0.012", ""),
        ("`mdlm`", "", "2.345 ± 0.012", "1.900 ± 0.010"),
        ("`mdlm`", "`temperature=0.5`", "2.000 ± 0.012", ""),
    ]
    assert [is_plain(line) for line in select_lines(rows)] == [True, True, True, False]


def test_runs_of_two_machines_and_of_two_seeds_stand_side_by_side() -> None:
    theirs = "AMD EPYC, 1 cores, 1 threads"
    rows = [
        replace(ROW, hardware="Intel(R) Xeon(R) Processor @ 2.50GHz, 1 cores, 1 threads"),
        replace(ROW, hardware=theirs, value=2.0),
        replace(ROW, hardware=theirs, seed=4, value=2.1),
        replace(ROW, hardware=theirs, metric="bound_nats_per_token", variant="bound=any-order", steps=None, value=1.9),
        replace(ROW, system="data", hardware=theirs, value=1.7),
    ]
    (table,) = tables(across("Texts", rows, "b"))
    assert [(r["of"], r["seed"], r["`judge_nll`"], r["`bound_nats_per_token`"]) for r in table] == [
        ("", "3", "1.700 ± 0.012", ""),
        ("Intel Xeon", "3", "2.345 ± 0.012", ""),
        ("AMD EPYC", "3", "2.000 ± 0.012", "1.900 ± 0.012"),
        ("AMD EPYC", "4", "2.100 ± 0.012", ""),
    ]
