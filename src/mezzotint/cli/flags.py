"""What can be typed: one frozen dataclass a command, one field a flag.

A field says its type, its default and, as an annotation, how it is typed; `parse.py` turns words into these records.
A reader takes the text of a value and returns the value; where it cannot, it raises a ValueError that says what would
be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from mezzotint import Decoder

Reader = Callable[[str], Any]

Argument = dict[str, Any]
"""What `ArgumentParser.add_argument` is told of a field, but for its name and default."""

DECODERS = tuple(decoder.value for decoder in Decoder)

FILES = (
    "files of text: .txt .csv .tsv .jsonl .ndjson .json, also with .gz .bz2 .xz; .parquet; hf:OWNER/NAME, a data set "
    "on the hub (also hf:OWNER/NAME@REVISION#CONFIG:SPLIT[:N]); or bistro, the bundled corpus"
)


class Misspelt(Exception):
    """A value that is none of the known names."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__()
        self.known = known


def word(help: str, metavar: str, read: Reader = str) -> Argument:
    """A word without a flag, known by its place."""
    return {"help": help, "metavar": metavar, "type": read, "nargs": "?"}


def words(help: str, metavar: str, read: Reader = str) -> Argument:
    """One word or more without a flag."""
    return {"help": help, "metavar": metavar, "type": read, "nargs": "*"}


def value(help: str, metavar: str, read: Reader = str) -> Argument:
    """A flag with one value; the last one counts."""
    return {"help": help, "metavar": metavar, "type": read}


def choose(help: str, *known: str) -> Argument:
    """A flag whose value is one of a few names."""
    return {"help": help, "metavar": "|".join(known), "type": one_of(*known)}


def values(help: str, metavar: str, read: Reader = str) -> Argument:
    """A flag with one value or more, which may also be given several times."""
    return {"help": help, "metavar": metavar, "type": read, "nargs": "+", "action": "extend"}


def repeated(help: str, metavar: str, read: Reader = str) -> Argument:
    """A flag with one value, which may be given several times."""
    return {"help": help, "metavar": metavar, "type": read, "action": "append"}


def switch(help: str) -> Argument:
    """A flag without a value."""
    return {"help": help, "action": "store_true"}


def whole(least: int = 1) -> Reader:
    """Reads a whole number of at least `least`."""

    def read(text: str) -> int:
        if not re.fullmatch("-?[0-9]{1,18}", text) or int(text) < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(text)

    return read


def number(above: float = -math.inf, least: float = -math.inf, most: float = math.inf) -> Reader:
    """Reads a finite number within bounds."""
    bounds = [(above, "above"), (least, "of at least"), (most, "of at most")]
    expected = " and ".join(f"{how} {bound:g}" for bound, how in bounds if math.isfinite(bound))

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not (math.isfinite(found) and above < found and least <= found <= most):
            raise ValueError(f"a number {expected}")
        return found

    return read


def one_of(*known: str) -> Reader:
    """Reads one of the known names; the parser names the nearest to another."""

    def read(text: str) -> str:
        if text not in known:
            raise Misspelt(known)
        return text

    return read


def unicode(text: str) -> str:
    """Reads text; bytes that are no text are refused."""
    if not text.isascii() and text.encode(errors="replace").decode() != text:
        raise ValueError("UTF-8 text")
    return text


def device(text: str) -> str:
    """Reads a device as torch names it, or `auto`."""
    name, colon, place = text.partition(":")
    one_of("auto", "cpu", "cuda", "mps")(name)
    if colon and not (name == "cuda" and place.isdecimal()):
        raise ValueError("auto, cpu, cuda, cuda:0 (or another number) or mps")
    return text


def setting(text: str) -> tuple[str, str]:
    """Reads `key=value`."""
    key, equals, content = text.partition("=")
    if not (key and equals):
        raise ValueError("key=value")
    return key.replace("-", "_"), content


