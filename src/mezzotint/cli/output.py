"""What commands have in common: checks of a run, what is shown, the closing lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import mezzotint
from mezzotint import CapabilityError, DataError
from mezzotint.cli.draw import closing, duration, film, one_line, say, stderr

if TYPE_CHECKING:
    from mezzotint import Can, Card, Draft, Forecast, Progress, Sample, Score

SHOWN, SHOWN_STEPS = 6, (4, 16)
"""How many texts a report shows after training, and in how many steps they are written."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def after_training(last: Progress | None, out: Path, next_command: str | None = None) -> int:
    """The closing lines of a training, and the exit status: was it finished or stopped? `next_command` comes next.

    The report gets its first texts, but where several processes trained.
    """
    if last is not None and last.stopped is not None:
        say(f"mezzotint: {last.stopped}")
        return INTERRUPTED
    translates = "translate" in mezzotint.check_run(out).get("can", ())
    if not translates and mezzotint.launched().size == 1:
        with stderr().status("writing texts for the report"):
            mezzotint.showcase(out, n=SHOWN, steps=SHOWN_STEPS, scored=False)
    closing(next_command or next_of(out), report_of(out))
    return 0


def print_forecast(forecast: Forecast) -> None:
    """What a training would take, in sentences on stdout."""
    print(f"{forecast.trained:,} numbers are trained, and {forecast.frozen:,} stay as they are")
    rate = f"{forecast.tokens_per_second:,.0f} tokens/s (of {forecast.tried} steps)"
    print(f"a step takes {forecast.step_seconds:.3g} s, {rate}")
    length = f"{forecast.epochs:.1f} times in {duration(forecast.seconds)}, all told"
    print(f"{forecast.steps:,} steps read the texts {length}")
    peak = "" if forecast.peak_bytes is None else f" of the {_size(forecast.peak_bytes)} that the process takes"
    print(f"weights, gradients, averages and the optimiser take {_size(forecast.weights_bytes)}{peak}")
    print("nothing was written; without --dry-run it trains")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def next_of(run: Path) -> str:
    """What to do with a trained run."""
    config = mezzotint.check_run(run)
    if "translate" in config.get("can", ()):
        return f"mezzotint translate {quote(str(run))} < FILE"
    flags = " --steps 8 --decoder spread" if config.get("teacher") else ""  # it was taught to write in few steps
    return sample_command(run) + flags


def texts(drafts: Iterable[Draft], *, watch: bool) -> Iterable[Sample]:
    """The finished texts of some drafts: as soon as they are there, or, where the film is drawn, after it."""
    if not watch:
        return (text for draft in drafts for text in draft.samples)
    return [text for draft in film(drafts, stderr()) for text in draft.samples]


def write(
    samples: Iterable[Sample], *, as_json: bool = False, template: str | None = None, wanted: bool = False
) -> list[Sample]:
    """Texts to stdout, one a line, or an object a line, with what it misses where something is wanted; returns them."""
    shown = []
    for sample in samples:
        shown.append(sample)
        if as_json:
            print_record(_record(sample, template) | ({"unmet": list(sample.unmet)} if wanted else {}))
        else:
            print_line(one_line(sample.text))
    return shown


def scores_by_column(
    run: Path,
    data: Sequence[Path],
    judge: Path | None = None,
    device: str = "auto",
    *,
    field: str | None = None,
    mauve: bool = False,
) -> dict[str, list[Score]]:
    """All scores by column: whose they are, the run's or the data's own."""
    columns: dict[str, list[Score]] = {}
    with stderr().status("scoring"):
        for column, score in mezzotint.evaluate_run(
            run, data, judge, field=field, mauve=mauve, device=device, team=mezzotint.join()
        ):
            columns.setdefault(column, []).append(score)
    return columns


def show(columns: Mapping[str, Sequence[Score]]) -> None:
    """The table of some scores, to stdout."""
    print_line(mezzotint.score_table(columns).rstrip("\n"))


def report_of(run: Path) -> Path:
    """Where a run's report is."""
    return run / "report.html"


def sample_command(run: Path) -> str:
    """How to watch a run write."""
    return f"mezzotint sample {quote(str(run))} -n 8 --watch"


def card_of(run: Path) -> Card:
    """The card of a run's system."""
    name = mezzotint.check_run(run)["system"]
    return next(card for card in mezzotint.cards() if card.name == name)


def demand(card: Card, ability: Can) -> None:
    """CapabilityError unless a system can do this."""
    if ability in card.can:
        return
    able = ", ".join(other.name for other in mezzotint.cards() if ability in other.can)
    raise CapabilityError(f"{card.name} cannot {ability.value}; systems that can: {able or 'none'}")


def lines_of_stdin(blank: bool = False) -> Iterator[tuple[str, str]]:
    """Where each line that is not blank stands, and the line; nothing where a person would have to type it.

    With `blank` also those that are.
    """
    if sys.stdin.isatty():
        return
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    try:
        for number, line in enumerate(sys.stdin, 1):
            if blank or line.strip():
                yield f"standard input, line {number}: ", line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not UTF-8 text ({error.reason})") from None


def _record(sample: Sample, template: str | None) -> dict[str, Any]:
    record: dict[str, Any] = {"text": sample.text, "seed": sample.seed, "index": sample.index}
    record |= {"steps": sample.steps, "nfe": sample.nfe}
    return record if template is None else record | {"template": template, "gaps": list(sample.gaps)}


def print_record(record: dict[str, Any]) -> None:
    print_line(json.dumps(record, ensure_ascii=False))


def print_line(line: str) -> None:
    if mezzotint.is_first():
        print(line, flush=True)
