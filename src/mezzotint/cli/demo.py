"""The demo: a minute of training on the bundled corpus, then text emerging, a filled gap, a table, a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import mezzotint
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.draw import closing, progress, say, stderr
from mezzotint.cli.output import after_training, report_of, scores_by_column, show, texts, write

if TYPE_CHECKING:
    from mezzotint import Progress

SYSTEM = "mdlm"

CORPUS = Path("bistro")

BATCH = 32
"""Half the usual: a minute is few steps, and more of them count for more than better ones (docs/log.md)."""

TEXTS = 5
"""How many texts are watched emerging."""

TEMPLATE = "The Wild Bell [4] beside the train station."

FILLINGS = 3
"""How many fillings the template gets."""

SHOWN = ("bound_nats_per_token", "judge_nll", "entropy_words", "valid_share")
"""The scores in the demo's table."""

ACCEPTED: Sequence[tuple[float, float]] = ((1, 0.11), (3, 0.25))
"""Measured on two CPU cores (`first-run`): minutes of training, share of samples that the grammar accepts; rising."""


def demo(given: flags.Demo) -> int:
    """Train, watch, fill a gap, score."""
    out = given.out or mezzotint.next_out(SYSTEM, [CORPUS])
    mezzotint.check_new(out)
    keep_memory()
    say(
        f"{SYSTEM}, a masked diffusion model, learns from scratch to write about restaurants, "
        f"for {given.minutes:g} minute{'' if given.minutes == 1 else 's'}; then it writes, fills a gap and is scored."
    )
    last = progress(_training(given, out), stderr())
    if last is not None and last.stopped is not None:
        return after_training(last, out)
    _write(out, given.seed)
    say("\nScores, with the data's own beside:")
    columns = scores_by_column(out, [CORPUS])
    show({column: [score for score in scores if score.name in SHOWN] for column, scores in columns.items()})
    with stderr().status("drawing the report"):
        mezzotint.showcase(out)
    say("\n" + outlook(given.minutes))
    closing(f"mezzotint infill {quote(str(out))} {quote(TEMPLATE)} -n 8 --watch", report_of(out))
    return 0


def outlook(minutes: float) -> str:
    """What more minutes would give, in one sentence."""
    longer = next(((later, share) for later, share in ACCEPTED if later > minutes), None)
    if longer is None:
        return "With more minutes the held-out bound falls further, and the grammar accepts more of the texts."
    return f"With {longer[0]:g} minutes the grammar accepted {longer[1]:.0%} of the texts, when this was measured."


def _training(given: flags.Demo, out: Path) -> Iterator[Progress]:
    yield from mezzotint.train(SYSTEM, [CORPUS], out=out, minutes=given.minutes, batch_size=BATCH, seed=given.seed)


def _write(out: Path, seed: int) -> None:
    run = mezzotint.load(out)
    say("\nText emerges from noise; a block is a word still to be chosen:")
    write(texts(run.stream(TEXTS, seed=seed), watch=True))
    say(f"\nA gap is filled: {TEMPLATE}")
    write(texts(run.stream(FILLINGS, template=TEMPLATE, seed=seed), watch=True))
