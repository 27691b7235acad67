"""The commands but `demo`, one function each: check without torch, do, write results to stdout, name what is next.

Each returns the exit status. What is wrong with a call is found, and said, before anything heavy is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from io import TextIOWrapper
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import mezzotint
from mezzotint import CapabilityError, DataError, UsageError, literal
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.draw import closing, film, one_line, progress, say, stderr

if TYPE_CHECKING:
    from mezzotint import Can, Card, Draft, Progress, Run, Sample, Score, Wanted

MINUTES = 10.0
"""How long a training lasts where neither minutes nor steps are given."""

KEY = "MEZZOTINT_API_KEY"
"""Where a server's key can stand instead of on the command line, which others on the machine can read."""

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def train(given: flags.Train) -> int:
    """Train a system from scratch."""
    out = given.out or mezzotint.next_out(given.system, given.data)
    return _train(given, out, sample_command(out))


def train_embeddings(given: flags.TrainEmbeddings) -> int:
    """Learn vectors of tokens: a run of mdlm whose lookup is as narrow as they are to be."""
    out = given.out or mezzotint.next_out("embeddings", given.data)
    shared = {field.name: getattr(given, field.name) for field in fields(flags.Training)}
    narrow = (("factor", str(given.width)), ("tied", "true"))
    asked = flags.Train(**{**shared, "system": "mdlm", "set": (*narrow, *given.set)})
    data = " ".join(quote(str(path)) for path in given.data)
    return _train(asked, out, f"mezzotint train sed --data {data} --embeddings {quote(str(out))}")


def _train(given: flags.Train, out: Path, then: str) -> int:
    mezzotint.check_settings(given.system, given.size, dict(given.set), given.layout, given.embeddings is not None)
    if given.embeddings is not None:
        mezzotint.check_embeddings(given.embeddings)
    for paths in (given.data, given.valid):
        if paths:
            mezzotint.check_data(paths)
    mezzotint.check_sides(given.system, given.data, given.field, given.layout, given.source, given.target)
    mezzotint.check_tokenizer(given.tokenizer)
    mezzotint.check_backbone(given.system, given.backbone, given.tokenizer)
    mezzotint.check_new(out)
    keep_memory()
    return after_training(progress(_training(given, out), stderr()), out, then)


def _training(given: flags.Train, out: Path) -> Iterator[Progress]:
    """The records of a training; reading the data is part of it, so that the bar is seen meanwhile."""
    records = mezzotint.train(
        given.system, given.data, out=out, field=given.field, source=given.source, target=given.target,
        layout=given.layout, valid=given.valid or None, tokenizer=given.tokenizer, backbone=given.backbone,
        embeddings=given.embeddings, size=given.size, minutes=minutes_of(given), max_steps=given.max_steps,
        batch_size=given.batch_size, save_every=given.save_every, seed=given.seed, device=given.device,
        settings=dict(given.set),
    )  # fmt: skip
    say(f"run folder: {out}")
    yield from records


def distill(given: flags.Distill) -> int:
    """Train a student of a run."""
    config, system = mezzotint.check_run(given.run), "didi-instruct"
    mezzotint.lesson(system, given.run, config, dict(given.set))
    for paths in (given.data, given.valid):
        if paths:
            mezzotint.check_data(paths)
    if (given.valid or given.field is not None) and not given.data:
        raise UsageError("--valid and --field are for texts that --data names; give --data too")
    out = given.out or mezzotint.next_out(system, [given.run])
    mezzotint.check_new(out)
    keep_memory()
    records = mezzotint.distill_run(
        given.run, out=out, system=system, data=given.data or None, field=given.field, valid=given.valid or None,
        minutes=minutes_of(given), max_steps=given.max_steps, batch_size=given.batch_size, save_every=given.save_every,
        seed=given.seed, device=given.device, settings=dict(given.set),
    )  # fmt: skip
    say(f"run folder: {out}")
    return after_training(progress(records, stderr()), out)


