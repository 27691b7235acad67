"""What can be typed to have a run write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from mezzotint.cli.flags.readers import (
    BUNDLED,
    DECODERS,
    Device,
    Json,
    Run,
    Seed,
    Temperature,
    beams,
    choose,
    field_value,
    integer,
    number,
    one_of,
    phrase,
    positional,
    repeated,
    switch,
    unicode,
    value,
)


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What `sample` and `infill` share."""

    run: Run
    n: Annotated[int, value("how many texts", "N", integer())] = 8
    steps: Annotated[int, value("steps from noise to text; fewer are faster and rougher", "N", integer())] = 32
    seed: Seed = 0
    temperature: Temperature = 1.0
    top_p: Annotated[float, value("keep the likeliest tokens up to this share", "P", number(above=0, most=1))] = 1.0
    decoder: Annotated[
        str,
        value(
            f"which positions are written when: {', '.join(DECODERS)}; all but exact are approximate",
            "NAME",
            one_of(*DECODERS),
        ),
    ] = "exact"
    threshold: Annotated[
        float | None, value("how sure a token must be to be written at once (default 0.9)", "P", number(least=0))
    ] = None
    strength: Annotated[
        float | None, value("how readily tokens are masked again (default 0.04)", "P", number(least=0, most=1))
    ] = None
    guidance: Annotated[
        float | None,
        value(
            "how strongly what is given pulls, where a system can guide, or the reward (1)",
            "S",
            number(least=0, most=100),
        ),
    ] = None
    guide: Annotated[
        str | None,
        choose("what to be guided towards: the reward that a distilled run learned from (approximate)", "reward"),
    ] = None
    prefix: Annotated[str | None, value("how every text begins, put in front as it is", "TEXT", unicode)] = None
    watch: Annotated[bool, switch("draw the text emerging, on standard error")] = False
    film: Annotated[
        Path | None, value("keep the text emerging: .html, which plays in any browser, or .gif", "FILE", Path)
    ] = None
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Sample(Writing):
    """Write new texts, one a line."""

    example: ClassVar[str] = "mezzotint sample runs/reviews -n 8 --steps 16 --watch"
    run: Run = BUNDLED
    length: Annotated[
        int | None, value("tokens of each text, for a run of windows: any number above its canvas", "N", integer())
    ] = None
    block: Annotated[
        int | None, value("tokens written at a time, with --length (default: a quarter of the canvas)", "N", integer())
    ] = None
    reuse: Annotated[bool, switch("with --length: read what stands before a block once; faster, approximate")] = False


@dataclass(frozen=True, kw_only=True)
class Infill(Writing):
    """Fill the gaps of a template: [3] is a gap of three tokens, [1-4] of one to four, [ ] of one to eight."""

    example: ClassVar[str] = 'mezzotint infill runs/reviews "The [3] pub near the river."'
    template: Annotated[
        str | None,
        positional("text with gaps, \\[ for a bracket; without it, lines of standard input", "TEMPLATE", unicode),
    ] = None
    n: Annotated[int, value("how many fillings of each template", "N", integer())] = 1


@dataclass(frozen=True, kw_only=True)
class Control:
    """Write texts of which something is wanted: a length, words, what they say, parts of speech, phrases."""

    example: ClassVar[str] = "mezzotint control runs/reviews --length 12 --has Japanese"
    run: Run
    length: Annotated[
        int | None, value("exactly so many tokens: words and punctuation marks, or pieces of words", "N", integer())
    ] = None
    has: Annotated[
        tuple[str, ...], repeated("a word or phrase that stands in it; may be repeated", "WORD", unicode)
    ] = ()
    without: Annotated[
        tuple[str, ...], repeated("a word or phrase that stands nowhere in it; may be repeated", "WORD", unicode)
    ] = ()
    says: Annotated[
        tuple[tuple[str, str], ...],
        repeated("what it says, as `mezzotint train-control` learned it; may be repeated", "FIELD=VALUE", field_value),
    ] = ()
    pos: Annotated[
        str | None, value("the part of speech of every word, as in 'DET NOUN VERB PUNCT'", "TAGS", unicode)
    ] = None
    span: Annotated[
        tuple[tuple[int, int, str], ...],
        repeated("a phrase in it: words from 0, end exclusive; may be repeated", "3:7=NP", phrase),
    ] = ()
    tree: Annotated[
        str | None, value("all its phrases, any word for each word, as in '(S (NP * *) (VP *) *)'", "TREE", unicode)
    ] = None
    template: Annotated[
        str | None, value("text with gaps such as [3], as for infill, that all texts fill", "TEMPLATE", unicode)
    ] = None
    n: Annotated[int, value("how many texts", "N", integer())] = 8
    choose: Annotated[
        str | None,
        choose("write several for each text and take the surest, or the one most like the others", "best", "mbr"),
    ] = None
    candidates: Annotated[
        int | None, value("with --choose: how many are written for each text (default 8)", "N", integer())
    ] = None
    steps: Annotated[int, value("steps from noise to text; fewer are faster and rougher", "N", integer())] = 32
    strength: Annotated[
        float | None,
        value(
            "how strongly classifiers of says, parts of speech and phrases pull; 1 is Bayes' rule (default 3)",
            "S",
            number(least=0, most=100),
        ),
    ] = None
    temperature: Temperature = 1.0
    decoder: Annotated[
        str | None, value("which positions are written when, as for sample", "NAME", one_of(*DECODERS))
    ] = None
    remask: Annotated[
        float | None,
        value(
            "under masks: how readily words are masked again and written anew; helps with parts of speech and phrases",
            "P",
            number(least=0, most=1),
        ),
    ] = None
    seed: Seed = 0
    watch: Annotated[bool, switch("draw the text emerging, on standard error")] = False
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Translate:
    """Write from sources, a line of output for each line of standard input."""

    example: ClassVar[str] = "mezzotint translate runs/de-en < german.txt"
    run: Run
    candidates: Annotated[
        tuple[int, int] | None,
        value(
            "lengths to try and texts of each (default 5x2; 5x1 with mask-predict, a beam of 5 with beam)", "LxN", beams
        ),
    ] = None
    choose: Annotated[
        str | None,
        choose("what picks one: agreement of all, another run, or itself (default mbr; beam, mask-predict: likelihood)",
               "mbr", "ar", "likelihood"),
    ] = None  # fmt: skip
    scorer: Annotated[Path | None, value("the ar-seq2seq run that picks, with --choose ar", "RUN", Path)] = None
    source: Annotated[
        str | None, value("lines are JSON objects, and this field is the source (default: lines are text)", "NAME")
    ] = None
    steps: Annotated[int, value("steps from noise to text", "N", integer())] = 20
    seed: Seed = 0
    temperature: Annotated[
        float | None,
        value(
            "0 takes the likeliest tokens, 1 has the model's own odds; of vectors, the share of noise",
            "T",
            number(least=0),
        ),
    ] = None
    decoder: Annotated[
        str | None,
        value(
            f"how it is written: {', '.join(DECODERS)} (default: beam, mask-predict or exact, what it has first)",
            "NAME",
            one_of(*DECODERS),
        ),
    ] = None
    json: Json = False
    device: Device = "auto"
