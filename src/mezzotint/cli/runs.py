"""The commands that import, quantise and serve runs, and list systems.

Each returns the exit status. What is wrong with a call is found, and said, before anything heavy is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import mezzotint
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.draw import closing, one_line, say, stderr
from mezzotint.cli.output import next_of, print_line, print_record, report_of, sample_command, show

if TYPE_CHECKING:
    from mezzotint import Card, Score

KEY = "MEZZOTINT_API_KEY"
"""Where a server's key can stand instead of on the command line, which others on the machine can read."""


def import_run(given: flags.Import) -> int:
    """Make a run from a published checkpoint."""
    mezzotint.check_source(given.source, given.tokenizer)
    mezzotint.check_new(given.out)
    keep_memory()
    with stderr().status("reading"):
        imported = mezzotint.import_checkpoint(
            given.source, out=given.out, tokenizer=given.tokenizer, weights=given.weights, heads=given.heads,
            length=given.length,
        )  # fmt: skip
    if given.json:
        print_record(imported.to_json())
    else:
        print_line("\n".join(map(one_line, imported.lines)))
    closing(sample_command(given.out), report_of(given.out))
    return 0


def quantize(given: flags.Quantize) -> int:
    """Make a small copy of a run, and set its scores beside those of the whole one."""
    mezzotint.check_run(given.run)
    mezzotint.check_new(given.out)
    if given.data:
        mezzotint.check_data(given.data)
    keep_memory()
    mezzotint.load(given.run, device=given.device).quantize(given.weights, given.out)
    runs = {"whole": given.run, given.weights: given.out}
    columns: dict[str, list[Score]] = {}
    with stderr().status("scoring"):
        for name, run in runs.items():
            columns[name] = list(mezzotint.size_and_bound(run, given.data, field=given.field, device=given.device))
        for name, score in mezzotint.throughput(runs, device=given.device):
            columns[name].append(score)
    if given.json:
        for name, scores in columns.items():
            for score in scores:
                print_record({"column": name} | score.to_json())
    else:
        show(columns)
    if not any(score.name.startswith("bound") for scores in columns.values() for score in scores):
        say("the texts that were held out from this run are not here; --data FILE shows what is lost on some")
    closing(next_of(given.out), report_of(given.out))
    return 0


def serve(given: flags.Serve) -> int:
    """Answer for some runs over HTTP until interrupted."""
    key = given.api_key or os.environ.get(KEY) or None
    runs = given.runs or mezzotint.bundled_runs()
    mezzotint.check_serving(given.host, key, given.insecure, runs)
    for run in runs:
        mezzotint.check_run(run)
    keep_memory()
    mezzotint.serve_runs(
        runs, host=given.host, port=given.port, key=key, insecure=given.insecure, device=given.device,
        deterministic=given.deterministic,
        ready=lambda address: say(f"open {address} in a browser; Ctrl-C stops it"),
    )  # fmt: skip
    return 0


def systems(given: flags.Systems) -> int:
    """List the systems."""
    cards = [_card(card) for card in mezzotint.cards()]
    if given.json:
        for card in cards:
            print_record(card)
    else:
        rows = [[card["name"], card["title"], ", ".join(card["can"]), card["paper"]] for card in cards]
        print_line("\n".join(_align([["name", "title", "can", "paper"], *rows])))
    for fault in mezzotint.plugin_faults():
        say(f"mezzotint: {fault}")
    closing("mezzotint train mdlm --data FILE")
    return 0


def _card(card: Card) -> dict[str, Any]:
    can = sorted(ability.value for ability in card.can)
    return {"name": card.name, "title": card.title, "can": can, "paper": card.paper}


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