def minutes_of(given: flags.Train | flags.Distill | flags.TrainControl) -> float | None:
    """How long to train: as long as asked for; ten minutes where steps do not say when to stop either."""
    return MINUTES if given.minutes is None and given.max_steps is None else given.minutes


def resume(given: flags.Resume) -> int:
    """Continue a run; one that is finished is left as it is."""
    finished = mezzotint.is_finished(given.run)  # of folders only, so that no hub is asked for checkpoints
    mezzotint.check_run(given.run)
    if finished:
        say(f"{given.run} is finished; nothing is left to train")
        closing(next_of(given.run), report_of(given.run))
        return 0
    keep_memory()
    return after_training(progress(mezzotint.resume(given.run, device=given.device), stderr()), given.run)


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
    keep_memory()
    team = mezzotint.join()
    if team.size > 1 and (given.watch or given.film is not None):
        flag = "--watch draws" if given.watch else "--film keeps"
        raise UsageError(f"{flag} what one process writes; leave it out where several are launched")
    run = mezzotint.load(given.run, device=given.device, team=team)
    long = {"length": given.length, "block": given.block, "reuse": given.reuse}
    how = {"prefix": given.prefix, **_asked(given), **_set(long)}
    # One process hands texts out as they are finished; several, when all are.
    if team.size > 1:
        written = write(run.generate(given.n, **how), as_json=given.json)
    else:
        with _filmed(given, f"mezzotint sample {given.run.name}") as kept:
            drafts = kept(run.stream(given.n, **how))
            written = write(texts(drafts, watch=given.watch), as_json=given.json)
    closing(_after_sample(card, given.run, written[0].text), report_of(given.run))
    return 0


def infill(given: flags.Infill) -> int:
    """Fill the gaps of one template, or of every line of standard input."""
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
    with _filmed(given, f"mezzotint infill {given.run.name}") as kept:
        for template in templates:
            drafts = kept(run.stream(given.n, template=template, **_asked(given)))
            write(texts(drafts, watch=given.watch), as_json=given.json, template=template)
    closing(f"mezzotint evaluate {quote(str(given.run))} --data FILE", report_of(given.run))
    return 0


def control(given: flags.Control) -> int:
    """Write texts of which something is wanted, and say what each of them misses."""
    card = card_of(given.run)
    demand(card, mezzotint.Can.CONTROL)
    wanted = wanted_of(given)
    if not wanted.is_anything:
        raise UsageError(f"say what is wanted of the texts; as in `{given.example}`")
    if given.template is not None:
        mezzotint.parse_template(given.template)
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    if given.length is not None:
        say(f"in this run a length of n is n {unit(run)}")
    drafts = run.stream(given.n, template=given.template, steps=given.steps, seed=given.seed, wanted=wanted)
    written = write(texts(drafts, watch=given.watch), as_json=given.json, wanted=True)
    missed = [sample for sample in written if sample.unmet]
    for sample in missed:
        say(f"text {sample.index + 1} is not {', not '.join(sample.unmet)}")
    say(f"{len(written) - len(missed)} of {len(written)} texts are as wanted")
    closing(f"mezzotint evaluate {quote(str(given.run))} --data FILE", report_of(given.run))
    return 0


def wanted_of(given: flags.Control) -> Wanted:
    """What was typed, as one record; UsageError where it contradicts itself."""
    tree = None if given.tree is None else mezzotint.read_tree(given.tree)
    return mezzotint.Wanted(
        length=given.length, has=given.has, without=given.without, says=given.says,
        pos=tuple((given.pos or "").split()), spans=given.span, tree=None if tree is None else (tree.words, tree.spans),
    )  # fmt: skip


