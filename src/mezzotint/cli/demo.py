"""The demo: a minute of training on the bundled corpus, then text emerging, a filled gap, a table, a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import mezzotint
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.commands import after_training, gapped, report_of, scored, texts, write
from mezzotint.cli.draw import closing, progress, say, stderr

SYSTEM = "mdlm"

TEXTS = 5
"""How many texts are watched emerging."""

FILLINGS = 3
"""How many fillings the gap gets."""

STEPS = 32

SHOWN = ("bound_nats_per_token", "judge_nll", "entropy_words", "valid_share")
"""The scores in the demo's table."""

ACCEPTED: Sequence[tuple[float, float]] = ()
"""Measured on two CPU cores: minutes of training, share of samples that the grammar accepts; rising."""


def demo(given: flags.Demo) -> int:
    """Train, watch, fill a gap, score."""
    data, held_out = mezzotint.demo_corpus()
    out = given.out or mezzotint.next_out(SYSTEM, [data])
    mezzotint.check_new(out)
    keep_memory()
    say(
        f"{SYSTEM}, a masked diffusion model, learns from scratch to write about restaurants, "
        f"for {given.minutes:g} minute{'' if given.minutes == 1 else 's'}; then it writes, fills a gap and is scored."
    )
    records = mezzotint.train(SYSTEM, [data], out=out, minutes=given.minutes, seed=given.seed)
    last = progress(records, stderr())
    if last is not None and last.stopped is not None:
        return after_training(last, out)
    _show(out, held_out, given.seed)
    say(outlook(given.minutes))
    closing(f"mezzotint infill {quote(str(out))} {quote(gapped(_first_line(held_out)))} -n 4 --watch", report_of(out))
    return 0


def outlook(minutes: float) -> str:
    """What more minutes would give, in one sentence."""
    longer = next(((later, share) for later, share in ACCEPTED if later > minutes), None)
    if longer is None:
        return "With more minutes the held-out bound falls further; on your own text: `mezzotint train mdlm --data FILE`."
    return f"With {longer[0]:g} minutes, the grammar accepted {longer[1]:.0%} of the texts when we measured it."


def _show(out: Path, held_out: Path, seed: int) -> None:
    run = mezzotint.load(out)
    say("\nText emerges from noise; a block is a word still to be chosen:")
    write(texts(run.stream(TEXTS, steps=STEPS, seed=seed), watch=True))
    template = gapped(_first_line(held_out))
    say(f"\nA gap of three words is filled, in a sentence that was held out: {template}")
    write(texts(run.stream(FILLINGS, template=template, steps=STEPS, seed=seed), watch=True))
    say("\nScores, with the data's own beside:")
    columns = {column: [s for s in scores if s.name in SHOWN] for column, scores in scored(out, [held_out]).items()}
    print(mezzotint.score_table(columns).rstrip("\n"), flush=True)
    say("")


def _first_line(path: Path) -> str:
    """The first text of a file that has a text a line."""
    with path.open(encoding="utf-8") as file:
        return file.readline().rstrip("\n")
