"""Of each system: what its card says, what can be set, what was measured, where it departs from its paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from benchmarks.rows import RESULTS, read
from benchmarks.tabulate import ACROSS, COLUMNS, is_plain, minutes, select_lines
from benchmarks.wide import Line, cell, short, variant
from mezzotint.spec.base import Size, Spec
from mezzotint.spec.recipe import FROM_TOKENIZER, Corpus
from mezzotint.systems import CATALOGUE
from mezzotint.types import Can, Card, Layout
from pages.blocks import DOCS, table
from pages.departures import departures
from pages.source import attribute_docs

ABLE = {
    Can.CONTINUE: "continuation",
    Can.INFILL: "gaps",
    Can.CONTROL: "control",
    Can.GUIDE: "guidance",
    Can.REWARD: "guidance by its reward",
    Can.LONG: "any length",
    Can.INTERPOLATE: "walks between texts",
    Can.TRANSLATE: "from a source",
}
"""What a card can, as a table says it."""
NEW = """# {name}

{title} ({paper}).

<!-- made: facts -->
<!-- end -->

## Settings

<!-- made: settings -->
<!-- end -->

## Results

<!-- made: results -->
<!-- end -->

## Departures

<!-- made: departures -->
<!-- end -->
"""
"""The page of a system that nobody has written one for."""


def systems_page(name: str) -> tuple[str, dict[str, str]]:
    """The page of a system as it stands, and its blocks as they are to be."""
    made = {"facts": facts(card_of(name)), "settings": settings(name), "results": results(name)}
    return _written(name), made | {"departures": departures(CATALOGUE[name].system.partition(":")[0], name)}


def _written(name: str) -> str:
    path = DOCS / "systems" / f"{name}.md"
    return path.read_text(encoding="utf-8") if path.exists() else NEW.format(**vars(card_of(name)))


@cache
def card_of(name: str) -> Card:
    """The card of one of our own systems."""
    card: Card = CATALOGUE[name].load(CATALOGUE[name].card)
    return card


def able(card: Card) -> str:
    """What a system can, in words; whoever needs no source writes freely."""
    words = [] if Can.TRANSLATE in card.can else ["free text"]
    return ", ".join([*words, *(word for ability, word in ABLE.items() if ability in card.can)])


def first_sentence(name: str) -> str:
    """What a system is: the first paragraph of its page."""
    return " ".join(_written(name).split("\n\n")[1].split())


def overview(root: str) -> str:
    """The table of all systems; `root` leads to their pages."""
    known = measured()
    rows = []
    for name in ordered():
        what = first_sentence(name) + ("" if name in known else "; not measured yet")
        rows.append([f"[`{name}`]({root}{name}.md)", what, able(card_of(name))])
    return table(["system", "what it is", "can"], rows)


def measured() -> set[str]:
    """The systems that any row of results is about; where the time goes is no measurement of what one writes."""
    return {row.system for path in RESULTS.glob("*.json") if path.stem != "profile" for row in read(path)}


def ordered() -> list[str]:
    """Ours: those that write freely, then those that stand on another run, then those that write from a source."""
    cards = [card_of(name) for name in CATALOGUE]
    return [card.name for card in sorted(cards, key=_place)]


def _place(card: Card) -> tuple[bool, bool, bool, bool, str]:
    return Can.TRANSLATE in card.can, bool(card.teachers or card.backbone), card.exact, card.name != "mdlm", card.name


def facts(card: Card) -> str:
    """What the card says."""
    rows = [
        ["paper", card.paper],
        ["can", able(card)],
        ["likelihood", "exact" if card.exact else card.bound],
        ["decoders", ", ".join(f"`{d}`" for d in sorted(d.value for d in card.decoders))],
    ]
    if card.teachers:
        rows.append(["starts from", "a run of " + " or ".join(f"`{name}`" for name in sorted(card.teachers))])
    if card.backbone:
        rows.append(["stands on", "a run of `ar`, or GPT-2"])
    return table([f"`{card.name}`", card.title], rows)


# ---- settings --------------------------------------------------------------------------------------------------------


def settings(name: str) -> str:
    """The system's own settings with the values of its tiny recipe for short texts."""
    recipe = CATALOGUE[name].load(CATALOGUE[name].recipe)(Size.TINY, Corpus(320, 64, Layout.TEXTS))
    rows = list(rows_of(recipe.spec, skip=(*FROM_TOKENIZER, *_taken(recipe.spec))))
    nets = [f"[{type(value).__name__}](../settings.md)" for _, value in _fields(recipe.spec) if isinstance(value, Spec)]
    more = f"Beside these: those of {', '.join(nets)} and of [the training](../settings.md)."
    return "\n\n".join(part for part in (table(["setting", "tiny", "meaning"], rows) if rows else "", more) if part)