def train_control(given: flags.TrainControl) -> int:
    """Train classifiers for a run."""
    demand(card_of(given.run), mezzotint.Can.CONTROL)
    mezzotint.check_data(given.data)
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    records = run.train_control(
        given.data, field=given.field, minutes=minutes_of(given), max_steps=given.max_steps,
        batch_size=given.batch_size, seed=given.seed,
    )  # fmt: skip
    progress(records, stderr())
    closing(f"mezzotint control {quote(str(given.run))} --says FIELD=VALUE", report_of(given.run))
    return 0


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
    how: dict[str, Any] = {"candidates": given.candidates, "choose": given.choose, "decoder": given.decoder}
    how |= {"scorer": scorer, "temperature": given.temperature}
    notes: dict[int, str] = {}
    lines = _sources(given.source, notes)
    numbers: dict[str, Any] = {"steps": given.steps, "seed": given.seed}
    for found in mezzotint.translate(run, lines, **_set(how), **numbers):
        note = notes.get(found.index, found.note)
        if note is not None:
            say(f"line {found.index + 1}: {note}" + ("" if found.text else "; an empty line stands for it"))
        if given.json:
            record = {"text": found.text, "source": found.source, "candidates": list(found.candidates)}
            _print_record(record | {"score": found.score, "nfe": found.nfe, "note": note})
        else:
            _print(one_line(found.text))
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


def evaluate(given: flags.Evaluate) -> int:
    """Score a run on held-out text."""
    config = mezzotint.check_run(given.run)
    mezzotint.check_data(given.data)
    if given.judge is not None:
        mezzotint.check_run(given.judge)
    if given.mauve:
        mezzotint.check_mauve(config, given.judge)
    keep_memory()
    columns = scored(given.run, given.data, given.judge, given.device, mauve=given.mauve)
    if given.json:
        for column, scores in columns.items():
            for score in scores:
                _print_record({"column": column} | score.to_json())
    else:
        show(columns)
    judged = any(score.judge for scores in columns.values() for score in scores)
    if not judged and mezzotint.Can.TRANSLATE not in card_of(given.run).can:
        say("fluency is left out: it needs --judge RUN, a run of ar trained on such text with another seed")
    closing(next_of(given.run), report_of(given.run))
    return 0


def bring(given: flags.Import) -> int:
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
        _print_record(imported.to_json())
    else:
        _print("\n".join(map(one_line, imported.lines)))
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
    columns: dict[str, list[Score]] = {}
    with stderr().status("scoring"):
        for name, run in (("whole", given.run), (given.weights, given.out)):
            columns[name] = list(mezzotint.weighed(run, given.data, device=given.device))
    if given.json:
        for name, scores in columns.items():
            for score in scores:
                _print_record({"column": name} | score.to_json())
    else:
        show(columns)
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
            _print_record(card)
    else:
        rows = [[card["name"], card["title"], ", ".join(card["can"]), card["paper"]] for card in cards]
        _print("\n".join(_aligned([["name", "title", "can", "paper"], *rows])))
    for fault in mezzotint.plugin_faults():
        say(f"mezzotint: {fault}")
    first = next(card for card in cards if mezzotint.Can.INFILL.value in card["can"])
    closing(f"mezzotint train {first['name']} --data FILE")
    return 0


def after_training(last: Progress | None, out: Path, then: str | None = None) -> int:
    """The closing lines of a training, and the exit status: was it finished or stopped? `then` is what comes next."""
    if last is not None and last.stopped is not None:
        say(f"mezzotint: {last.stopped}")
        return INTERRUPTED
    closing(then or next_of(out), report_of(out))
    return 0


def next_of(run: Path) -> str:
    """What to do with a trained run."""
    able = mezzotint.check_run(run).get("can", ())
    return f"mezzotint translate {quote(str(run))} < FILE" if "translate" in able else sample_command(run)


def texts(drafts: Iterable[Draft], *, watch: bool) -> Iterable[Sample]:
    """The finished texts of some drafts: as soon as they are there, or, where the film is drawn, after it."""
    if not watch:
        return (text for draft in drafts for text in draft.samples)
    return [text for draft in film(drafts, stderr()) for text in draft.samples]


