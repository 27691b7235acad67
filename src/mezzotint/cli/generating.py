"""The commands by which a run writes: check without torch, write texts to stdout, say what is next.

Each returns the exit status. What is wrong with a call is found, and said, before anything heavy is imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import mezzotint
from mezzotint import CapabilityError, UsageError, few, literal
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.draw import closing, one_line, say, stderr
from mezzotint.cli.output import (
    card_of,
    demand,
    lines_of_stdin,
    next_of,
    print_line,
    print_record,
    report_of,
    texts,
    write,
)

if TYPE_CHECKING:
    from mezzotint import Card, Draft, Run, Wanted

REMASKING = ("remask", "remask-rescaled")
"""The decoders that take back what they wrote."""


def sample(given: flags.Sample) -> int:
    """Write new texts."""
    card = card_of(given.run)
    if mezzotint.Can.TRANSLATE in card.can:
        raise CapabilityError(f"{card.name} writes from a source; use `{next_of(given.run)}`")
    if given.prefix is not None:
        demand(card, mezzotint.Can.CONTINUE)
    mezzotint.check_length(card, mezzotint.check_run(given.run), given.length, given.block, given.reuse)
    _demand_decoder(card, given)
    if given.film is not None:
        mezzotint.check_film(given.film)
    if given.reuse:
        say("--reuse is approximate: what stands before a block is read once, without what is written after it")
    if given.run == flags.BUNDLED:
        say(f"{given.run} came with Mezzotint: {card.name}, for restaurants in a line; `mezzotint train` makes others")
    keep_memory()
    team = mezzotint.join()
    if team.size > 1 and (given.watch or given.film is not None):
        flag = "--watch draws" if given.watch else "--film keeps"
        raise UsageError(f"{flag} what one process writes; leave it out where several are launched")
    run = mezzotint.load(given.run, device=given.device, team=team)
    _say_unknown(run.tokenizer.unknown_words(given.prefix or ""))
    long_text = {"length": given.length, "block": given.block, "reuse": given.reuse}
    options = {"prefix": given.prefix, **_options(given), **_without_unset(long_text)}
    # One process hands texts out as they are finished; several, when all are.
    if team.size > 1:
        samples = write(run.generate(given.n, **options), as_json=given.json)
    else:
        with _filming(given, f"mezzotint sample {given.run.name}") as record:
            drafts = record(run.stream(given.n, **options))
            samples = write(texts(drafts, watch=given.watch or _is_watched(given)), as_json=given.json)
    closing(_after_sample(card, given.run, samples[0].text), report_of(given.run))
    return 0


def infill(given: flags.Infill) -> int:
    """Fill the gaps of one template, or of every line of standard input."""
    if given.template is None and "[" in str(given.run) and not given.run.exists():
        example = f"mezzotint infill {flags.BUNDLED} {quote(str(given.run))}"
        raise UsageError(f"a run stands before the template, as in `{example}`")
    card = card_of(given.run)
    demand(card, mezzotint.Can.INFILL)
    _demand_decoder(card, given)
    if given.film is not None:
        mezzotint.check_film(given.film)
    templates = list(_templates(given))
    if not templates:
        raise UsageError(f"no template given; as in `{given.example}`")
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    say(f"in this run a gap [n] is n {'words' if run.tokenizer.kind == 'word' else 'pieces of words'}")
    _say_unknown([word for text in templates for word in mezzotint.parse_template(text).unknown_words(run.tokenizer)])
    with _filming(given, f"mezzotint infill {given.run.name}") as record:
        for template in templates:
            drafts = record(run.stream(given.n, template=template, **_options(given)))
            write(texts(drafts, watch=given.watch), as_json=given.json, template=template)
    closing(f"mezzotint evaluate {quote(str(given.run))} --data FILE", report_of(given.run))
    return 0


def _say_unknown(words: Sequence[str]) -> None:
    """Which words of what was given a run does not know: it cannot tell what it writes beside."""
    unique = list(dict.fromkeys(words))
    if unique:
        say(f"this run does not know {few(unique)}, and writes beside it as beside any unknown word")


def control(given: flags.Control) -> int:
    """Write texts of which something is wanted, and say what each of them misses."""
    card = card_of(given.run)
    if given.choose is None or mezzotint.Can.TRANSLATE in card.can:
        demand(card, mezzotint.Can.CONTROL)
    _check_choice(given)
    if given.remask is not None and given.decoder not in (None, *REMASKING):
        raise UsageError(f"--remask says how readily decoder remask masks again; leave --decoder {given.decoder} out")
    if given.strength is not None and not card.weighs_tokens:
        raise CapabilityError(f"no tokens of {card.name} are weighed by classifiers; leave --strength out")
    wanted = wanted_of(given)
    if not wanted.is_anything:
        raise UsageError(f"say what is wanted of the texts; as in `{given.example}`")
    if given.template is not None:
        mezzotint.parse_template(given.template)
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    if given.length is not None:
        say(f"in this run a length of n is n {unit(run)}")
    if given.template is not None:
        _say_unknown(mezzotint.parse_template(given.template).unknown_words(run.tokenizer))
    options: dict[str, Any] = {
        "steps": given.steps,
        "seed": given.seed,
        "wanted": wanted,
        "temperature": given.temperature,
    }
    options |= _without_unset({"decoder": given.decoder})
    if given.remask is not None:
        options |= {"decoder": given.decoder or REMASKING[0], "strength": given.remask}
    if given.strength is not None:
        options["steering"] = mezzotint.Steering(strength=given.strength)
    if given.choose is None:
        samples = texts(run.stream(given.n, template=given.template, **options), watch=given.watch)
    else:
        samples = run.generate(
            given.n, choose=given.choose, **_without_unset({"candidates": given.candidates}), **options
        )
    samples = write(samples, as_json=given.json, wanted=True)
    missed = [sample for sample in samples if sample.unmet]
    for number, sample in enumerate(samples, 1):
        if sample.unmet:
            say(f"text {number} is not {', not '.join(sample.unmet)}")
    say(f"{len(samples) - len(missed)} of {len(samples)} texts are as wanted")
    if missed and wanted.of_words and not (given.remask or given.choose) and mezzotint.Decoder.REMASK in card.decoders:
        say("--remask 0.2 --steps 64 writes words anew in the light of later ones: more texts hold, for more work")
    closing(f"mezzotint evaluate {quote(str(given.run))} --data FILE", report_of(given.run))
    return 0


def _check_choice(given: flags.Control) -> None:
    """Refuses what choosing among several texts leaves no room for."""
    if given.choose is None and given.candidates is not None:
        raise UsageError("--candidates are what --choose takes one from; say --choose best or --choose mbr")
    if given.choose is not None and (given.watch or given.template is not None):
        flag = "--watch" if given.watch else "--template"
        raise UsageError(f"--choose takes one of several free texts; leave {flag} out")


def wanted_of(given: flags.Control) -> Wanted:
    """What was typed, as one record; UsageError where it contradicts itself."""
    tree = None if given.tree is None else mezzotint.read_tree(given.tree)
    return mezzotint.Wanted(
        length=given.length, has=given.has, without=given.without, says=given.says,
        pos=tuple((given.pos or "").split()), spans=given.span, tree=None if tree is None else (tree.words, tree.spans),
    )  # fmt: skip


def unit(run: Run) -> str:
    """What a run's tokens are, in plural."""
    return "words and punctuation marks" if run.tokenizer.kind == "word" else "pieces of words"