Run = Annotated[Path, word("a run folder, or owner/name of a run on the hub", "RUN", Path)]
Files = Annotated[tuple[Path, ...], values(FILES, "FILE", Path)]
Out = Annotated[Path | None, value("the run folder to write (default: runs/<system>-<data>-<n>)", "FOLDER", Path)]
Device = Annotated[str, value("auto, cpu, cuda, cuda:1, mps", "DEVICE", device)]
Seed = Annotated[int, value("where all random numbers come from", "N", whole(0))]
Json = Annotated[bool, switch("one JSON object a line instead of text")]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train mdlm on the bundled corpus, watch it write, fill a gap, score it."""

    example: ClassVar[str] = "mezzotint demo --minutes 1"
    minutes: Annotated[float, value("how long to train", "M", number(above=0))] = 1.0
    seed: Seed = 0
    out: Out = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training from scratch is told."""

    data: Files
    field: Annotated[
        str | None, value("which field of a record is the text (default: text, or the only text field)", "NAME")
    ] = None
    layout: Annotated[
        str,
        choose(
            "a text is a line or record, or a window of joined documents (blank lines part them)", "texts", "windows"
        ),
    ] = "texts"
    valid: Annotated[tuple[Path, ...], values("held-out files of text (default: 5 % of the data)", "FILE", Path)] = ()
    tokenizer: Annotated[
        str,
        value(
            "words, pieces of words, what suits the text; or one that is there already: a tokenizer.json, its folder "
            "or its name on the hub, such as gpt2",
            "auto|word|bpe|NAME",
        ),
    ] = "auto"
    out: Out = None
    size: Annotated[
        str, choose("width, depth, canvas, batch and learning rate follow from it", "tiny", "small", "base")
    ] = "tiny"
    minutes: Annotated[
        float | None, value("how long to train (default 10, unless --max-steps is given)", "M", number(above=0))
    ] = None
    max_steps: Annotated[int | None, value("how many optimiser steps to train", "N", whole())] = None
    batch_size: Annotated[int | None, value("rows a step (default: by size)", "N", whole())] = None
    save_every: Annotated[int | None, value("steps between checkpoints (default: one a minute)", "N", whole())] = None
    seed: Seed = 0
    device: Device = "auto"
    set: Annotated[
        tuple[tuple[str, str], ...],
        repeated("a setting of the system or its training; may be repeated", "KEY=VALUE", setting),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a system from scratch on files of text."""

    example: ClassVar[str] = "mezzotint train mdlm --data reviews.txt"
    system: Annotated[str, word("which system; `mezzotint systems` lists them", "SYSTEM")]
    source: Annotated[str | None, value("which field a text is written from, for systems that translate", "NAME")] = (
        None
    )
    target: Annotated[str | None, value("which field is the text, for systems that translate", "NAME")] = None
    embeddings: Annotated[
        Path | None,
        value(
            "for sed: a run, or a model of Hugging Face (its folder or its name on the hub), whose vectors of tokens "
            "are used, as they are or along their principal axes, with its tokenizer",
            "RUN|FOLDER|NAME",
            Path,
        ),
    ] = None
    backbone: Annotated[
        str | None,
        value("what a system such as adavae stands on: a run of ar, or GPT-2 (its name on the hub or folder)", "NAME"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TrainEmbeddings(Training):
    """Learn vectors of tokens for `train sed --embeddings`: a masked language model with a narrow lookup."""

    example: ClassVar[str] = "mezzotint train-embeddings --data reviews.txt --width 32 --out runs/embeddings"
    width: Annotated[int, value("how many numbers a token's vector has", "D", whole())] = 32


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Continue a run from its last checkpoint."""

    example: ClassVar[str] = "mezzotint resume runs/reviews"
    run: Annotated[Path, word("a run folder, as `mezzotint train` writes it", "RUN", Path)]
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Teach a student to write in few steps what a run of mdlm writes in many."""

    example: ClassVar[str] = "mezzotint distill runs/mdlm --out runs/fast"
    run: Run
    out: Annotated[Path | None, value("the run folder to write (default: runs/<system>-<run>-<n>)", "FOLDER", Path)] = (
        None
    )
    data: Annotated[
        tuple[Path, ...], values("files of text to learn from (default: those that the run learned from)", "FILE", Path)
    ] = ()
    field: Annotated[str | None, value("with --data: which field of a record is the text", "NAME")] = None
    valid: Annotated[tuple[Path, ...], values("with --data: held-out files of text", "FILE", Path)] = ()
    minutes: Annotated[
        float | None, value("how long to train (default 10, unless --max-steps is given)", "M", number(above=0))
    ] = None
    max_steps: Annotated[int | None, value("how many steps to train", "N", whole())] = None
    batch_size: Annotated[int | None, value("rows a step (default: by size)", "N", whole())] = None
    save_every: Annotated[int | None, value("steps between checkpoints (default: one a minute)", "N", whole())] = None
    seed: Seed = 0
    device: Device = "auto"
    set: Annotated[
        tuple[tuple[str, str], ...],
        repeated("a setting of the student or its training; may be repeated", "KEY=VALUE", setting),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What `sample` and `infill` share."""

    run: Run
    n: Annotated[int, value("how many texts", "N", whole())] = 8
    steps: Annotated[int, value("steps from noise to text; fewer are faster and rougher", "N", whole())] = 32
    seed: Seed = 0
    temperature: Annotated[
        float, value("0 takes the likeliest token, 1 the model's own odds", "T", number(least=0))
    ] = 1.0
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
    length: Annotated[
        int | None, value("tokens of each text, for a run of windows: any number above its canvas", "N", whole())
    ] = None
    block: Annotated[
        int | None, value("tokens written at a time, with --length (default: a quarter of the canvas)", "N", whole())
    ] = None
    reuse: Annotated[bool, switch("with --length: read what stands before a block once; faster, approximate")] = False


@dataclass(frozen=True, kw_only=True)
class Infill(Writing):
    """Fill the gaps of a template: [3] is a gap of three tokens, [1-4] of one to four, [ ] of one to eight."""

    example: ClassVar[str] = 'mezzotint infill runs/reviews "The [3] pub near the river."'
    template: Annotated[
        str | None, word("text with gaps, \\[ for a bracket; without it, lines of standard input", "TEMPLATE", unicode)
    ] = None
    n: Annotated[int, value("how many fillings of each template", "N", whole())] = 1


def stated(text: str) -> tuple[str, str]:
    """Reads `field=value`, as it is."""
    name, equals, content = unicode(text).partition("=")
    if not (name.strip() and equals and content.strip()):
        raise ValueError("FIELD=VALUE")
    return name.strip(), content.strip()


def span(text: str) -> tuple[int, int, str]:
    """Reads a phrase, 3:7=NP."""
    found = re.fullmatch(r"(\d{1,6}):(\d{1,6})=(\S+)", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise ValueError("first word, word after the last and a label, as in 3:7=NP")
    return int(found[1]), int(found[2]), found[3]


@dataclass(frozen=True, kw_only=True)
class TrainControl:
    """Train what `mezzotint control` follows, on texts of which fields, parts of speech or trees are known."""

    example: ClassVar[str] = "mezzotint train-control runs/reviews --data annotated.jsonl"
    run: Annotated[Path, word("a run folder, as `mezzotint train` writes it", "RUN", Path)]
    data: Annotated[
        tuple[Path, ...],
        values("files of records with a text and its fields, tags, tree or spans; or bistro", "FILE", Path),
    ]
    field: Annotated[str | None, value("which field of a record is the text (default: text)", "NAME")] = None
    minutes: Annotated[
        float | None, value("how long to train (default 10, unless --max-steps is given)", "M", number(above=0))
    ] = None
    max_steps: Annotated[int | None, value("how many steps to train", "N", whole())] = None
    batch_size: Annotated[int, value("rows a step", "N", whole())] = 64
    seed: Seed = 0
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Control:
    """Write texts of which something is wanted: a length, words, what they say, parts of speech, phrases."""

    example: ClassVar[str] = "mezzotint control runs/reviews --length 12 --has Japanese"
    run: Run
    length: Annotated[
        int | None, value("exactly so many tokens: words and punctuation marks, or pieces of words", "N", whole())
    ] = None
    has: Annotated[
        tuple[str, ...], repeated("a word or phrase that stands in it; may be repeated", "WORD", unicode)
    ] = ()
    without: Annotated[
        tuple[str, ...], repeated("a word or phrase that stands nowhere in it; may be repeated", "WORD", unicode)
    ] = ()
    says: Annotated[
        tuple[tuple[str, str], ...],
        repeated("what it says, as `mezzotint train-control` learned it; may be repeated", "FIELD=VALUE", stated),
    ] = ()
    pos: Annotated[
        str | None, value("the part of speech of every word, as in 'DET NOUN VERB PUNCT'", "TAGS", unicode)
    ] = None
    span: Annotated[
        tuple[tuple[int, int, str], ...],
        repeated("a phrase in it: words from 0, end exclusive; may be repeated", "3:7=NP", span),
    ] = ()
    tree: Annotated[
        str | None, value("all its phrases, any word for each word, as in '(S (NP * *) (VP *) *)'", "TREE", unicode)
    ] = None
    template: Annotated[
        str | None, value("text with gaps such as [3], as for infill, that all texts fill", "TEMPLATE", unicode)
    ] = None
    n: Annotated[int, value("how many texts", "N", whole())] = 8
    steps: Annotated[int, value("steps from noise to text; fewer are faster and rougher", "N", whole())] = 32
    seed: Seed = 0
    watch: Annotated[bool, switch("draw the text emerging, on standard error")] = False
    json: Json = False
    device: Device = "auto"


def beams(text: str) -> tuple[int, int]:
    """Reads how many lengths and how many texts of each: 5x2, or 5 for one of each."""
    if not re.fullmatch("[1-9][0-9]{0,3}(x[1-9][0-9]{0,3})?", text):
        raise ValueError("lengths x texts of each, as in 5x2, or one number of candidates")
    first, _, second = text.partition("x")
    return int(first), int(second or 1)


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
    steps: Annotated[int, value("steps from noise to text", "N", whole())] = 20
    seed: Seed = 0
    temperature: Annotated[
        float | None,
        value("where tokens are drawn: 0 takes the likeliest, 1 the model's own odds", "T", number(least=0)),
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


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What the commands on a latent space share."""

    run: Run
    seed: Seed = 0
    temperature: Annotated[
        float, value("0 takes the likeliest token, 1 the model's own odds", "T", number(least=0))
    ] = 0.0
    top_p: Annotated[float, value("keep the likeliest tokens up to this share", "P", number(above=0, most=1))] = 1.0
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class LatentSample(Decoding):
    """Write the texts at points of the latent space that the prior draws."""

    example: ClassVar[str] = "mezzotint latent sample runs/vae -n 8"
    n: Annotated[int, value("how many texts", "N", whole())] = 8


@dataclass(frozen=True, kw_only=True)
class LatentPrior:
    """Learn what the latents of a run's texts are drawn from, and draw from that when it writes."""

    example: ClassVar[str] = "mezzotint latent prior runs/vae --minutes 5"
    run: Annotated[Path, word("a run folder, as `mezzotint train` writes it", "RUN", Path)]
    data: Annotated[
        tuple[Path, ...], values("files of text to learn from (default: those that the run learned from)", "FILE", Path)
    ] = ()
    field: Annotated[
        str | None, value("which field of a record is the text (default: as the run was trained)", "NAME")
    ] = None
    minutes: Annotated[
        float | None, value("how long to train (default 5, unless --max-steps is given)", "M", number(above=0))
    ] = None
    max_steps: Annotated[int | None, value("how many steps to train", "N", whole())] = None
    seed: Seed = 0
    device: Device = "auto"
    set: Annotated[
        tuple[tuple[str, str], ...],
        repeated("a setting of the prior's network or training; may be repeated", "KEY=VALUE", setting),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class LatentWalk(Decoding):
    """Walk through the latent space from one text to another."""

    example: ClassVar[str] = 'mezzotint latent walk runs/vae "the food was cold." "a wonderful evening."'
    a: Annotated[str, word("where to begin", "A", unicode)]
    b: Annotated[str, word("where to end", "B", unicode)]
    points: Annotated[int, value("how many texts, both ends among them", "N", whole(2))] = 7


@dataclass(frozen=True, kw_only=True)
class LatentAnalogy(Decoding):
    """Write the text that is to C what B is to A."""

    example: ClassVar[str] = 'mezzotint latent analogy runs/vae "a cat" "two cats" "a dog"'
    a: Annotated[str, word("a text", "A", unicode)]
    b: Annotated[str, word("what becomes of it", "B", unicode)]
    c: Annotated[str, word("a text that the same is to happen to", "C", unicode)]


@dataclass(frozen=True, kw_only=True)
class LatentTransfer(Decoding):
    """Give the texts on standard input an attribute, learned from labelled texts."""

    example: ClassVar[str] = "mezzotint latent transfer runs/vae --to positive < negative.txt"
    to: Annotated[str, value("the label that they are to have", "LABEL", unicode)]
    data: Annotated[
        tuple[Path, ...], values("files of records with a text and a label (default: the run's own)", "FILE", Path)
    ] = ()
    label: Annotated[str, value("which field of a record is the label", "NAME")] = "label"
    field: Annotated[
        str | None, value("which field of a record is the text (default: as the run was trained)", "NAME")
    ] = None
    strength: Annotated[float, value("how far to go; 1 is the difference of the means", "S", number())] = 1.0


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a run on held-out text, the data's own values beside."""

    example: ClassVar[str] = "mezzotint evaluate runs/reviews --data test.txt"
    run: Run
    data: Files
    judge: Annotated[
        Path | None, value("the ar run that judges fluency (default: the bundled judge of a bistro run)", "RUN", Path)
    ] = None
    mauve: Annotated[
        bool, switch("also compare 1,000 texts with held-out ones by MAUVE, on vectors of the judge (extra mauve)")
    ] = False
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Import:
    """Make a run from a published checkpoint (MDLM, SDTT, DiDi-Instruct); nothing in it is executed."""

    example: ClassVar[str] = "mezzotint import mdlm.ckpt --out runs/mdlm-owt"
    source: Annotated[Path, word("a .ckpt, a .safetensors, or a folder of Hugging Face", "FILE|FOLDER", Path)]
    out: Annotated[Path, value("the run folder to write", "RUN", Path)]
    tokenizer: Annotated[
        Path | None,
        value("a tokenizer.json, or its folder (default: beside the weights, or in the .ckpt)", "FILE|FOLDER", Path),
    ] = None
    weights: Annotated[
        str | None, choose("averaged or last weights (default: averaged where there are some)", "ema", "raw")
    ] = None
    heads: Annotated[int | None, value("heads of the network, where no configuration says it", "N", whole())] = None
    length: Annotated[int | None, value("tokens of a window, where no configuration says it", "N", whole())] = None
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Make a small copy of a run, its weights of few values, and say what that costs."""

    example: ClassVar[str] = "mezzotint quantize runs/reviews --weights int8 --out runs/small"
    run: Run
    weights: Annotated[
        str, choose("-a, 0 or a in each row; signed powers of two; 256 levels", "ternary", "pow2", "int8")
    ]
    out: Annotated[Path, value("the run folder to write", "RUN", Path)]
    data: Annotated[tuple[Path, ...], values("held-out text to compare on (default: the run's own)", "FILE", Path)] = ()
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Answer for runs over HTTP, as OpenAI's clients ask, with a page on which text is seen emerging."""

    example: ClassVar[str] = "mezzotint serve runs/reviews --port 8000"
    runs: Annotated[tuple[Path, ...], words("run folders, or owner/name of runs on the hub", "RUN", Path)]
    host: Annotated[str, value("the address to listen on; others than this machine's need a key", "HOST")] = "127.0.0.1"
    port: Annotated[int, value("the port to listen on", "N", whole(0))] = 8000
    api_key: Annotated[
        str | None, value("what every request has to show (also in MEZZOTINT_API_KEY)", "KEY", unicode)
    ] = None
    insecure: Annotated[bool, switch("let others in without a key")] = False
    deterministic: Annotated[
        bool, switch("write each text by itself: slower, and a seed gives the same tokens whatever others ask")
    ] = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Systems:
    """List the systems and what each can do."""

    example: ClassVar[str] = "mezzotint systems"
    json: Json = False