@contextmanager
def _filmed(given: flags.Writing, title: str) -> Iterator[Callable[[Iterable[Draft]], Iterable[Draft]]]:
    """What passes drafts on and, where a film is asked for, keeps them; it is written at the end."""
    if given.film is None:
        yield lambda drafts: drafts
        return
    kept = mezzotint.Film(title)
    yield kept.of
    kept.save(given.film)
    say(f"film:   {given.film}")


def write(
    samples: Iterable[Sample], *, as_json: bool = False, template: str | None = None, wanted: bool = False
) -> list[Sample]:
    """Texts to stdout, one a line, or an object a line, with what it misses where something is wanted; returns them."""
    written = []
    for sample in samples:
        written.append(sample)
        if as_json:
            _print_record(_record(sample, template) | ({"unmet": list(sample.unmet)} if wanted else {}))
        else:
            _print(one_line(sample.text))
    return written


def scored(
    run: Path, data: Sequence[Path], judge: Path | None = None, device: str = "auto", *, mauve: bool = False
) -> dict[str, list[Score]]:
    """All scores by column: whose they are, the run's or the data's own."""
    columns: dict[str, list[Score]] = {}
    with stderr().status("scoring"):
        for column, score in mezzotint.evaluate_run(
            run, data, judge, mauve=mauve, device=device, team=mezzotint.join()
        ):
            columns.setdefault(column, []).append(score)
    return columns


def show(columns: Mapping[str, Sequence[Score]]) -> None:
    """The table of some scores, to stdout."""
    _print(mezzotint.score_table(columns).rstrip("\n"))


def report_of(run: Path) -> Path:
    """Where a run's report is."""
    return run / "report.html"


def sample_command(run: Path) -> str:
    """How to watch a run write."""
    return f"mezzotint sample {quote(str(run))} -n 8 --watch"


def gapped(text: str) -> str:
    """A template from a text: its third to fifth word are a gap."""
    words = literal(text).split(" ")
    return " ".join([*words[:2], "[3]", *words[5:]])


def _after_sample(card: Card, run: Path, text: str) -> str:
    if mezzotint.Can.INFILL not in card.can or len(text.split(" ")) < 6 or len(text) > 100 or not text.isprintable():
        return f"mezzotint evaluate {quote(str(run))} --data FILE"
    return f"mezzotint infill {quote(str(run))} {quote(gapped(text))}"


def _asked(given: flags.Writing) -> dict[str, Any]:
    """What was asked for, in the library's words; a flag that was left alone is left to the library."""
    asked = {"steps": given.steps, "seed": given.seed, "temperature": given.temperature, "top_p": given.top_p}
    decoder = None if mezzotint.Decoder(given.decoder).exact else given.decoder
    options = {"decoder": decoder, "threshold": given.threshold, "strength": given.strength, "guidance": given.guidance}
    options |= {"guide": given.guide}
    return asked | _set(options)


def _set(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None and value is not False}


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


def lines_of_stdin() -> Iterator[tuple[str, str]]:
    """Where each line that is not blank stands, and the line; nothing where a person would have to type it."""
    if sys.stdin.isatty():
        return
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    try:
        for number, line in enumerate(sys.stdin, 1):
            if line.strip():
                yield f"standard input, line {number}: ", line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not UTF-8 text ({error.reason})") from None


def _record(sample: Sample, template: str | None) -> dict[str, Any]:
    record: dict[str, Any] = {"text": sample.text, "seed": sample.seed, "index": sample.index}
    record |= {"steps": sample.steps, "nfe": sample.nfe}
    return record if template is None else record | {"template": template, "gaps": list(sample.gaps)}


def _card(card: Card) -> dict[str, Any]:
    can = sorted(ability.value for ability in card.can)
    return {"name": card.name, "title": card.title, "can": can, "paper": card.paper}


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _print_record(record: dict[str, Any]) -> None:
    _print(json.dumps(record, ensure_ascii=False))


def _print(line: str) -> None:
    if mezzotint.is_first():
        print(line, flush=True)