def translate(given: flags.Translate) -> int:
    """Write a line for each line of standard input; what is wrong with one is said, and keeps no other back."""
    card = card_of(given.run)
    demand(card, mezzotint.Can.TRANSLATE)
    if given.scorer is not None:
        mezzotint.check_run(given.scorer)
    if given.choose == "ar" and given.scorer is None:
        raise UsageError("--choose ar needs --scorer RUN, a run of ar-seq2seq")
    if sys.stdin.isatty():
        raise UsageError(f"`mezzotint translate` reads lines from standard input; as in `{given.example}`")
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    scorer = None if given.scorer is None else mezzotint.load(given.scorer, device=given.device)
    options: dict[str, Any] = {"candidates": given.candidates, "choose": given.choose, "decoder": given.decoder}
    options |= {"scorer": scorer, "temperature": given.temperature}
    notes: dict[int, str] = {}
    lines = _sources(given.source, notes)
    numbers: dict[str, Any] = {"steps": given.steps, "seed": given.seed}
    for translation in mezzotint.translate(run, lines, **_without_unset(options), **numbers):
        note = notes.get(translation.index, translation.note)
        if note is not None:
            say(f"line {translation.index + 1}: {note}" + ("" if translation.text else "; an empty line stands for it"))
        if given.json:
            record = {
                "text": translation.text,
                "source": translation.source,
                "candidates": list(translation.candidates),
            }
            print_record(record | {"score": translation.score, "nfe": translation.nfe, "note": note})
        else:
            print_line(one_line(translation.text))
    closing(f"mezzotint evaluate {quote(str(given.run))} --data FILE", report_of(given.run))
    return 0


