"""The commands on a latent space, one function each, as those beside this file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from shlex import quote
from typing import TYPE_CHECKING, Any

import mezzotint
from mezzotint import UsageError
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.draw import closing, progress, stderr
from mezzotint.cli.output import card_of, demand, lines_of_stdin, report_of, write

if TYPE_CHECKING:
    from mezzotint import Run, Sample


def sample(given: flags.LatentSample) -> int:
    """Texts at points that the prior draws, or where the texts of a label lie."""
    if given.like is None:
        if given.data:
            raise UsageError("--data names labelled texts, and --like says which label is wanted; add it")
        if given.prior == "normal":
            return _write(given, lambda run, options: run.latent.draw(given.n, **options))
        return _write(given, lambda run, options: run.generate(given.n, **options))
    if given.prior == "normal":
        raise UsageError("--like draws where the texts of a label lie; leave --prior out")
    if given.data:
        mezzotint.check_data(given.data)
    label = given.like

    def write_like(run: Run, options: dict[str, Any]) -> list[Sample]:
        examples, _ = mezzotint.labelled(run, label, given.data, given.label, given.field)
        return run.latent.like(examples, given.n, **options)

    return _write(given, write_like)


def prior(given: flags.LatentPrior) -> int:
    """Learn a diffusion prior on a run's latents."""
    if given.data:
        mezzotint.check_data(given.data)
    demand(card_of(given.run), mezzotint.Can.INTERPOLATE)
    keep_memory()
    from mezzotint import Progress

    run = mezzotint.load(given.run, device=given.device)
    ticks = run.latent.learn_prior(
        mezzotint.own_texts(run, given.data, given.field), minutes=given.minutes, max_steps=given.max_steps,
        seed=given.seed, settings=dict(given.set),
    )  # fmt: skip
    records = (Progress(t.step, t.fraction, t.loss, t.lr, t.tokens_per_second, t.elapsed, t.remaining) for t in ticks)
    progress(records, stderr())
    closing(f"mezzotint latent sample {quote(str(given.run))} -n 8", report_of(given.run))
    return 0


def walk(given: flags.LatentWalk) -> int:
    """Texts between two."""
    return _write(given, lambda run, options: run.latent.walk(given.a, given.b, given.points, **options))


def analogy(given: flags.LatentAnalogy) -> int:
    """The fourth text of a proportion."""
    return _write(given, lambda run, options: run.latent.analogy(given.a, given.b, given.c, **options))


def transfer(given: flags.LatentTransfer) -> int:
    """Texts with another attribute."""
    if given.data:
        mezzotint.check_data(given.data)
    demand(card_of(given.run), mezzotint.Can.INTERPOLATE)
    texts = []
    for where, text in lines_of_stdin(blank=True):
        if not text.strip():
            raise UsageError(f"{where}there is no text; each line is one to be transferred")
        texts.append(text)
    if not texts:
        raise UsageError(f"no texts on standard input; as in `{given.example}`")

    def write_transferred(run: Run, options: dict[str, Any]) -> list[Sample]:
        to, away = mezzotint.labelled(run, given.to, given.data, given.label, given.field)
        return run.latent.transfer(texts, to, away, given.strength, **options)

    return _write(given, write_transferred)


def _write(given: flags.Decoding, sample_texts: Callable[[Run, dict[str, Any]], Iterable[Sample]]) -> int:
    demand(card_of(given.run), mezzotint.Can.INTERPOLATE)
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    options = {"seed": given.seed, "temperature": given.temperature, "top_p": given.top_p}
    write(sample_texts(run, options), as_json=given.json)
    closing(f"mezzotint evaluate {quote(str(given.run))} --data FILE", report_of(given.run))
    return 0
