"""The commands on a latent space, one function each, as those in `commands.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from shlex import quote
from typing import TYPE_CHECKING, Any

import mezzotint
from mezzotint import UsageError
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.commands import card_of, demand, lines_of_stdin, report_of, write
from mezzotint.cli.draw import closing

if TYPE_CHECKING:
    from mezzotint import Run, Sample


def sample(given: flags.LatentSample) -> int:
    """Texts at points that the prior draws."""
    return _written(given, lambda run, how: run.generate(given.n, **how))


def walk(given: flags.LatentWalk) -> int:
    """Texts between two."""
    return _written(given, lambda run, how: run.latent.walk(given.a, given.b, given.points, **how))


def analogy(given: flags.LatentAnalogy) -> int:
    """The fourth text of a proportion."""
    return _written(given, lambda run, how: run.latent.analogy(given.a, given.b, given.c, **how))


def transfer(given: flags.LatentTransfer) -> int:
    """Texts with another attribute."""
    if given.data:
        mezzotint.check_data(given.data)
    demand(card_of(given.run), mezzotint.Can.INTERPOLATE)
    texts = [line for _, line in lines_of_stdin()]
    if not texts:
        raise UsageError(f"no texts on standard input; as in `{given.example}`")

    def moved(run: Run, how: dict[str, Any]) -> list[Sample]:
        to, away = mezzotint.labelled(run, given.to, given.data, given.label, given.field)
        return run.latent.transfer(texts, to, away, given.strength, **how)

    return _written(given, moved)


def _written(given: flags.Decoding, wanted: Callable[[Run, dict[str, Any]], Iterable[Sample]]) -> int:
    demand(card_of(given.run), mezzotint.Can.INTERPOLATE)
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    how = {"seed": given.seed, "temperature": given.temperature, "top_p": given.top_p}
    write(wanted(run, how), as_json=given.json)
    closing(f"mezzotint evaluate {quote(str(given.run))} --data FILE", report_of(given.run))
    return 0