def _sources(field: str | None, notes: dict[int, str]) -> Iterator[str]:
    """The sources on standard input; an empty one, and a note, where a line has none."""
    for number, line in enumerate(getattr(sys.stdin, "buffer", sys.stdin)):
        try:
            text = line.decode() if isinstance(line, bytes) else line
            yield _field_of(text, field) if field is not None else text.rstrip("\r\n")
        except UnicodeDecodeError:
            notes[number] = "it is not UTF-8 text"
            yield ""
        except UsageError as error:
            notes[number] = str(error)
            yield ""


def _field_of(line: str, field: str) -> str:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise UsageError("it is no JSON object") from None
    if not isinstance(record, dict) or field not in record:
        raise UsageError(f"there is no field '{field}' in it")
    text = record[field]
    if not isinstance(text, str):
        raise UsageError(f"the field '{field}' is no text")
    return text


def _is_watched(given: flags.Sample) -> bool:
    """Whether who names no run, and may not know what there is to see, is shown it."""
    return given.run == flags.BUNDLED and not given.json and stderr().is_interactive


@contextmanager
def _filming(given: flags.Writing, title: str) -> Iterator[Callable[[Iterable[Draft]], Iterable[Draft]]]:
    """What passes drafts on and, where a film is asked for, keeps them; it is written at the end."""
    if given.film is None:
        yield lambda drafts: drafts
        return
    film = mezzotint.Film(title)
    yield film.of
    film.save(given.film)
    say(f"film:   {given.film}")


def with_gap(text: str) -> str:
    """A template from a text: its third to fifth word are a gap."""
    words = literal(text).split(" ")
    return " ".join([*words[:2], "[3]", *words[5:]])


def _after_sample(card: Card, run: Path, text: str) -> str:
    if mezzotint.Can.INFILL not in card.can or len(text.split(" ")) < 6 or len(text) > 100 or not text.isprintable():
        return f"mezzotint evaluate {quote(str(run))} --data FILE"
    return f"mezzotint infill {quote(str(run))} {quote(with_gap(text))}"


def _options(given: flags.Writing) -> dict[str, Any]:
    """The options of `Run.stream`; a flag that was left alone is left to the library."""
    options = {"steps": given.steps, "seed": given.seed, "temperature": given.temperature, "top_p": given.top_p}
    decoder = None if mezzotint.Decoder(given.decoder).exact else given.decoder
    optional = {"decoder": decoder, "threshold": given.threshold, "strength": given.strength}
    optional |= {"guidance": given.guidance, "guide": given.guide}
    return options | _without_unset(optional)


def _without_unset(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value is not False}


def _demand_decoder(card: Card, given: flags.Writing) -> None:
    """Refuses a decoder that the system has not, and says of one that it has whether it is approximate."""
    decoder = mezzotint.Decoder(given.decoder)
    mezzotint.check_decoder(card, decoder, given.threshold, given.strength)
    if given.guide is not None:
        mezzotint.check_guide(card, mezzotint.Towards(given.guide), decoder)
        say(f"guide {given.guide} is approximate: its texts do not have the law of the model's own sampling")
    elif given.guidance is not None:
        demand(card, mezzotint.Can.GUIDE)
    if not decoder.exact:
        say(f"decoder {decoder.value} is approximate: its texts do not have the law of the model's own sampling")


def _templates(given: flags.Infill) -> Iterator[str]:
    """The template of the call, or those on standard input, each checked, with the prefix in front."""
    lines = [("", given.template)] if given.template is not None else lines_of_stdin()
    for where, line in lines:
        template = literal(given.prefix or "", line) + line
        try:
            mezzotint.parse_template(template)
        except UsageError as error:
            raise UsageError(f"{where}{error}") from None
        yield template