def rows_of(spec: Spec, skip: Sequence[str] = ()) -> list[list[str]]:
    """A row for each plain field of a spec."""
    docs = attribute_docs(type(spec))
    plain_fields = [(key, value) for key, value in _fields(spec) if not isinstance(value, Spec) and key not in skip]
    return [[f"`{key}`", f"`{_said(value)}`", _meaning(docs.get(key, ""), value)] for key, value in plain_fields]


def _taken(spec: Spec) -> tuple[str, ...]:
    """Fields of a spec that are not anybody's to set."""
    return ("canvas", "source_canvas") if hasattr(spec, "source_canvas") else ("canvas",)


def _fields(spec: Spec) -> list[tuple[str, object]]:
    return list(vars(spec).items())


def _said(value: object) -> str:
    plain_value = getattr(value, "value", value)
    return str(plain_value).lower() if isinstance(plain_value, bool) else short(plain_value)


def _meaning(doc: str, value: object) -> str:
    kind = type(value)
    choices = [str(member.value) for member in kind] if hasattr(kind, "__members__") else []  # type: ignore[attr-defined]
    told = " ".join(doc.split())
    one_of = f"one of {', '.join(f'`{choice}`' for choice in choices)}" if choices else ""
    return "; ".join(part for part in (told.rstrip("."), one_of) if part).replace("|", "\\|")


# ---- results ---------------------------------------------------------------------------------------------------------


def results(name: str) -> str:
    """Where a system was measured, and its lines across systems."""
    found = {path.stem: read(path) for path in sorted(RESULTS.glob("*.json"))}
    where = [stem for stem, rows in found.items() if any(row.system == name for row in rows)]
    if not where:
        return "Not measured yet: no row of [the results](../results.md) is about it."
    parts = ["Measured in " + ", ".join(f"[{stem}](../results.md#{stem})" for stem in where) + "."]
    for stem in ACROSS:
        lines = [line for line in select_lines(found.get(stem, ())) if line.fact("system") in ("data", name)]
        if any(line.fact("system") == name for line in lines):
            parts.append(f"{stem}, the data's own values beside; where each line comes from stands there:")
            parts.append(_side_by_side(lines))
    return "\n\n".join(parts)


def _side_by_side(found: Sequence[Line]) -> str:
    columns = [column for column in COLUMNS if any(line.row(column) for line in found)]
    heads = ["system", "variant", "minutes", "of", "seed", "evaluations", *(f"`{column}`" for column in columns)]
    rows = []
    for line in found:
        run = [
            variant(line),
            short(minutes(line)),
            *(short(line.fact(name)) for name in ("processor", "seed")),
            line.nfe,
        ]
        rows.append([f"`{line.fact('system')}`", *run, *(cell(line.row(column)) for column in columns)])
    return table(heads, rows)


SHOWN = {"e2e-unconditional": "e2e", "bistro-unconditional": "bistro"}
"""What the README shows of the results, and how the texts are called there."""
NAMES = {
    "bound_nats_per_token": "−log p, nats a token",
    "judge_nll": "judge, nats a token",
    "entropy_words": "word entropy",
    "distinct_2": "distinct-2",
    "valid_share": "grammar accepts",
}
"""Its columns; METRICS.md says what they are."""


def honest() -> str:
    """The README's table: every system at temperature 1, by the exact decoder, the data's own values beside.

    Of runs of so many minutes, the longest on each processor: those of so many steps are arms of an ablation, and
    stand in docs/results.md.
    """
    rows = []
    for stem, corpus in SHOWN.items():
        lines = [line for line in select_lines(read(RESULTS / f"{stem}.json")) if is_plain(line)]
        most: dict[tuple[object, str], float] = {}
        for line in lines:
            key = (line.fact("system"), str(line.fact("processor")))
            most[key] = max(most.get(key, 0), minutes(line) or 0)
        for line in lines:
            name, of = str(line.fact("system")), str(line.fact("processor"))
            if name == "data" or (minutes(line) or 0) == most[name, of] > 0:
                bound = line.row("bound_nats_per_token")
                values = [cell(line.row(column)) for column in NAMES]
                values[0] = values[0] if bound is None or card_of(bound.system).exact else f"≤ {values[0]}"
                run = [corpus, name if name == "data" else f"`{name}`", short(minutes(line)), of]
                rows.append([*run, line.nfe, *values])
    return table(["texts", "system", "minutes", "of", "evaluations a text", *NAMES.values()], rows)
